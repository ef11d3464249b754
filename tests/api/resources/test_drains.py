"""Drains of nodes over the API: what is answered, refused and written down."""

import pytest

from service import keys
from service.model.lifecycle import NodeStatus
from service.worker.draining import Draining
from tests.support import DEPLOY, NOON, ApiClient, a_body, a_node, a_user, told


def path(node, action=""):
    """Write the path of the node's drain."""
    return f"/api/nodes/{node['_id']}/drain{action}"


@pytest.fixture
def look_once(store):
    """Have a worker look at all drains once. It moves nothing: nothing begins and nothing fits."""

    def refuse(*_, **__):
        raise AssertionError("nothing is to be moved")

    draining = Draining(store, "t", begin=refuse, rank=refuse, now=lambda: NOON)
    return lambda: [draining.take_turn(drain) for drain in store.drains.list_active()]


def test_a_drain_is_taken_on(api, node, ready):
    """202 with how far it is, and where to look for that."""
    answer = api.post(path(node), {"atOnce": 3})

    assert (202, path(node)) == (answer.status, answer.headers["Location"])
    told_ = {name: answer.json[name] for name in ("status", "atOnce", "total", "left", "moved")}
    assert {"status": "running", "atOnce": 3, "total": 1, "left": 1, "moved": 0} == told_


def test_two_are_on_their_way_where_nothing_is_said(api, node):
    """Without a body at all."""
    assert 2 == api.post(path(node)).json["atOnce"]


def test_a_node_that_is_drained_gets_no_instances(api, place, node):
    """A deploy is 409 `maintenance`, as on one that is not schedulable."""
    api.post(path(node))

    answer = api.post(DEPLOY, a_body(place))

    assert (409, "maintenance") == (answer.status, answer.json["code"])
    shown = api.get(f"/api/nodes/{node['_id']}").json
    assert (False, "running") == (shown["schedulable"], shown["drain"])


@pytest.mark.parametrize("at_once", [0, 11, "many", True, 1.5])
def test_bad_input_names_the_field(api, store, node, at_once):
    """And nothing is stored."""
    answer = api.post(path(node), {"atOnce": at_once, "x": 1})

    assert (400, {"atOnce", "x"}) == (answer.status, {*answer.json["details"]})
    assert (None, True) == (
        store.drains.find(node["_id"]),
        store.nodes.get(node["_id"])["schedulable"],
    )


def test_a_drain_that_is_on_is_answered(api, store, node):
    """The same one, with another `atOnce` if that is said."""
    api.post(path(node))
    before = store.drains.get(node["_id"])

    repeated = api.post(path(node)).json
    changed = api.post(path(node), {"atOnce": 5}).json

    assert (2, 5) == (repeated["atOnce"], changed["atOnce"])
    assert before["drain_id"] == store.drains.get(node["_id"])["drain_id"]


def test_a_repeat_with_an_idempotency_key_starts_no_second_drain(api, store, node):
    """It is answered as the first was, whatever became of that."""
    headers = {"Idempotency-Key": "1"}
    api.post(path(node), headers=headers)
    api.delete(path(node))

    again = api.post(path(node), headers=headers)

    assert (202, "undoing") == (again.status, store.drains.get(node["_id"])["status"])


@pytest.mark.parametrize(
    ("method", "action"),
    [("GET", ""), ("DELETE", ""), ("POST", "/pause"), ("POST", "/resume")],
)
def test_a_node_that_was_never_drained_has_no_drain(api, node, method, action):
    """404 with a code of its own, other than for no node."""
    assert (404, "drain_not_found", ["nodeId"]) == told(api.send(method, path(node, action)))
    missing = api.send(method, path({"_id": "none"}, action))
    assert (404, "node_not_found") == (missing.status, missing.json["code"])


def test_no_node_is_not_drained(api):
    """404."""
    assert 404 == api.post("/api/nodes/none/drain").status


@pytest.mark.heavy
def test_a_drain_is_paused_and_resumed(api, node, ready):
    """Both may be repeated."""
    api.post(path(node))

    said = [api.post(path(node, f"/{action}")).json["status"]
            for action in ("pause", "pause", "resume", "resume")]  # fmt: skip

    assert ["paused", "paused", "running", "running"] == said


def test_a_paused_drain_is_answered_by_a_start(api, node):
    """It goes on only when it is resumed."""
    api.post(path(node))
    api.post(path(node, "/pause"))

    assert "paused" == api.post(path(node)).json["status"]


@pytest.mark.parametrize("action", ["/pause", "/resume"])
def test_a_drain_that_ended_is_neither_paused_nor_resumed(api, node, look_once, action):
    """409 with its status."""
    api.post(path(node))
    look_once()

    assert (409, "wrong_status", ["status"]) == told(api.post(path(node, action)))


def test_an_undo_lets_the_node_get_instances(api, place, node, look_once):
    """At once, and also after the drain is done."""
    api.post(path(node))
    look_once()

    answer = api.delete(f"{path(node)}?moveBack=true")

    assert (202, "undoing") == (answer.status, answer.json["status"])
    assert 201 == api.post(DEPLOY, a_body(place)).status
    look_once()
    assert "undone" == api.get(path(node)).json["status"]
    assert "undone" == api.delete(path(node)).json["status"]


