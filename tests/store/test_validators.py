"""The database refuses documents out of shape, and knows the shapes from documents.py."""

import hashlib
import json
from datetime import datetime
from typing import Literal, NotRequired, TypedDict

import pytest
from bson import MinKey
from pymongo.errors import WriteError

from service import audit, bulk, idempotency, instances, keys, webhooks
from service.errors import StoreFailure
from service.model.addresses import trust
from service.model.documents import Instance, LeftBehind, Leftover
from service.model.lifecycle import BulkKind, Power
from service.model.orders import BulkOrder, NewUser, SecretOrder, WebhookOrder
from service.model.ports import parse
from service.security.vault import Vault
from service.store import Store
from service.store.admin import migrations, validators
from service.store.admin.migrations import begin_events
from service.store.admin.validators import make_schema
from tests.event_writing import writing
from tests.support import (
    AT_NOON,
    NOON,
    a_drain,
    a_node,
    a_user,
    an_image,
    an_order,
    eventually,
    run_due,
)

SHAPES = {
    2: "d6573418",
    8: "e50fabf5",
    9: "1957834b",
    10: "fc04dd0c",
    11: "1a4ea5a0",
    12: "27009494",
    13: "80f43e39",
    14: "bc9df147",
    15: "8fae3a4b",
    16: "5d33dc44",
    17: "45341dec",
    18: "0bb5d861",
    19: "85097248",
    20: "3d5af046",
    21: "85219c31",
    22: "f9b4cdfe",
    23: "f8bc2957",
    24: "9f2ceebc",
    25: "d7baed0c",
    26: "350bafd2",
    27: "b6b57761",
    28: "32c098fe",
    29: "70e5e64b",
    30: "364b46dd",
}
"""How the validators of each migration's version begin, as a digest."""


def keep_one(store, order):
    """Deploy another instance, and delete it so that it can be restored."""
    instance, _ = instances.deploy(store, order, origin=AT_NOON)
    instances.delete(store, instance["_id"], keep_s=60, origin=AT_NOON)


@pytest.fixture
def full(store, database, memory_nodes):
    """One document of each kind at least, as the program makes them and changes them."""
    user, node, image = a_user(store), a_node(store, memory_nodes), an_image(store)
    instances.deploy(store, an_order(user, node, image, disk_gb=1.5), origin=AT_NOON)
    run_due(store, memory_nodes)
    keep_one(store, an_order(user, node, image, ports=parse("80:9090"), primary=9090))
    user = NewUser(username="b", email="b@example.org", password="sesame" * 2, user_id=None,
                   admin=False)  # fmt: skip
    order = BulkOrder(kind=BulkKind.CREATE_USERS, instances=[], users=[user])
    key, _ = keys.create(store, name="k", now=NOON)
    bulk.begin(store, Vault("a secret key"), order, by=key, origin=AT_NOON)
    left = LeftBehind(path="/volumes/ix", names=["a"], reason="EPERM")
    gone = Leftover(_id="ix", node_id=node["_id"], created_at=NOON, **left)
    store.transaction(lambda session: store.leftovers.put(gone, session=session))
    keys.create(store, name="bot", now=NOON)
    audit.begin(store, action="a.b", target_kind=None, target_id=None, keep_s=1e9, now=NOON)
    wanted = {"key_id": "k", "idempotency_key": "1", "request": b""}
    claim = idempotency.begin(store, Vault("a secret key"), **wanted)
    store.transaction(lambda session: store.idempotency.mark(claim, {"user": "u"}, session=session))
    answer = {"status": 201, "body": "{}", "location": "/api/users/u"}
    store.idempotency.keep(claim, answer)
    store.sampling.sync(now=NOON)
    a_drain(store, node["_id"])
    begin_events(database)
    order = WebhookOrder(url="http://192.0.2.1/", types=None, wanted={"node_id": "n"}, secret=None)
    hook, _ = webhooks.create(
        store, Vault("a secret key"), key, order, acts_for=None, refuse=trust, now=NOON
    )
    webhooks.send_test(store, store.webhooks, hook["_id"], now=NOON)
    webhooks.rotate(
        store, store.webhooks, Vault("a secret key"), hook["_id"],
        SecretOrder(secret=None, overlap_s=1), now=NOON,
    )  # fmt: skip
    with writing(store):
        gone_user = a_user(store)
        assert eventually(lambda: database["events"].count_documents({}) > 0)
    store.transaction(lambda session: store.users.remove(gone_user["_id"], session=session))


