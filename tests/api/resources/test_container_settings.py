"""How containers are run: said at a deploy, and changed."""

import pytest

from tests.support import DEPLOY, a_body, a_node, get, run_due

INSTANCES = "/api/instances"

ALL = {
    "swap": "64M",
    "cpuset": "0-1, 3",
    "stopGrace": 30,
    "autoStart": False,
    "timezone": "Europe/Helsinki",
}
ANSWERED = {**ALL, "swap": 64, "cpuset": "0-1,3"}
DEFAULTS = {"swap": 0, "cpuset": None, "stopGrace": None, "autoStart": True, "timezone": None}


def read(answer):
    """Return the settings of an answer."""
    return {name: answer[name] for name in ALL}


def patch(api, instance_id, **body):
    """Change an instance."""
    return api.send("PATCH", f"/api/instances/{instance_id}", json=body)


def test_what_is_said_at_a_deploy_is_run(api, store, memory_nodes, here, place):
    """The container is made with it, and the instance answers it."""
    instance_id = api.post(INSTANCES, a_body(place, **ALL)).json["Id"]
    run_due(store, memory_nodes)

    spec = here.containers[instance_id].spec
    assert ANSWERED == read(get(api, instance_id))
    assert (64, "0-1,3", 30, False, "Europe/Helsinki") == (
        spec.swap_mib,
        spec.cpuset,
        spec.stop_grace_s,
        spec.auto_start,
        spec.env["TZ"],
    )


def test_without_a_word_it_is_as_ever(api, here, ready):
    """Clients that know nothing of it get what they always got."""
    spec = here.containers[ready].spec

    assert DEFAULTS == read(get(api, ready))
    assert (0, None, None, True, False) == (
        spec.swap_mib,
        spec.cpuset,
        spec.stop_grace_s,
        spec.auto_start,
        "TZ" in spec.env,
    )


@pytest.mark.heavy
def test_they_are_changed_one_by_one(api, store, memory_nodes, ready):
    """What is left out stays, and null is the default again."""
    patch(api, ready, **ALL)
    run_due(store, memory_nodes)

    patch(api, ready, swap=None, timezone=None)
    run_due(store, memory_nodes)

    assert {**ANSWERED, "swap": 0, "timezone": None} == read(get(api, ready))


def test_a_deploy_takes_null_for_no_word(api, place):
    """As the reference's clients send what they do not know."""
    answer = api.post(INSTANCES, a_body(place, **dict.fromkeys(ALL)))

    assert (202, DEFAULTS) == (answer.status, read(get(api, answer.json["Id"])))


WRONG = {
    "swap": ["much", -1, []],
    "cpuset": ["", "all", "3-1", "0,", 3, "999999"],
    "stopGrace": [0, 301, "soon", []],
    "autoStart": ["maybe", []],
    "timezone": ["", "../etc", "a b", 7, "x/y/z/w"],
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in WRONG.items() for value in values]
)
def test_a_wrong_setting_is_named(api, look, ready, place, field, value):
    """A deploy and a change refuse the same, and store nothing."""
    before = look()

    answers = (
        patch(api, ready, **{field: value}),
        api.post(INSTANCES, a_body(place, ports="80:9090", primary=9090, **{field: value})),
    )

    assert [(400, [field])] * 2 == [(each.status, list(each.json["details"])) for each in answers]
    assert before == look()


def test_the_reference_knows_none_of_them(api, place):
    """Its deploy ignores what it does not name, whatever that is: old clients go on working."""
    wrong = {field: values[0] for field, values in WRONG.items()}

    answer = api.post(DEPLOY, a_body(place, **wrong))

    assert (201, DEFAULTS) == (answer.status, read(get(api, answer.json["Id"])))


@pytest.mark.parametrize(("field", "value"), [("cpuset", "0-64"), ("swap", "65G")])
def test_a_node_gives_no_more_than_it_has(api, ready, field, value):
    """Cores and swap are bounded by what the node reports: 64 cores and 64 GiB."""
    answer = patch(api, ready, **{field: value})

    assert (400, [field]) == (answer.status, list(answer.json["details"]))


def test_what_a_driver_cannot_do_is_not_supported(api, store, memory_nodes, place):
    """It is refused rather than ignored; its default is not."""
    node = a_node(store, memory_nodes, name="other")
    store.nodes.update(node["_id"], {"driver": "skyportd"})
    body = a_body((place[0], node, place[2]))

    refused = api.post(INSTANCES, {**body, **ALL})
    taken = api.post(INSTANCES, {**body, "swap": 0, "autoStart": True, "timezone": "UTC"})

    assert (400, "not_supported", {"swap", "cpuset", "stopGrace", "autoStart"}) == (
        refused.status,
        refused.json["code"],
        set(refused.json["details"]),
    )
    assert 202 == taken.status
