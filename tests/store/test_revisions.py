"""Every write raises the revision of the document, and none goes past the place that does it."""

import ast
from pathlib import Path

import pytest

from service import enrolment, instances, keys
from service.model.documents import (
    new_amounts,
    new_bulk_item,
    new_bulk_operation,
    new_delivery,
    new_transfer,
    new_user,
    new_webhook,
)
from service.model.drains import DrainStatus
from service.model.lifecycle import InstanceState, OperationStatus, Power
from service.model.precondition import name_state
from service.model.replacements import new_replacement
from service.store.revised import raise_revision
from tests.support import AT_NOON, FAR, NOON, a_key, a_node, a_user, an_image, an_order

STORE = Path(__file__).resolve().parents[2] / "service" / "store"
ANSWERED = ("users", "images", "keys", "nodes", "instances", "operations", "webhooks", "deliveries")
PYMONGO_WRITES = {"insert_one", "insert_many", "update_one", "update_many", "replace_one",
                  "find_one_and_update", "find_one_and_replace", "bulk_write"}  # fmt: skip
ONE_MORE = {**new_amounts(), "instances": 1}
LEFT = {"path": "/v", "names": [], "reason": "none"}


class Stored:
    """A store with a document of each kind, and their ids."""

    def __init__(self, store, memory_nodes):
        self.store = store
        user, image = a_user(store), an_image(store)
        self.node = a_node(store, memory_nodes)["_id"]
        self.user, self.image = user["_id"], image
        a_key(store)
        [self.key] = store.keys.all()
        order = an_order(user, {"_id": self.node}, image)
        deployed, operation = instances.deploy(store, order, origin=AT_NOON)
        self.instance, self.operation = deployed["_id"], operation["_id"]

        hook = new_webhook(
            "w", url="http://192.0.2.1/", types=None, wanted={}, secret="", key_id="k",
            acts_for=None, family="k", now=NOON,
        )  # fmt: skip
        self.store.webhooks.add(hook)
        event = {"_id": 1, "type": "t", "kind": "image", "resource_id": "i"}
        self.store.deliveries.add(new_delivery("w", event, expires_at=FAR, now=NOON))
        self.delivery = "msg_w_1"

    def claim_delivery(self):
        """Have a worker take the delivery."""
        self.store.deliveries.claim("w", "t", lease_s=30, most=1, now=NOON)

    def in_transaction(self, method, *arguments, **options):
        """Call a method that needs a transaction."""
        self.store.transaction(lambda session: method(*arguments, **options, session=session))

    def claim(self):
        """Have a worker take the operation."""
        self.store.claims.take("t", lease_s=30)

    def claim_probe(self):
        """Have a worker take the node."""
        self.store.probes.claim("t", interval_s=0, lease_s=30)


def _begin_step(s):
    s.claim()
    s.store.claims.begin_step(s.operation, "t", "pull", now=NOON)


def _lock_deploy(s):
    s.store.nodes.lock_deploy(s.node, operation_id="o", instance_id="i", hold_s=30)


def _issue_configure_key(s):
    s.store.nodes.update(s.node, {"driver": "skyportd", "status": "Unconfigured"})
    _, s.configure_key = enrolment.issue_configure_key(s.store, s.node, now=NOON)


def _postpone(s):
    s.claim()
    s.store.claims.postpone(s.operation, "t", delay_s=60)


def _claim_replacement(s):
    replacing = {"replacement": new_replacement()}
    s.in_transaction(s.store.operations.change_open, s.operation, replacing)
    s.claim()


def _begin_transfer(s):
    s.in_transaction(
        s.store.operations.change_open, s.operation, {"transfer": new_transfer(s.node, "another")}
    )
    _begin_step(s)


def _claim_bulk(s):
    items = [new_bulk_item(s.instance, node_id=s.node)]
    operation = new_bulk_operation("stop", items, origin=AT_NOON)
    s.store.operations.add(operation)
    s.bulk = operation["_id"]
    s.claim()  # of the deployment
    s.claim()


