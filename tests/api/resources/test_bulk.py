"""The same done to many items over HTTP, as one operation."""

from datetime import timedelta
from functools import partial

import pytest

from service import instances, keys, users
from service.errors import StoreUnavailable
from service.model.lifecycle import OperationKind
from service.model.ports import parse
from service.security.vault import Vault
from service.store.admin.migrations import begin_events
from service.worker import bulk
from service.worker.carry_out import carry_out
from service.worker.job import Job, claim
from tests.event_writing import writing
from tests.model.test_access import a_bearer
from tests.support import (
    AT_NOON,
    NOON,
    SECRET_KEY,
    a_user,
    an_order,
    list_collections,
    run_due,
    told,
)

BULK = "/api/bulk"


@pytest.fixture
def make_instances(store, memory_nodes, place):
    """Make instances that run."""
    count = 0

    def make(number):
        nonlocal count
        made = []
        for _ in range(number):
            count += 1
            host = 9000 + count
            order = an_order(*place, ports=parse(f"80:{host}"), primary=str(host))
            made.append(instances.deploy(store, order, origin=AT_NOON)[0]["_id"])
        run_due(store, memory_nodes)
        return made

    return make


def of(ids):
    """Make items of ids."""
    return [{"id": each} for each in ids]


def new_users(count):
    """Make items of users to add."""
    return [
        {"username": f"user{n}", "email": f"user{n}@example.org", "password": f"sesame-sesame-{n}"}
        for n in range(count)
    ]


def start(api, kind, items, **options):
    """Start a bulk operation that is accepted."""
    answer = api.post(BULK, {"kind": kind, "items": items}, **options)
    assert 202 == answer.status, answer
    return answer.json["id"]


def get(api, operation_id):
    """Get an operation that exists."""
    return api.get(f"/api/operations/{operation_id}").json


def finish(store, memory_nodes, operation_id, *, turns=50):
    """Carry everything out until the operation has ended, without waiting between its turns."""
    for _ in range(turns):
        run_due(store, memory_nodes)
        if not store.operations.retry_now(operation_id):
            return
    raise AssertionError("It did not end.")


def list_statuses(found):
    """List what became of the items."""
    return [item["status"] for item in found["bulk"]["items"]]


# What is done


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("suspend", (True, "stopped")),
        ("stop", (False, "stopped")),
        ("kill", (False, "stopped")),
        ("restart", (False, "running")),
        ("start", (False, "running")),
        ("unsuspend", (False, "running")),
        ("reinstall", (False, "running")),
    ],
)
def test_each_item_is_done(api, store, memory_nodes, make_instances, kind, expected):
    """As by its single request, in an operation of its own, which the item names."""
    ids = make_instances(3)

    operation_id = start(api, kind, of(ids))
    finish(store, memory_nodes, operation_id)

    found = get(api, operation_id)
    seen = [store.instances.get(each) for each in ids]
    assert ("succeeded", ids, ["succeeded"] * 3) == (
        found["status"],
        [item["id"] for item in found["bulk"]["items"]],
        list_statuses(found),
    )
    assert {expected} == {(each["suspended"], each["power"]) for each in seen}
    assert [kind] * 3 == [get(api, item["operationId"])["kind"] for item in found["bulk"]["items"]]


@pytest.mark.heavy
def test_instances_are_deleted(api, store, memory_nodes, make_instances):
    """They are gone when the operation has ended."""
    ids = make_instances(3)

    finish(store, memory_nodes, start(api, "delete", of(ids)))

    assert [] == store.instances.all()


def test_users_are_added(api, store, memory_nodes):
    """With their passwords, and the ids that the answer had already."""
    answer = api.post(BULK, {"kind": "create_users", "items": new_users(3)})
    finish(store, memory_nodes, answer.json["id"])

    added = {user["_id"]: user["username"] for user in store.users.all()}
    promised = [item["id"] for item in answer.json["bulk"]["items"]]
    assert {user_id: f"user{n}" for n, user_id in enumerate(promised)} == added
    assert users.verify(store, "username", "user1", "sesame-sesame-1", now=NOON)


def test_a_bulk_operation_is_answered_with_its_address(api, make_instances):
    """202, and where it is looked at; nothing is done yet."""
    [instance] = make_instances(1)

    answer = api.post(BULK, {"kind": "stop", "items": of([instance])})

    assert (202, f"/api/operations/{answer.json['id']}", "bulk", "pending", ["pending"]) == (
        answer.status,
        answer.headers["Location"],
        answer.json["kind"],
        answer.json["status"],
        list_statuses(answer.json),
    )


