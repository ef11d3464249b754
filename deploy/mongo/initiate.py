"""Make a replica set of the members that the database's URI names, and Skyquay's user in it.

Run it as often as you like: what is there is left alone, but for the user's password, which becomes
that of the URI, and the user's roles. It works as `__system`, whose password is the members' key,
since a new database has no users. docker-compose.yml runs it in Skyquay's own image.
"""

import sys
import time
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.uri_parser import parse_uri

DATABASE = "skyquay"
ROLES = (
    ("readWrite", DATABASE),
    ("dbAdmin", DATABASE),  # sets the validators
    ("clusterMonitor", "admin"),  # tells `skyquay doctor` which members are up
)
TIMEOUT_S = 120.0
SETTINGS = {
    # Half of MongoDB's own: on one machine there is no slow network to be patient with.
    "electionTimeoutMillis": 5000,
    # A new primary waits that long for what only the old one knows, and so for a container that is
    # gone. It can wait in vain only: what Skyquay acknowledges is known to most of the members.
    "catchUpTimeoutMillis": 1000,
}

_NOT_YET_INITIALIZED = 94
_USER_EXISTS = 51003


def initiate(uri: str, key: str, *, timeout_s: float = TIMEOUT_S) -> None:
    """Make what is missing. The set takes writes then, and the user is in it.

    Raises PyMongoError when that is not so after `timeout_s`.
    """
    parsed = parse_uri(uri)
    members = [f"{host}:{port}" for host, port in parsed["nodelist"]]
    name = parsed["options"]["replicaSet"]
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            _admit(members, name, key, user=parsed["username"], password=parsed["password"])
        except PyMongoError as exc:
            if time.monotonic() > deadline:
                raise
            print(f"Waiting for the database: {str(exc)[:100]}", flush=True)
            _make_set(members, name, key)
        else:
            print(f"The database takes writes, and knows {parsed['username']}.", flush=True)
            return


def _admit(members: list[str], name: str, key: str, *, user: str, password: str) -> None:
    """Let the user work in Skyquay's database, with this password, and nowhere else."""
    account = {"pwd": password, "roles": [{"role": role, "db": where} for role, where in ROLES]}
    # Kept by most of the members, so that it outlives the loss of one.
    safely = {"writeConcern": {"w": "majority", "wtimeout": 10_000}}
    with _connect(members, key, replicaSet=name) as client:
        try:
            client.admin.command("createUser", user, **account, **safely)
        except OperationFailure as exc:
            if exc.code != _USER_EXISTS:
                raise
            client.admin.command("updateUser", user, **account, **safely)


def _make_set(members: list[str], name: str, key: str) -> None:
    """Make the set, once all members are up and none of them knows one.

    A member that lost its files is let in again by the others, without us.
    """
    config = {
        "_id": name,
        "members": [{"_id": number, "host": host} for number, host in enumerate(members)],
        "settings": SETTINGS,
    }
    try:
        if not any(_knows_a_set(member, key) for member in members):
            with _connect(members[:1], key, directConnection=True) as client:
                client.admin.command("replSetInitiate", config)
            print(f"Made the replica set {name} of {', '.join(members)}.", flush=True)
    except PyMongoError as exc:
        print(f"Waiting for all members: {str(exc)[:100]}", flush=True)


def _knows_a_set(member: str, key: str) -> bool:
    with _connect([member], key, directConnection=True) as client:
        try:
            client.admin.command("replSetGetStatus")
        except OperationFailure as exc:
            if exc.code == _NOT_YET_INITIALIZED:
                return False
            raise
    return True


def _connect(hosts: list[str], key: str, **options: Any) -> MongoClient[dict[str, Any]]:
    return MongoClient(
        hosts,
        username="__system",
        password=key,
        authSource="local",
        # Asked which it knows for a user, mongod names none for this one.
        authMechanism="SCRAM-SHA-256",
        serverSelectionTimeoutMS=2000,
        socketTimeoutMS=20_000,
        **options,
    )


if __name__ == "__main__":
    uri, key = (Path(file).read_text("utf-8") for file in sys.argv[1:3])
    # The members pass over white space in their key, such as the line ends of `openssl rand`.
    initiate(uri.strip(), "".join(key.split()))