def _start(s, timeout_s=300):
    ready = {"kind": "port", "value": "", "timeout_s": timeout_s}
    s.store.instances.update(s.instance, {"ready": ready, "power": Power.RUNNING})


def _mark_ready(s):
    [found] = s.store.phases.list_starting()
    s.store.phases.mark_ready(found, now=NOON)


def _write_items(s):
    item = {**new_bulk_item(s.instance), "status": "succeeded"}
    written = s.store.bulks.write_items(
        s.bulk, "t", {0: item}, before=OperationStatus.PENDING, now=NOON
    )
    assert written


def _release(s):
    s.store.deliveries.release(s.delivery, "t")


BEFORE = {
    "bulks.write_items": _claim_bulk,
    "phases.mark_ready": _start,
    "phases.give_up": lambda s: _start(s, timeout_s=0),
    "held_ports.forget_old": lambda s: s.store.held_ports.record(s.node, 25565, now=NOON),
    "nodes.reset_unanswered": lambda s: s.store.nodes.count_unanswered(s.node),
    "nodes.unlock_deploy": _lock_deploy,
    "nodes.take_configure_key": _issue_configure_key,
    "probes.renew": Stored.claim_probe,
    "probes.end": Stored.claim_probe,
    "operations.request_cancel": Stored.claim,
    "operations.retry_now": _postpone,
    "operations.retry_now_on_node": _postpone,
    "claims.renew": Stored.claim,
    "claims.fence": Stored.claim,
    "claims.set_progress": _begin_step,
    "claims.end_step": _begin_step,
    "claims.set_leftovers": Stored.claim,
    "claims.finish": Stored.claim,
    "claims.begin_replacement": _claim_replacement,
    "claims.begin_undo": _claim_replacement,
    "claims.go_on_at": Stored.claim,
    "claims.set_copied": _begin_transfer,
    "images.unmark": lambda s: s.store.images.mark_deleting(s.image["_id"], now=NOON),
    "deliveries.finish": Stored.claim_delivery,
    "deliveries.release": Stored.claim_delivery,
    "deliveries.retry_begun": lambda s: (s.claim_delivery(), _release(s)),
}
"""What goes before a write."""

