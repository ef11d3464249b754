"""Databases that one test after the other has: each is as new."""

from contextlib import closing

import pytest

from service.app import make_store
from service.config import Config
from tests.own_databases import OwnDatabases, read_catalog
from tests.support import a_user

pytestmark = pytest.mark.heavy


@pytest.fixture
def databases(mongo_client):
    """A database that is prepared."""
    databases = OwnDatabases(mongo_client)
    yield databases
    databases.drop()


def test_another_test_finds_no_documents(databases, mongo_client, mongod_uri):
    """But those that a store makes there at first."""
    with closing(make_store(Config(mongodb_uri=mongod_uri, database=databases.name))) as store:
        databases.prepare(store)
        name, installation = databases.name, store.settings.read_installation_id()
        a_user(store)
        mongo_client[name]["settings"].delete_many({})
        databases.put_back()

        assert (name, []) == (databases.name, store.users.all())
        assert installation == store.settings.read_installation_id()


def test_a_database_with_another_index_is_no_other_test_s(databases, mongo_client, mongod_uri):
    """Nor one with another collection."""
    with closing(make_store(Config(mongodb_uri=mongod_uri, database=databases.name))) as store:
        databases.prepare(store)
        database = mongo_client[databases.name]
        database["users"].create_index("nothing")
        database["others"].insert_one({})

        databases.put_back()
        databases.prepare(store)

        assert "nothing_1" not in database["users"].index_information()
        assert "others" not in database.list_collection_names()
        assert [] == store.list_missing_indexes() + store.list_stale_validators()


def test_what_is_missing_is_made_again(databases, mongo_client, mongod_uri):
    """An index, a validator, and a collection."""
    with closing(make_store(Config(mongodb_uri=mongod_uri, database=databases.name))) as store:
        databases.prepare(store)
        database = mongo_client[databases.name]
        before = read_catalog(database)
        database["users"].drop_indexes()
        database.command("collMod", "users", validator={})
        database["images"].drop()

        databases.put_back()
        databases.prepare(store)

        assert before == read_catalog(database)