def test_the_validators_in_the_database_are_those_of_documents(store, database):
    """Each collection has the one that documents.py asks for, enforced for what is in shape."""
    options = {each["name"]: each["options"] for each in database.list_collections()}

    for name in validators.DOCUMENTS:
        assert {
            "validator": validators.make_validator(name),
            "validationLevel": "moderate",
            "validationAction": "error",
        } == options[name]


@pytest.mark.fresh_database
def test_a_validator_that_differs_is_set_again(store, database):
    """A start puts right what an earlier version, or a hand, left."""
    database.command("collMod", "users", validator={})
    database.command("collMod", "operations", validator={"kind": "deploy"})
    database.command("collMod", "nodes", validationAction="warn")
    assert ["users"] == validators.list_missing(database)
    assert ["nodes", "operations"] == validators.list_stale(database)

    store.prepare()

    assert [] == validators.list_missing(database) + validators.list_stale(database)


def test_a_new_shape_has_a_migration():
    """
    Whoever changes documents.py adds a migration, if only one that does nothing, and a row here:
    else a process of before sets the old validators again, which refuse what the new one writes.
    """
    shape = json.dumps({name: validators.make_validator(name) for name in validators.DOCUMENTS},
                       sort_keys=True)  # fmt: skip

    latest = migrations.MIGRATIONS[-1].number
    assert SHAPES.get(latest) == hashlib.sha256(shape.encode()).hexdigest()[:8]


@pytest.mark.heavy
@pytest.mark.parametrize("name", validators.DOCUMENTS)
def test_what_the_program_writes_is_in_shape(full, database, name):
    """Every kind of document passes the validator of its collection."""
    assert database[name].count_documents({}) > 0
    assert 0 == database[name].count_documents({"$nor": [validators.make_validator(name)]})


@pytest.mark.heavy
@pytest.mark.parametrize("name", validators.DOCUMENTS)
def test_a_document_without_a_field_is_refused(full, database, name):
    """Whatever is required must be there."""
    document = database[name].find_one()
    for field in validators.make_validator(name)["$jsonSchema"]["required"]:
        if field != "_id":  # which the driver would add
            broken = {**document, "_id": "broken"}
            del broken[field]
            with pytest.raises(WriteError, match="failed validation"):
                database[name].insert_one(broken)


@pytest.mark.heavy
@pytest.mark.parametrize("name", validators.DOCUMENTS)
def test_a_field_of_a_wrong_type_is_refused(full, database, name):
    """What has a type takes no value of another."""
    document = database[name].find_one()
    for field, schema in validators.make_validator(name)["$jsonSchema"]["properties"].items():
        if field != "_id" and schema:
            with pytest.raises(WriteError, match="failed validation"):
                database[name].update_one({"_id": document["_id"]}, {"$set": {field: MinKey()}})


@pytest.mark.heavy
def test_a_state_that_does_not_exist_is_refused(full, database):
    """An enumeration takes its own values only."""
    with pytest.raises(WriteError, match="failed validation"):
        database["instances"].update_one({}, {"$set": {"state": "ASLEEP"}})


@pytest.mark.heavy
def test_a_broken_document_inside_is_refused(full, database):
    """Documents inside of documents have a shape too."""
    with pytest.raises(WriteError, match="failed validation"):
        database["nodes"].update_one({}, {"$unset": {"allocated.instances": ""}})


@pytest.mark.heavy
def test_a_field_that_is_not_known_is_let_through(full, database):
    """A newer process may write more, while an older one still runs."""
    changed = database["instances"].update_one({}, {"$set": {"colour": "blue"}})

    assert 1 == changed.modified_count


@pytest.mark.fresh_database
def test_what_was_out_of_shape_before_can_be_changed(store, database):
    """So that nothing old gets stuck."""
    database.command("collMod", "users", validator={})
    database["users"].insert_one({"_id": "old"})
    store.prepare()

    changed = database["users"].update_one({"_id": "old"}, {"$set": {"admin": True}})

    assert 1 == changed.modified_count