WRITES = {
    "users.add": lambda s: s.store.users.add(
        new_user("u2", username="b", email="b@x.org", password_hash="h", now=NOON)
    ),
    "users.set_password_hash": lambda s: s.store.users.set_password_hash(s.user, "h", now=NOON),
    "users.charge": lambda s: s.in_transaction(
        s.store.users.charge, s.user, new_amounts(), now=FAR
    ),
    "users.adjust": lambda s: s.in_transaction(s.store.users.adjust, s.user, ONE_MORE),
    "suspensions.mark": lambda s: s.in_transaction(s.store.suspensions.mark, s.user),
    "suspensions.unmark": lambda s: s.in_transaction(s.store.suspensions.unmark, s.user),
    "promises.recount": lambda s: s.in_transaction(s.store.promises.recount, s.node),
    "quotas.recount": lambda s: s.in_transaction(s.store.quotas.recount, s.user),
    "users.count_key": lambda s: s.in_transaction(s.store.users.count_key, s.user),
    "images.replace": lambda s: s.in_transaction(
        s.store.images.replace, {**s.image, "description": "new"}
    ),
    "images.mark_deleting": lambda s: s.store.images.mark_deleting(s.image["_id"], now=NOON),
    "images.unmark": lambda s: s.in_transaction(s.store.images.unmark, s.image["_id"]),
    "images.put": lambda s: s.store.images.put({**s.image, "description": "new"}),
    "keys.count_delegation": lambda s: s.in_transaction(
        s.store.keys.count_delegation, s.key["_id"]
    ),
    "keys.touch": lambda s: s.store.keys.touch(s.key["_id"], now=NOON, unless_since=NOON),
    "keys.rotate": lambda s: keys.rotate(s.store, s.key, overlap_s=0, now=NOON),
    "nodes.reserve": lambda s: s.in_transaction(
        s.store.nodes.reserve, s.node, memory_mib=1, cpu_milli=1
    ),
    "nodes.release": lambda s: s.in_transaction(
        s.store.nodes.release, s.node, memory_mib=1, cpu_milli=1
    ),
    "nodes.resize": lambda s: s.in_transaction(
        s.store.nodes.resize, s.node, memory_mib=1, cpu_milli=1
    ),
    "nodes.touch_all": lambda s: s.in_transaction(s.store.nodes.touch_all),
    "nodes.show_drain": lambda s: s.in_transaction(
        s.store.nodes.show_drain, s.node, DrainStatus.RUNNING
    ),
    "nodes.count_unanswered": lambda s: s.store.nodes.count_unanswered(s.node),
    "nodes.reset_unanswered": lambda s: s.store.nodes.reset_unanswered(s.node),
    "nodes.lock_deploy": _lock_deploy,
    "nodes.unlock_deploy": lambda s: s.store.nodes.unlock_deploy(s.node, operation_id="o"),
    "nodes.take_configure_key": lambda s: s.store.nodes.take_configure_key(
        keys.digest(s.configure_key), changes={}, now=NOON
    ),
    "probes.claim": Stored.claim_probe,
    "probes.renew": lambda s: s.store.probes.renew([s.node], "t", lease_s=60),
    "probes.end": lambda s: s.store.probes.end(s.node, "t", seen_at=NOON),
    "nodes.update": lambda s: s.store.nodes.update(s.node, {"probe_error": "away"}),
    "held_ports.record": lambda s: s.store.held_ports.record(s.node, 25565, now=NOON),
    "held_ports.forget_old": lambda s: s.store.held_ports.forget_old(s.node, now=FAR),
    "nodes.replace_secret": lambda s: s.store.nodes.replace_secret(
        s.node, {"secret": "s"}, only_if={}
    ),
    "instances.move": lambda s: s.store.instances.move(s.instance, InstanceState.READY, now=NOON),
    "instances.update": lambda s: s.store.instances.update(s.instance, {"power": Power.RUNNING}),
    "instances.set_suspended": lambda s: s.in_transaction(
        s.store.instances.set_suspended, s.instance, True, now=NOON
    ),
    "instances.touch": lambda s: s.in_transaction(s.store.instances.touch, s.instance, now=FAR),
    "operations.supersede_waiting": lambda s: s.in_transaction(
        s.store.operations.supersede_waiting, s.instance, now=NOON
    ),
    "operations.supersede_on": lambda s: s.in_transaction(
        s.store.operations.supersede_on, s.node, now=NOON
    ),
    "operations.cancel_waiting": lambda s: s.in_transaction(
        s.store.operations.cancel_waiting, s.operation, now=NOON
    ),
    "operations.change_open": lambda s: s.in_transaction(
        s.store.operations.change_open, s.operation, {"changes": {"memory_mib": 1}}
    ),
    "operations.set_owner": lambda s: s.in_transaction(
        s.store.operations.set_owner, s.instance, "u2"
    ),
    "operations.request_cancel": lambda s: s.in_transaction(
        s.store.operations.request_cancel, s.operation
    ),
    "operations.retry_now": lambda s: s.store.operations.retry_now(s.operation),
    "operations.retry_now_on_node": lambda s: s.store.operations.retry_now_on_node(s.node),
    "claims.take": Stored.claim,
    "claims.renew": lambda s: s.store.claims.renew(s.operation, "t", lease_s=60),
    "claims.begin_step": _begin_step,
    "claims.fence": lambda s: s.in_transaction(s.store.claims.fence, s.operation, "t"),
    "claims.set_progress": lambda s: s.store.claims.set_progress(s.operation, "t", "half"),
    "claims.end_step": lambda s: s.store.claims.end_step(s.operation, "t", now=NOON),
    "claims.set_leftovers": lambda s: s.in_transaction(
        s.store.claims.set_leftovers, s.operation, "t", LEFT
    ),
    "claims.finish": lambda s: s.store.claims.finish(
        s.operation, "t", OperationStatus.SUCCEEDED, now=NOON
    ),
    "claims.postpone": _postpone,
    "claims.begin_replacement": lambda s: s.store.claims.begin_replacement(
        s.operation, "t", found=True, run=True
    ),
    "claims.go_on_at": lambda s: s.store.claims.go_on_at(s.operation, "t", "another"),
    "claims.set_copied": lambda s: s.store.claims.set_copied(
        s.operation, "t", copied=5, total=9, progress="5 of 9"
    ),
    "claims.begin_undo": lambda s: s.store.claims.begin_undo(s.operation, "t", "broken"),
    "bulks.write_items": _write_items,
    "phases.mark_ready": _mark_ready,
    "phases.give_up": lambda s: s.store.phases.give_up(),
    "webhooks.disable": lambda s: s.store.webhooks.disable(
        "w", {"reason": "requested", "message": "", "at": NOON}
    ),
    "webhooks.replace_secret": lambda s: s.store.webhooks.replace_secret(
        "w", "secret", "anew", before=""
    ),
    "deliveries.claim": Stored.claim_delivery,
    "deliveries.finish": lambda s: s.store.deliveries.finish(
        s.delivery, "t", "failed", attempt=None, failures=1, next_attempt_at=NOON, now=NOON
    ),
    "deliveries.release": _release,
    "deliveries.retry_now": lambda s: s.store.deliveries.retry_now(s.delivery, now=NOON),
    "deliveries.retry_begun": lambda s: s.store.deliveries.retry_begun("w", now=FAR),
}