@pytest.mark.heavy
def test_it_is_waited_for(api, make_instances, worker):
    """With `wait` reading the operation answers how it ended, and each item."""
    ids = make_instances(12)

    found = api.get(f"/api/operations/{start(api, 'stop', of(ids))}?wait=50").json

    assert ("succeeded", 12, 12, 0) == (
        found["status"],
        *(found["bulk"][name] for name in ("total", "ended", "failed")),
    )


@pytest.mark.heavy
def test_a_bad_item_stops_no_other(api, store, memory_nodes, make_instances):
    """It failed with the error that the single request gives; the others are done."""
    ids = make_instances(3)
    api.post(f"/api/instances/suspend/{ids[1]}")
    run_due(store, memory_nodes)

    operation_id = start(api, "restart", of(ids))
    finish(store, memory_nodes, operation_id)

    found = get(api, operation_id)
    assert ("failed", "1 of 3 failed.", ["succeeded", "failed", "succeeded"]) == (
        found["status"],
        found["error"],
        list_statuses(found),
    )
    assert ("instance_suspended", None) == (
        found["bulk"]["items"][1]["code"],
        found["bulk"]["items"][1]["operationId"],
    )


def test_an_item_that_its_node_refuses_failed(api, store, memory_nodes, make_instances, here):
    """With the reason of its own operation."""
    ids = make_instances(1)
    here.faults.refuse("Disk full.")

    operation_id = start(api, "stop", of(ids))
    finish(store, memory_nodes, operation_id)

    [item] = get(api, operation_id)["bulk"]["items"]
    assert ("failed", "node_failure", "Disk full.") == (
        item["status"],
        item["code"],
        item["error"],
    )


@pytest.mark.heavy
def test_a_bug_in_one_item_stops_no_other(api, store, memory_nodes, make_instances, monkeypatch):
    """It is an internal error of that item, without details."""
    ids = make_instances(2)
    stop = bulk._DO[OperationKind.STOP]

    def fail_once(store, item, origin, open_secret):
        if item["id"] == ids[0]:
            raise ZeroDivisionError
        return stop(store, item, origin, open_secret)

    monkeypatch.setitem(bulk._DO, OperationKind.STOP, fail_once)
    operation_id = start(api, "stop", of(ids))
    finish(store, memory_nodes, operation_id)

    found = get(api, operation_id)
    assert ["failed", "succeeded"] == list_statuses(found)
    assert "internal_error" == found["bulk"]["items"][0]["code"]


@pytest.mark.heavy
def test_a_node_gets_a_few_at_a_time(api, store, memory_nodes, make_instances):
    """So what others want of the node waits for few of them, not for all."""
    operation_id = start(api, "stop", of(make_instances(20)))
    claimed = store.claims.take("worker", lease_s=30)

    carry_out(Job(store, claimed, lease_s=30, now=lambda: NOON), memory_nodes)

    statuses = list_statuses(get(api, operation_id))
    assert bulk.NODE_ITEMS == statuses.count("running") == 8
    assert 12 == statuses.count("pending")


def test_a_bulk_operation_comes_after_others(api, store, make_instances):
    """What is asked for later, and waits for a worker too, is claimed first."""
    first, second = make_instances(2)
    operation_id = start(api, "stop", of([first]))
    later = api.post(f"/api/instances/{second}/stop").json["operationId"]

    claimed = [store.claims.take(f"w{n}", lease_s=30)["_id"] for n in range(2)]

    assert [later, operation_id] == claimed


def test_bulk_operations_take_turns(api, store, memory_nodes, make_instances):
    """A small one does not wait for all of a large one."""
    [instance] = make_instances(1)
    large = start(api, "create_users", new_users(3 * bulk.TURN_USERS))
    small = start(api, "stop", of([instance]))
    turns = set()
    for _ in range(2):
        job = claim(store, store.claims.look(), node_operations=4, lease_s=30, now=lambda: NOON)
        turns.add(job.operation["_id"])
        carry_out(job, memory_nodes, Vault(SECRET_KEY).open)

    assert {large, small} == turns
    assert bulk.TURN_USERS == get(api, large)["bulk"]["ended"]