def test_a_refused_document_is_our_mistake(store):
    """The store says so as of anything that the database refuses."""
    with pytest.raises(StoreFailure):
        store.users.add({"_id": "broken", "email_key": "e", "username_key": "u"})


@pytest.fixture
def small(config, database):
    """A store whose user of the database has the role readWrite and no other."""
    database.command("createUser", "small", pwd="small", roles=["readWrite"])
    host = config.mongodb_uri.partition("@")[2].partition("/")[0]
    small = Store(f"mongodb://small:small@{host}/{config.database}?replicaSet=skyquay",
                  config.database)  # fmt: skip
    yield small
    small.close()
    database.command("dropUser", "small")


@pytest.mark.heavy
@pytest.mark.fresh_database
def test_who_may_not_set_validators_goes_on_without(small, database, caplog):
    """Skyquay starts, and says what lacks."""
    database.create_collection("users")

    small.prepare()

    assert "users" in validators.list_missing(database)
    assert "the validator of users cannot be set" in caplog.text


@pytest.mark.fresh_database
def test_a_newer_version_is_let_alone(store, database):
    """What it made of the validators is no reason for this one to serve nothing any more."""
    database.command("collMod", "users", validator={"username": "newer"})
    before = store.list_stale_validators()

    database["meta"].update_one(migrations.SCHEMA, {"$inc": {"version": 1}})

    assert (["users"], []) == (before, store.list_stale_validators())


@pytest.mark.heavy
@pytest.mark.fresh_database
def test_who_may_not_look_at_the_set_sees_the_rest(small):
    """What the database does not tell is None, and the members are those that it names."""
    small.prepare()

    seen = small.inspect()

    assert (1, None, None) == (seen.members, seen.members_up, seen.transaction_lifetime_s)


@pytest.mark.heavy
@pytest.mark.fresh_database
def test_the_smallest_role_is_enough_for_a_backup(small, store, tmp_path):
    """And for its restoration."""
    a_user(store)
    small.back_up(tmp_path / "file")

    small.restore(tmp_path / "file", replace=True)

    assert 1 == len(small.users.all())


class Inner(TypedDict):
    """A document inside of another."""

    when: datetime


class Outer(TypedDict):
    """A field of each type."""

    inner: Inner | None
    kind: Literal["a", "b"]
    power: Power
    size: float
    many: list[int]
    named: dict[str, bool]
    maybe: NotRequired[str]


def test_a_schema_is_made_from_types():
    """Each type that documents.py uses has its counterpart."""
    inner = {
        "bsonType": "object",
        "required": ["when"],
        "properties": {"when": {"bsonType": "date"}},
    }

    assert {
        "bsonType": "object",
        "required": ["inner", "kind", "many", "named", "power", "size"],
        "properties": {
            "inner": {"anyOf": [inner, {"bsonType": "null"}]},
            "kind": {"enum": ["a", "b"]},
            "power": {"enum": ["running", "stopped", "unknown"]},
            "size": {"bsonType": ["double", "int", "long"]},
            "many": {"bsonType": "array", "items": {"bsonType": ["int", "long"]}},
            "named": {"bsonType": "object", "additionalProperties": {"bsonType": "bool"}},
            "maybe": {"bsonType": "string"},
        },
    } == make_schema(Outer)


def test_a_type_without_a_counterpart_is_an_error():
    """A new type in documents.py needs a line in validators.py."""
    with pytest.raises(TypeError, match="No validator"):
        make_schema(set[str])


def test_every_field_of_a_document_is_required_or_may_lack():
    """Fields that may lack are known by their type, and not required."""
    schema = make_schema(Instance)

    optional = {
        "node_env", "reserved", "container", "revision", "observations", "external_id", "labels",
        "changed_by", "exit_code", "oom_killed", "restarts", "started_at",
        "ready", "phase", "ready_at", "ready_by", "not_ready", "before_suspension", "arrival",
        "restored_at",
    }  # fmt: skip
    assert optional == schema["properties"].keys() - set(schema["required"])
