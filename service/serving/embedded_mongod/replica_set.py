"""How a mongod becomes the one member of a replica set, which has one user.

This is the only module outside ``store`` that imports pymongo: replica sets are made here.
"""

import socket
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure

LOOPBACK = "127.0.0.1"
REPLICA_SET = "skyquay"
USER = "skyquay"

_NOT_YET_INITIALIZED = 94


def lead(port: int, key: str) -> bool:
    """Take the mongod one step towards being primary, and return whether it is."""
    # A client waits half a second before it tries again to reach a port that is still closed.
    socket.create_connection((LOOPBACK, port), timeout=1).close()
    host = f"{LOOPBACK}:{port}"
    with MongoClient[dict[str, Any]](
        LOOPBACK,
        port,
        directConnection=True,
        serverSelectionTimeoutMS=1000,
        socketTimeoutMS=5000,
        username="__system",
        password=key,
        authSource="local",
        # Asked which it knows for a user, mongod names none for this one.
        authMechanism="SCRAM-SHA-256",
    ) as client:
        if client.admin.command("hello")["isWritablePrimary"]:
            _admit(client, key)
            return True
        try:
            config = client.admin.command("replSetGetConfig")["config"]
        except OperationFailure as exc:
            if exc.code != _NOT_YET_INITIALIZED:
                raise
            client.admin.command(
                "replSetInitiate", {"_id": REPLICA_SET, "members": [{"_id": 0, "host": host}]}
            )
            return False
        if config["members"][0]["host"] != host:
            # Made on another port. The member does not know itself there, so nobody can vote.
            config["members"][0]["host"] = host
            config["version"] += 1
            client.admin.command("replSetReconfig", config, force=True)
    return False


def _admit(client: MongoClient[dict[str, Any]], key: str) -> None:
    """Let the user in with this key, and nobody else.

    Whoever knew a key that was replaced could make users.
    """
    found = client.admin.command("usersInfo", {"forAllDBs": True})["users"]
    known = {(each["db"], each["user"]) for each in found}
    ours = ("admin", USER)
    command = "updateUser" if ours in known else "createUser"
    client.admin.command(command, USER, pwd=key, roles=["root"])
    for database, name in known - {ours}:
        client[database].command("dropUser", name)