def read_all(database):
    """Read all documents that answers are made of, by collection and id."""
    return {(name, each["_id"]): each for name in ANSWERED for each in database[name].find()}


@pytest.fixture
def stored(store, memory_nodes):
    """A document of each kind."""
    return Stored(store, memory_nodes)


@pytest.mark.parametrize("name", WRITES)
def test_a_write_raises_the_revision(stored, database, name):
    """Of each document that it changes, and no other; what is new has 1."""
    if name in BEFORE:
        BEFORE[name](stored)
    before = read_all(database)

    WRITES[name](stored)

    after = read_all(database)
    changed = [each for each, document in after.items() if before.get(each) != document]
    new = {"revision": 0}
    raised = [
        each for each in changed if after[each]["revision"] > before.get(each, new)["revision"]
    ]
    assert (True, changed) == (changed != [], raised)


OBSERVING = {
    "users.charge", "users.adjust", "quotas.recount", "promises.recount", "users.count_key",
    "suspensions.mark", "suspensions.unmark",
    "images.mark_deleting", "images.unmark",
    "keys.count_delegation", "keys.touch", "nodes.reserve", "nodes.release", "nodes.resize",
    "nodes.show_drain",
    "nodes.touch_all", "nodes.count_unanswered", "nodes.reset_unanswered", "nodes.lock_deploy",
    "nodes.unlock_deploy", "probes.claim", "probes.renew", "held_ports.record",
    "held_ports.forget_old",
    "probes.end",
    "nodes.update", "nodes.replace_secret", "instances.update", "phases.mark_ready",
    "phases.give_up", "webhooks.replace_secret",
}  # fmt: skip
"""What changes nothing that a client can change, so that nobody's edit is refused for it."""