@pytest.mark.heavy
def test_what_a_node_that_is_down_must_do_is_written_down(
    api, store, memory_nodes, make_instances, node
):
    """All suspensions are known at once; the operation goes on until the node is back."""
    ids = make_instances(20)
    store.nodes.update(node["_id"], {"status": "Offline"})

    operation_id = start(api, "suspend", of(ids))
    run_due(store, memory_nodes)
    found = get(api, operation_id)
    suspended = [store.instances.get(each)["suspended"] for each in ids]
    store.nodes.update(node["_id"], {"status": "Online"})
    finish(store, memory_nodes, operation_id)

    assert ("pending", [True] * 20) == (found["status"], suspended)
    assert "succeeded" == get(api, operation_id)["status"]


# What is wrong


def test_all_unknown_instances_are_named(api, look, make_instances):
    """By their places, in one answer; nothing is stored."""
    [instance] = make_instances(1)
    before = look()

    answer = api.post(
        BULK, {"kind": "stop", "items": of(["inothing", instance, instance, "inone"])}
    )

    assert (400, "invalid_input") == (answer.status, answer.json["code"])
    assert {
        "items": {
            "0": {"id": ["There is no instance 'inothing'."]},
            "2": {"id": ["Is given twice."]},
            "3": {"id": ["There is no instance 'inone'."]},
        }
    } == answer.json["details"]
    assert before == look()


def test_all_wrong_users_are_named(api, store, look):
    """What is taken, what is given twice, and what is no user at all."""
    api.post("/api/users", {**new_users(1)[0], "userId": "ada", "externalId": "x"})
    before = look()
    items = [{**user, "username": f"other{n}"} for n, user in enumerate(new_users(6))]
    items[0]["email"] = "USER0@example.org"
    items[1]["userId"] = "ada"
    items[2]["password"] = "short"
    items[3]["externalId"] = "x"
    items[5]["username"] = "OTHER4"

    details = api.post(BULK, {"kind": "create_users", "items": items}).json["details"]["items"]

    assert {
        "0": {"email": ["Taken already."]},
        "1": {"userId": ["Taken already."]},
        "2": {"password": ["Must have at least 8 characters."]},
        "3": {"externalId": ["Taken already."]},
        "5": {"username": ["Is given twice."]},
    } == details
    assert before == look()


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"kind", "items"}),
        ({"kind": "explode", "items": []}, {"kind", "items"}),
        ({"kind": "stop", "items": []}, {"items"}),
        ({"kind": "stop", "items": "all"}, {"items"}),
        ({"kind": "stop", "items": [{"id": "i"}], "forec": True}, {"forec"}),
        ({"kind": "stop", "items": [{"id": f"i{n}"} for n in range(501)]}, {"items"}),
        ({"kind": "stop", "items": [{"id": "i", "wait": 1}]}, {"items"}),
        ({"kind": "stop", "items": ["i"]}, {"items"}),
        ({"kind": "create_users", "items": [{"id": "i"}]}, {"items"}),
        ({"kind": {"$gt": ""}, "items": [{"id": {"$gt": ""}}]}, {"kind", "items"}),
    ],
)
def test_a_wrong_body_is_named(api, look, body, fields):
    """Each wrong field of it, in one answer; nothing is stored."""
    before = look()

    answer = api.post(BULK, body)

    assert (400, fields) == (answer.status, set(answer.json["details"]))
    assert before == look()


def test_wrong_items_are_named_by_their_places(api):
    """As they stand in the request, each with its wrong fields."""
    items = [{"id": "i", "idd": 1}, {"id": ""}, {}]

    details = api.post(BULK, {"kind": "stop", "items": items}).json["details"]["items"]

    assert {"0": ["idd"], "1": ["id"], "2": ["id"]} == {
        place: list(wrong) for place, wrong in details.items()
    }


# Rights


@pytest.mark.parametrize(
    ("kind", "items", "scope"),
    [
        ("stop", [{"id": "inothing"}], "instances:write"),
        ("create_users", new_users(1), "users:write"),
    ],
)
def test_it_takes_the_scope_of_its_items(api, store, kind, items, scope):
    """Every other key gets a 403 that names the scope, and learns nothing of the items."""
    others = a_bearer(api, store, scopes=["users:read", "instances:deploy", "nodes:*", "images:*"])
    own = a_bearer(api, store, scopes=[scope])

    refused = others.post(BULK, {"kind": kind, "items": items})
    let = own.post(BULK, {"kind": kind, "items": items})

    assert (403, "forbidden", ["scope"]) == told(refused)
    assert [scope] == refused.json["details"]["scope"]
    assert let.status in (202, 400)