def test_a_drained_node_is_deleted_as_any_empty_one(api, store, node, look_once):
    """And its drain goes with it."""
    api.post(path(node))
    look_once()
    assert "done" == api.get(path(node)).json["status"]

    assert 204 == api.delete(f"/api/nodes/{node['_id']}").status
    assert [] == store.drains.all()


def test_a_drain_that_is_done_is_answered(api, store, node, look_once):
    """While the node is empty and gets nothing; one that got instances is drained anew."""
    api.post(path(node))
    look_once()
    assert "done" == api.post(path(node)).json["status"]

    store.nodes.change(node["_id"], {"schedulable": True})

    assert "running" == api.post(path(node)).json["status"]


@pytest.mark.parametrize("wanted", [[False], [True], [True, False]])
def test_an_undo_leaves_what_was_set_since_the_drain_was_done(api, node, look_once, wanted):
    """Somebody decided that later than how it was before."""
    api.post(path(node))
    look_once()
    for schedulable in wanted:
        api.send("PATCH", f"/api/nodes/{node['_id']}", json={"schedulable": schedulable})

    api.delete(path(node))

    assert wanted[-1] == api.get(f"/api/nodes/{node['_id']}").json["schedulable"]


def test_schedulable_is_not_set_while_a_drain_is_on(api, node, look_once):
    """409: new instances would come while the others go. After the drain it may be."""
    api.post(path(node))
    change = {"json": {"schedulable": True}}

    assert (409, "maintenance", ["drain"]) == told(
        api.send("PATCH", f"/api/nodes/{node['_id']}", **change)
    )
    look_once()
    assert 200 == api.send("PATCH", f"/api/nodes/{node['_id']}", **change).status


def test_what_a_drain_waits_for_is_said(api, store, node, ready, look_once):
    """A node that is down."""
    api.post(path(node))
    store.nodes.update(node["_id"], {"status": NodeStatus.OFFLINE})

    look_once()

    assert "node_offline" == api.get(path(node)).json["waitingFor"]


def test_what_is_stuck_is_shown_with_its_reason(api, node, ready, look_once, store):
    """Of many some, with their number."""
    api.post(path(node))
    stuck = {"code": "c", "reason": "r", "attempts": 2, "next_attempt_at": NOON}
    store.drains.change(node["_id"], {"stuck": {f"i{n}": stuck for n in range(101)}})

    shown = api.get(path(node)).json

    assert (100, 101) == (len(shown["stuck"]), shown["stuckCount"])
    assert ("i0", "c", "r", 2) == tuple(
        shown["stuck"][0][name] for name in ("instanceId", "code", "reason", "attempts")
    )


@pytest.mark.parametrize(
    ("limit", "shown"),
    [
        ("user_id", {"theirs": "helsinki-2 is full."}),
        ("node_ids", {"theirs": "It cannot be moved.", "others": "It cannot be moved."}),
    ],
)
def test_a_limited_key_is_told_of_what_it_sees(api, store, memory_nodes, place, limit, shown):
    """Of other people's instances the number alone, and of other nodes nothing."""
    user, node, _ = place
    owners = {"theirs": user["_id"], "others": a_user(store)["_id"]}
    ids = {}
    for port, (name, owner) in enumerate(owners.items(), 20001):
        order = {"user": owner, "ports": f"80:{port}", "primary": str(port)}
        ids[name] = api.post(DEPLOY, a_body(place, **order)).json["Id"]
    api.post(path(node))
    stuck = {"code": "c", "reason": "helsinki-2 is full.", "attempts": 2, "next_attempt_at": NOON}
    moving = {"i" + "a" * 11: {"operation_id": "o", "node_id": "n", "since": NOON}}
    changes = {"stuck": dict.fromkeys(ids.values(), stuck), "moving": moving}
    store.drains.change(node["_id"], changes)
    limits = {"user_id": user["_id"], "node_ids": [node["_id"]]}
    grant = {"scopes": ["nodes:read"], limit: limits[limit]}
    key = keys.create(store, name="k", grant=grant, now=NOON)[1]

    answer = ApiClient(api.flask, key).get(path(node)).json

    assert {ids[name]: reason for name, reason in shown.items()} == {
        each["instanceId"]: each["reason"] for each in answer["stuck"]
    }
    assert ([], 2) == (answer["moving"], answer["left"])


def test_a_drain_is_in_the_audit_log(api, node):
    """With what the node was before, and is."""
    api.post(path(node))

    [entry] = [
        e for e in api.get("/api/audit").json["entries"] if e["action"] == "nodes.start_node_drain"
    ]
    assert ({"schedulable": True, "drain": None}, {"schedulable": False, "drain": "running"}) == (
        {name: entry["before"][name] for name in ("schedulable", "drain")},
        {name: entry["after"][name] for name in ("schedulable", "drain")},
    )


def test_other_nodes_are_drained_by_their_names(api, store, memory_nodes):
    """As everything is done to nodes."""
    other = a_node(store, memory_nodes, name="helsinki-2")

    assert other["_id"] == api.post("/api/nodes/helsinki-2/drain").json["nodeId"]
