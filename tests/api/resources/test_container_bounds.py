"""What a node allows of how its containers are run."""

import pytest

from service import instance_changes
from service.drivers import STOP_GRACE_S
from service.errors import InvalidInput
from service.model.container_settings import DEFAULTS, MIN_STOP_GRACE_S, check_bounds
from service.model.documents import Capacity, new_node
from tests.support import AT_NOON, NODE, NOON, a_body, get, run_due, told

PATH = "/api/instances"
BOUNDS = {"maxSwap": "64M", "pinnableCores": "0-1,4", "maxStopGrace": 20}
ANSWERED = {**BOUNDS, "maxSwap": 64}
NONE = dict.fromkeys(BOUNDS)
WITHIN = {"swap": 64, "cpuset": "0,4", "stopGrace": 20}
BEYOND = {"swap": 65, "cpuset": "0-4", "stopGrace": 21}
LONELY = {"name": "n", "driver": "docker", "address": "10.1.2.3"}


def bound(api, node_id, **bounds):
    """Set what a node allows."""
    return api.send("PATCH", f"/api/nodes/{node_id}", json=bounds)


def edit(api, instance_id, **body):
    """Change an instance."""
    return api.send("PATCH", f"/api/instances/{instance_id}", json=body)


def test_a_node_has_no_bounds_until_they_are_said(api, place):
    """
    They are set one by one, and null takes one away.
    """
    node_id = place[1]["_id"]
    path = f"/api/nodes/{node_id}"

    seen = [
        {name: answer.json[name] for name in BOUNDS}
        for answer in (
            api.get(path),
            bound(api, node_id, **BOUNDS),
            bound(api, node_id, maxSwap=None),
            api.get(path),
        )
    ]

    without = {**ANSWERED, "maxSwap": None}
    assert [NONE, ANSWERED, without, without] == seen


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("maxSwap", value) for value in (-1, "much", True, [])),
        *(("pinnableCores", value) for value in ("", "3-1", "all", 3, "0," * 200 + "0")),
        *(("maxStopGrace", value) for value in (7, 301, 0, "soon", 8.5, "9" * 30, True)),
    ],
)
def test_a_wrong_bound_is_named(api, look, place, field, value):
    """
    By a new node and a change alike, and nothing is stored.
    """
    before = look()

    answers = [
        bound(api, place[1]["_id"], **{field: value}),
        api.post("/api/nodes", {**LONELY, field: value}),
    ]

    assert [400, 400] == [each.status for each in answers]
    assert all(field in each.json["details"] for each in answers)
    assert before == look()


def test_a_node_is_added_with_its_bounds(api, store):
    """
    A node of skyportd is not asked before.
    """
    body = {**NODE, "address": "node1.example.org", "port": 3002, **BOUNDS}

    added = api.post("/api/nodes", body)

    assert (201, ANSWERED) == (added.status, {name: added.json[name] for name in BOUNDS})


def test_a_deploy_is_bounded(api, store, look, place):
    """
    All that is beyond is named at once, with the bound and the node; what is within is taken.
    """
    bound(api, place[1]["_id"], **BOUNDS)
    before = look()

    refused = api.post(PATH, a_body(place, **BEYOND))
    unchanged = look()
    taken = api.post(PATH, a_body(place, **WITHIN))

    name = place[1]["name"]
    assert {
        "swap": [f"At most 64 MiB on the node {name!r}."],
        "cpuset": [f"Only the cores 0-1,4 may be named on the node {name!r}."],
        "stopGrace": [f"At most 20 seconds on the node {name!r}."],
    } == refused.json["details"]
    assert (400, "invalid_input", 202) == (refused.status, refused.json["code"], taken.status)
    assert before == unchanged


@pytest.mark.parametrize("field", BEYOND)
def test_a_change_is_bounded(api, look, place, ready, field):
    """
    As a deploy, and nothing is changed.
    """
    bound(api, place[1]["_id"], **BOUNDS)
    before = look()

    answer = edit(api, ready, **{field: BEYOND[field]})

    assert (400, "invalid_input", [field]) == told(answer)
    assert before == look()
    assert 202 == edit(api, ready, **{field: WITHIN[field]}).status


def test_without_a_word_everything_is_within(api, place):
    """
    Also where swap is forbidden, and the grace is as short as it may be.
    """
    bound(api, place[1]["_id"], maxSwap=0, pinnableCores="0", maxStopGrace=MIN_STOP_GRACE_S)

    answers = [
        api.post(PATH, a_body(place)),
        api.post(PATH, a_body(place, swap=1, ports="80:9400", primary=9400)),
    ]

    assert [202, 400] == [each.status for each in answers]
    assert STOP_GRACE_S == MIN_STOP_GRACE_S


@pytest.mark.heavy
def test_what_runs_stays_until_its_container_is_replaced(api, store, memory_nodes, place, ready):
    """
    A bound that is lowered takes nothing away; a new container must be within it.
    """
    edit(api, ready, swap=64)
    run_due(store, memory_nodes)
    bound(api, place[1]["_id"], maxSwap=32)

    answers = [
        edit(api, ready, name="still"),
        edit(api, ready, memory=256),
        api.post(f"/api/instances/{ready}/reinstall"),
        edit(api, ready, memory=256, swap=32),
    ]

    assert [200, 400, 400, 202] == [each.status for each in answers]
    assert [["swap"]] * 2 == [list(each.json["details"]) for each in answers[1:3]]
    assert 64 == get(api, ready)["swap"]  # until the operation has ended


def test_a_bound_that_is_set_meanwhile_holds(api, store, place, ready):
    """
    A change that was checked before the bound was written, and is written after it, is refused.
    """
    node_id, order = place[1]["_id"], {"swap_mib": 64}
    run = store.transaction

    def transaction_after_bound(write):
        store.transaction = run
        store.nodes.update(node_id, {"max_swap_mib": 32})
        return run(write)

    store.transaction = transaction_after_bound

    with pytest.raises(InvalidInput) as caught:
        instance_changes.edit(store, ready, order, origin=AT_NOON)

    assert ["swap"] == list(caught.value.details)


def allows(node_cores, cpuset):
    """Return whether a node with these cores to pin allows a cpuset."""
    node = new_node(
        "n",
        name="n",
        driver="docker",
        capacity=Capacity(memory_mib=None, cpu_milli=None, disk_mib=None),
        pinnable_cores=node_cores,
        now=NOON,
    )
    try:
        check_bounds({**DEFAULTS, "cpuset": cpuset}, node)
    except InvalidInput:
        return False
    return True


def test_cores_are_allowed_exactly_where_all_of_them_are():
    """
    For each list of up to two ranges of four cores, on both sides.
    """
    ranges = [f"{a}-{b}" for a in range(4) for b in range(a, 4)]
    lists = [*ranges, *(f"{one},{other}" for one in ranges for other in ranges)]

    def expand(text):
        pairs = (part.split("-") for part in text.split(","))
        return {core for first, last in pairs for core in range(int(first), int(last) + 1)}

    for cores in lists:
        assert [expand(wanted) <= expand(cores) for wanted in lists] == [
            allows(cores, wanted) for wanted in lists
        ]