def test_a_limited_key_adds_no_users(api, store):
    """As with the single request."""
    limited = a_bearer(api, store, scopes=["*"], user_id="ada")

    answer = limited.post(BULK, {"kind": "create_users", "items": new_users(1)})

    assert (403, "forbidden", ["scope"]) == told(answer)


@pytest.mark.parametrize("limit", ["user_id", "instance_ids", "node_ids"])
def test_a_limited_key_reaches_and_sees_its_own(api, store, make_instances, place, limit):
    """What is beyond its limits does not exist; it can watch what it asked for, and others not."""
    ids = make_instances(2)
    limits = {"user_id": place[0]["_id"], "instance_ids": ids[:1], "node_ids": [place[1]["_id"]]}
    limited = a_bearer(api, store, scopes=["instances:*"], **{limit: limits[limit]})
    stranger = a_bearer(api, store, scopes=["instances:*"], instance_ids=["ielsewhere"])

    asked = start(limited, "stop", of(ids[:1]))
    beyond = stranger.post(BULK, {"kind": "stop", "items": of(ids)})

    assert 200 == limited.get(f"/api/operations/{asked}").status
    assert 400 == stranger.get(f"/api/operations/{asked}").status
    assert (400, ["0", "1"]) == (beyond.status, list(beyond.json["details"]["items"]))


def test_a_revoked_key_does_nothing_more(api, store, memory_nodes, make_instances):
    """Items that were not begun fail; nothing happens to their instances."""
    [instance] = make_instances(1)
    bearer = a_bearer(api, store, scopes=["instances:*"])
    operation_id = start(bearer, "stop", of([instance]))
    keys.revoke(store, store.operations.get(operation_id)["requested_by"])

    finish(store, memory_nodes, operation_id)

    [item] = get(api, operation_id)["bulk"]["items"]
    assert ("failed", "unauthorized") == (item["status"], item["code"])
    assert "running" == store.instances.get(instance)["power"]


def test_an_instance_that_changed_hands_is_beyond_the_key(
    api, store, memory_nodes, make_instances, place
):
    """The rights are those of the moment in which the item is done."""
    [instance] = make_instances(1)
    bearer = a_bearer(api, store, scopes=["instances:*"], user_id=place[0]["_id"])
    operation_id = start(bearer, "stop", of([instance]))
    store.instances.change(instance, {"user_id": "another"})

    finish(store, memory_nodes, operation_id)

    [item] = get(api, operation_id)["bulk"]["items"]
    assert ("failed", "instance_not_found") == (item["status"], item["code"])


# Rights, on behalf of a user

ACTING = {"scopes": ["users:*", "instances:*"]}


def test_a_key_that_acts_for_a_user_does_what_both_may(api, store, make_instances, place):
    """Instances of others do not exist, and no users are added."""
    [instance] = make_instances(1)
    a_user(store, user_id="bob", username="bob")
    bearer = a_bearer(api, store, **ACTING)

    for_bob = {"headers": {"Act-As": "bob"}}
    beyond = bearer.post(BULK, {"kind": "stop", "items": of([instance])}, **for_bob)
    adding = bearer.post(BULK, {"kind": "create_users", "items": new_users(1)}, **for_bob)
    start(bearer, "stop", of([instance]), headers={"Act-As": place[0]["_id"]})

    assert (400, ["0"]) == (beyond.status, list(beyond.json["details"]["items"]))
    assert (403, "forbidden", ["scope"]) == told(adding)


def test_a_key_that_acts_for_a_user_sees_what_it_asked_for_on_behalf_of_this_one(
    api, store, make_instances, place
):
    """Not what it asked for on behalf of another one, or by itself."""
    ids = make_instances(1)
    a_user(store, user_id="bob", username="bob")
    bearer = a_bearer(api, store, **ACTING)
    owner = {"Act-As": place[0]["_id"]}
    asked = start(bearer, "stop", of(ids), headers=owner)
    alone = start(bearer, "start", of(ids))

    seen = {
        (name, operation_id): bearer.get(f"/api/operations/{operation_id}", headers=headers).status
        for name, headers in (("owner", owner), ("bob", {"Act-As": "bob"}), ("nobody", {}))
        for operation_id in (asked, alone)
    }

    assert {("owner", asked), ("nobody", asked), ("nobody", alone)} == {
        each for each, status in seen.items() if status == 200
    }


