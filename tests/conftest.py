"""Fixtures for the whole suite: one real mongod, and a database of its own for each test."""

from uuid import uuid4

import pytest
from pymongo import MongoClient

from service import embedded


@pytest.fixture(scope="session")
def mongod_uri(tmp_path_factory):
    """The address of a mongod that all tests share. It is primary, and gone after the session."""
    with embedded.start(tmp_path_factory.mktemp("mongod")) as mongod:
        yield mongod.uri


@pytest.fixture(scope="session")
def mongo_client(mongod_uri):
    """A client of the shared mongod, for looking around and cleaning up."""
    with MongoClient(mongod_uri) as client:
        yield client


@pytest.fixture
def database_name(mongo_client):
    """The name of an empty database that is this test's own. It is dropped afterwards."""
    name = f"test_{uuid4().hex}"
    yield name
    mongo_client.drop_database(name)