@pytest.mark.parametrize("name", WRITES)
def test_only_a_change_has_another_state(stored, database, name):
    """`If-Match` passes over what is only observed; whatever is not named above is a change."""
    if name in BEFORE:
        BEFORE[name](stored)
    before = read_all(database)

    WRITES[name](stored)

    after = read_all(database)
    written = [each for each in before if before[each] != after[each]]
    changed = [each for each in written if name_state(before[each]) != name_state(after[each])]
    assert ([] if name in OBSERVING else written) == changed


def test_a_document_without_a_revision_gets_one(stored, database):
    """Those of earlier versions have none, which counts as 0."""
    for name in ("instances", "nodes"):
        database[name].update_many({}, {"$unset": {"revision": 1}})

    stored.store.instances.update(stored.instance, {"power": Power.RUNNING})
    stored.store.nodes.count_unanswered(stored.node)

    assert 1 == stored.store.instances.get(stored.instance)["revision"]
    assert 1 == stored.store.nodes.get(stored.node)["revision"]


def test_other_counts_are_raised_too():
    """What a write counts itself is still counted."""
    assert {"$inc": {"made": 2, "revision": 1}} == raise_revision({"$inc": {"made": 2}})


def test_an_observation_is_counted_besides():
    """In whichever form it is written."""
    raised = raise_revision([{"$set": {"a": 1}}], observes=True)

    assert ["revision", "observations"] == [*raised[-1]["$set"]]


def list_methods(name):
    """List the methods of the classes of a module, each with the names of what it calls."""
    for each in ast.walk(ast.parse(STORE.joinpath(f"{name}.py").read_text())):
        if isinstance(each, ast.ClassDef):
            for method in each.body:
                if isinstance(method, ast.FunctionDef):
                    calls = [call.func for call in ast.walk(method) if isinstance(call, ast.Call)]
                    yield (
                        method.name,
                        {call.attr for call in calls if isinstance(call, ast.Attribute)},
                    )


def test_every_writing_method_is_tried():
    """The table above has each, also those that write through others."""
    methods = [
        (name, *each)
        for name in (*ANSWERED, "claims", "bulks", "phases", "probes", "held_ports", "lease")
        for each in list_methods(name)
    ]
    writing = set(PYMONGO_WRITES)
    while more := {method for _, method, calls in methods if calls & writing} - writing:
        writing |= more

    found = {f"{name}.{method}" for name, method, calls in methods
             if calls & writing and not method.startswith("_") and name != "lease"}  # fmt: skip
    # `operations.add` calls that of all collections, `move` is what the others move with, and
    # `remove_on` of a node that goes only deletes. `webhooks.count_for` changes none of them.
    allowed = {"operations.add", "operations.move", "webhooks.count_for"}
    assert found - WRITES.keys() <= allowed


def test_nothing_writes_past_the_place():
    """Of the store's modules only that place has a collection of pymongo's to write to."""
    past = [
        f"{path.name}:{each.lineno}"
        for path in STORE.glob("*.py")
        if path.name != "revised.py"
        for each in ast.walk(ast.parse(path.read_text()))
        if isinstance(each, ast.Call)
        and isinstance(each.func, ast.Attribute)
        and each.func.attr in PYMONGO_WRITES
        and ast.unparse(each.func.value)
        not in ("self._collection", "self._observing", "collection")
    ]

    # The installation's id is written once, by a migration, and is part of no answer. Events are
    # what is told of revisions, and have none. `meta` has what is nobody's document, a new delivery
    # begins at the first revision, and samples are part of no document.
    assert [
        "event_log.py", "event_log.py", "fan_out.py", "fan_out.py", "fan_out.py", "samples.py",
        "settings.py", "webhooks.py",
    ] == sorted(each.split(":")[0] for each in past)  # fmt: skip


def test_collections_hold_what_raises(store):
    """What those modules call their collection is what raises revisions."""
    held = [getattr(store, name)._collection for name in (*ANSWERED, "claims", "bulks", "phases")]
    held += [getattr(store, name)._observing for name in ANSWERED]

    assert {"RevisedCollection"} == {type(each).__name__ for each in held}