@pytest.mark.parametrize(
    ("collection", "changes", "code"),
    [
        ("users", None, "user_not_found"),
        ("users", {"admin": False}, "instance_not_found"),
        ("keys", {"scopes": ["instances:*"]}, "forbidden"),
        ("keys", {"user_id": "another"}, "user_not_found"),
    ],
)
def test_an_item_is_done_with_what_both_may_by_then(
    api, store, memory_nodes, make_instances, database, collection, changes, code
):
    """Also when the user is gone, is no administrator any more, or is beyond the key."""
    [instance] = make_instances(1)
    a_user(store, user_id="root", username="root", admin=True)
    bearer = a_bearer(api, store, **ACTING)
    operation_id = start(bearer, "stop", of([instance]), headers={"Act-As": "root"})
    key_id = store.operations.get(operation_id)["requested_by"]
    which = {"_id": "root" if collection == "users" else key_id}
    if changes is None:
        database[collection].delete_one(which)
    else:
        database[collection].update_one(which, {"$set": changes})

    finish(store, memory_nodes, operation_id)

    [item] = get(api, operation_id)["bulk"]["items"]
    assert ("failed", code) == (item["status"], item["code"])
    assert "running" == store.instances.get(instance)["power"]


@pytest.mark.heavy
def test_rights_are_read_again_for_each_item(
    api, store, memory_nodes, make_instances, monkeypatch, database, place
):
    """A user who goes between two items has the first done, and the second not."""
    ids = make_instances(2)
    stop = bulk._DO[OperationKind.STOP]

    def stop_and_go(*args):
        stop(*args)
        database["users"].delete_one({"_id": place[0]["_id"]})

    monkeypatch.setitem(bulk._DO, OperationKind.STOP, stop_and_go)
    operation_id = start(
        a_bearer(api, store, **ACTING), "stop", of(ids), headers={"Act-As": place[0]["_id"]}
    )
    finish(store, memory_nodes, operation_id)

    found = get(api, operation_id)
    assert ["succeeded", "failed"] == list_statuses(found)
    assert "user_not_found" == found["bulk"]["items"][1]["code"]


@pytest.mark.heavy
def test_the_audit_log_has_for_whom_items_are_done(api, store, memory_nodes, make_instances, place):
    """Beside the key, also of those that failed, as it has for the request."""
    ids = make_instances(2)
    api.post(f"/api/instances/suspend/{ids[1]}")
    run_due(store, memory_nodes)
    user_id = place[0]["_id"]
    bearer = a_bearer(api, store, **ACTING)
    operation_id = start(bearer, "start", of(ids), headers={"Act-As": user_id})
    finish(store, memory_nodes, operation_id)

    log = api.get(f"/api/audit?actsFor={user_id}").json["entries"]
    key_id = store.operations.get(operation_id)["requested_by"]
    assert {(each, key_id) for each in (operation_id, *ids)} == {
        (each["target"], each["key"]) for each in log
    }


# Passwords


def test_passwords_are_not_stored_in_the_clear(api, store, memory_nodes, database):
    """While it waits they are encrypted, and once a user is added nothing is left of them."""
    operation_id = start(api, "create_users", new_users(2))
    waiting = str(database["operations"].find_one({"_id": operation_id}))
    shown = str(get(api, operation_id))
    finish(store, memory_nodes, operation_id)

    stored = database["operations"].find_one({"_id": operation_id})
    assert "sesame" not in waiting + shown
    assert "password" not in shown
    assert [] == [item for item in stored["bulk"]["items"] if "user" in item]
    assert "sesame" not in "".join(
        str(each) for name in list_collections(database) for each in database[name].find()
    )


def test_passwords_of_cancelled_users_are_erased(api, store, memory_nodes, database):
    """They are nobody's."""
    operation_id = start(api, "create_users", new_users(2))
    api.post(f"/api/operations/{operation_id}/cancel")
    finish(store, memory_nodes, operation_id)

    stored = database["operations"].find_one({"_id": operation_id})
    assert [{"cancelled"}, []] == [
        {item["status"] for item in stored["bulk"]["items"]},
        [item for item in stored["bulk"]["items"] if "user" in item],
    ]
    assert [] == store.users.all()


