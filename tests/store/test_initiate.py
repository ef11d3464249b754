"""The user that Compose makes for Skyquay, on a real mongod that asks for passwords."""

import importlib.util
from pathlib import Path

import pytest
from pymongo.uri_parser import parse_uri

from service.store import Store
from service.store.admin import validators

pytestmark = pytest.mark.fresh_database

INITIATE = Path(__file__).resolve().parent.parent.parent / "deploy/mongo/initiate.py"


@pytest.fixture
def initiate(config, monkeypatch):
    """The script, for the test's database instead of `skyquay`."""
    spec = importlib.util.spec_from_file_location("initiate", INITIATE)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    roles = [
        (role, where.replace(script.DATABASE, config.database)) for role, where in script.ROLES
    ]
    monkeypatch.setattr(script, "ROLES", roles)
    return script.initiate


@pytest.fixture
def account(mongo_client, mongod_uri):
    """The URI of a user that is not there yet, and the members' key."""
    known = parse_uri(mongod_uri)
    [(host, port)] = known["nodelist"]
    yield f"mongodb://composed:first@{host}:{port}/?replicaSet=skyquay", known["password"]
    mongo_client.admin.command("dropUser", "composed")


@pytest.fixture
def old_account(account, mongo_client, config):
    """The same where an earlier version made the user, with one role."""
    roles = [{"role": "readWrite", "db": config.database}]
    mongo_client.admin.command("createUser", "composed", pwd="before", roles=roles)
    return account


@pytest.mark.heavy
@pytest.mark.parametrize("before", ["account", "old_account"])
def test_the_user_may_do_what_skyquay_needs(initiate, config, mongo_client, request, before):
    """It sets and replaces validators, and sees the members; also where it was there before."""
    uri, key = request.getfixturevalue(before)
    database = mongo_client[config.database]
    database.create_collection("users", validator={"username": "of another version"})

    initiate(uri, key, timeout_s=10)

    store = Store(uri, config.database)
    store.prepare()
    seen = store.inspect()
    store.close()
    assert [] == validators.list_missing(database) + validators.list_stale(database)
    assert (1, 10) == (seen.members_up, seen.transaction_lifetime_s)


def test_the_user_may_do_nothing_in_other_databases(initiate, account, mongo_client, config):
    """Its rights end at Skyquay's database, but for looking at how the members are."""
    uri, key = account

    initiate(uri, key, timeout_s=10)

    told = mongo_client.admin.command("usersInfo", "composed")["users"][0]["roles"]
    assert {
        ("readWrite", config.database),
        ("dbAdmin", config.database),
        ("clusterMonitor", "admin"),
    } == {(each["role"], each["db"]) for each in told}