def test_another_secret_key_fails_the_items(api, store, memory_nodes):
    """What cannot be decrypted is no user, and the operation ends."""
    operation_id = start(api, "create_users", new_users(1))
    claimed = store.claims.take("worker", lease_s=30)
    job = Job(store, claimed, lease_s=30, now=lambda: NOON)

    carry_out(job, memory_nodes, Vault("another key").open)

    found = get(api, operation_id)
    assert ("failed", "database_error") == (found["status"], found["bulk"]["items"][0]["code"])


# Cancel and retry


@pytest.mark.heavy
def test_what_has_not_begun_is_cancelled(api, store, memory_nodes, make_instances):
    """What has is followed to its end."""
    operation_id = start(api, "stop", of(make_instances(12)))
    claimed = store.claims.take("worker", lease_s=30)
    carry_out(Job(store, claimed, lease_s=30, now=lambda: NOON), memory_nodes)

    api.post(f"/api/operations/{operation_id}/cancel")
    finish(store, memory_nodes, operation_id)

    found = get(api, operation_id)
    statuses = list_statuses(found)
    assert ("cancelled", "4 of 12 were cancelled.") == (found["status"], found["error"])
    assert [8, 4] == [statuses.count(status) for status in ("succeeded", "cancelled")]


@pytest.mark.heavy
def test_nothing_begins_after_a_cancellation(api, store, memory_nodes, make_instances):
    """Also when a worker has claimed the operation before."""
    ids = make_instances(3)
    operation_id = start(api, "stop", of(ids))
    claimed = store.claims.take("worker", lease_s=30)
    api.post(f"/api/operations/{operation_id}/cancel")

    carry_out(Job(store, claimed, lease_s=30, now=lambda: NOON), memory_nodes)

    found = get(api, operation_id)
    assert ("cancelled", ["cancelled"] * 3) == (found["status"], list_statuses(found))


def test_a_bulk_operation_is_not_repeated_whole(api, store, memory_nodes, make_instances):
    """What failed is sent again by who knows why."""
    operation_id = start(api, "stop", of(make_instances(1)))
    finish(store, memory_nodes, operation_id)

    answer = api.post(f"/api/operations/{operation_id}/retry")

    assert (409, "wrong_status", ["kind"]) == told(answer)


# Crashes


class Died(BaseException):
    """The worker was killed."""


class Dying:
    """A use case after which the worker dies, before or after its transaction commits."""

    def __init__(self, do, *, at, committed):
        self.do, self.left, self.committed = do, at, committed

    def __call__(self, store, item, origin, open_secret):
        """Do it, unless the worker dies."""
        self.left -= 1
        if self.left < 0 and not self.committed:
            inner = store._also

            def die(result, session):
                inner(result, session)
                raise Died

            store._also = die
        self.do(store, item, origin, open_secret)
        if self.left < 0:
            raise Died


@pytest.mark.heavy
@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("at", [0, 1, 3])
@pytest.mark.parametrize("kind", ["stop", "create_users"])
def test_a_worker_that_dies_leaves_nothing_undone_or_done_twice(
    api, store, memory_nodes, make_instances, monkeypatch, database, kind, at, committed
):
    """Whether it dies before or after an item's transaction: another goes on with the next."""
    items = new_users(5) if kind == "create_users" else of(make_instances(5))
    operation_id = start(api, kind, items)
    claimed = store.claims.take("worker", lease_s=0)
    job = Job(store, claimed, lease_s=30, now=lambda: NOON)
    with monkeypatch.context() as patched:
        patched.setitem(bulk._DO, kind, Dying(bulk._DO[kind], at=at, committed=committed))
        with pytest.raises(Died):
            carry_out(job, memory_nodes, Vault(SECRET_KEY).open)

    finish(store, memory_nodes, operation_id)

    found = get(api, operation_id)
    done = [each["target_id"] for each in database["audit"].find({"action": f"bulk.{kind}"})]
    assert ("succeeded", ["succeeded"] * 5, 5) == (
        found["status"],
        list_statuses(found),
        found["bulk"]["ended"],
    )
    assert sorted(done) == sorted(item["id"] for item in found["bulk"]["items"])
    if kind == "stop":
        stops = database["operations"].count_documents({"kind": "stop"})
        assert 5 == stops
    else:
        assert 5 == database["users"].count_documents({"username_key": {"$regex": "^user[0-9]$"}})


@pytest.mark.heavy
def test_a_worker_that_comes_late_does_nothing(api, store, memory_nodes, make_instances, database):
    """Another took over when its lease had run out: its transaction is none."""
    operation_id = start(api, "stop", of(make_instances(2)))
    late = Job(store, store.claims.take("late", lease_s=0), lease_s=1000, now=lambda: NOON)
    finish(store, memory_nodes, operation_id)
    before = list(database["operations"].find())

    carry_out(late, memory_nodes)

    assert before == list(database["operations"].find())


def test_a_database_that_goes_away_fails_no_item(
    api, store, memory_nodes, make_instances, monkeypatch
):
    """The turn ends, and the item is done in the next."""
    operation_id = start(api, "stop", of(make_instances(1)))
    job = Job(store, store.claims.take("worker", lease_s=0), lease_s=30, now=lambda: NOON)

    def go_away(*_):
        raise StoreUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setitem(bulk._DO, OperationKind.STOP, go_away)
        with pytest.raises(StoreUnavailable):
            carry_out(job, memory_nodes)
    finish(store, memory_nodes, operation_id)

    assert "succeeded" == get(api, operation_id)["status"]


# Idempotency, audit log, lists


def test_a_repeat_is_answered_with_the_same_operation(api, store, make_instances):
    """With an `Idempotency-Key` there is one bulk operation, however often it is sent."""
    items = of(make_instances(2))
    headers = {"Idempotency-Key": "once"}

    asked = {start(api, "stop", items, headers=headers) for _ in range(2)}

    assert 1 == len(asked)
    assert 1 == len([o for o in store.operations.all() if o["kind"] == "bulk"])


@pytest.mark.heavy
def test_the_audit_log_has_the_operation_and_each_item(api, store, memory_nodes, make_instances):
    """The items with the key and the request that asked for them, also those that failed."""
    ids = make_instances(2)
    api.post(f"/api/instances/suspend/{ids[1]}")
    run_due(store, memory_nodes)
    operation_id = start(api, "start", of(ids), headers={"X-Request-Id": "the-bulk"})
    finish(store, memory_nodes, operation_id)

    entries = api.get("/api/audit").json["entries"]
    log = [each for each in entries if each["requestId"] == "the-bulk"]
    whole = [each for each in log if each["action"] == "operations.start_bulk_operation"]
    parts = {each["target"]: each for each in log if each["action"] == "bulk.start"}
    assert [operation_id] == [each["target"] for each in whole]
    assert [("done", None), ("refused", "instance_suspended")] == [
        (parts[each]["outcome"], parts[each]["code"]) for each in ids
    ]
    assert 1 == len({each["key"] for each in log})
    assert operation_id == parts[ids[0]]["after"]["bulkId"]


def test_lists_have_no_items(api, make_instances):
    """Only how far it is."""
    operation_id = start(api, "stop", of(make_instances(2)))

    [listed] = [each for each in api.get("/api/operations").json if each["id"] == operation_id]

    assert {"kind": "stop", "total": 2, "ended": 0, "failed": 0} == listed["bulk"]
    assert (None, None) == (listed["instanceId"], listed["nodeId"])


def test_events_have_no_items(api, store, make_instances, database):
    """They are of no instance and on no node, and say how far it is."""
    ids = make_instances(2)
    begin_events(database)
    with writing(store):
        operation_id = start(api, "stop", of(ids))
        [event] = api.get("/api/events?types=operation.created&wait=20").json["events"]

    assert operation_id == event["resourceId"]
    assert (None, None) == (event["instanceId"], event["nodeId"])
    assert {"kind": "stop", "total": 2, "ended": 0, "failed": 0} == event["resource"]["bulk"]


def test_it_looks_again_later_and_later(api, store, memory_nodes, make_instances, node):
    """While nothing happens, as on a node that is down, it costs little."""
    operation_id = start(api, "suspend", of(make_instances(1)))
    store.nodes.update(node["_id"], {"status": "Offline"})
    delays = []
    for seconds in (0, 0, 20, 4000):
        now = NOON + timedelta(seconds=seconds)
        job = claim(
            store,
            store.claims.look(),
            node_operations=4,
            lease_s=30,
            now=partial(lambda at: at, now),
        )
        assert operation_id == job.operation["_id"]
        carry_out(job, memory_nodes)
        waiting = store.operations.get(operation_id)
        delays.append(waiting["next_attempt_at"] - waiting["updated_at"])
        store.operations.retry_now(operation_id)

    assert [0.5, 0.5, 5.0, 10.0] == [delay.total_seconds() for delay in delays]
