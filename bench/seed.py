"""The same instances for all that are compared: documents for Skyquay, answers for its peers."""

import hashlib
import secrets
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice
from typing import Any

import pymongo

from service import images, instances, nodes, users
from service.app import create_app, utc_now
from service.config import Config
from service.drivers.memory import MemoryNodes
from service.model.node_policy import NodePolicy
from service.model.origin import Origin
from service.model.ports import parse
from service.store import Store

KEY = "bench-key-0123456789abcdef"
PER_USER = 10
PER_NODE = 5_000
BATCH = 5_000

Document = dict[str, Any]


def fill(uri: str, database: str, count: int) -> tuple[list[str], list[str]]:
    """Make `database` and `<database>_peer` with as many instances; return ids of both kinds.

    Ten thousand instances at most, and their users: what a load asks for.
    """
    client: pymongo.MongoClient[Document] = pymongo.MongoClient(uri)
    made = client[database]
    if made["instances"].estimated_document_count() < count:
        client.drop_database(database)
        client.drop_database(f"{database}_peer")
        answer = _deploy_one(uri, database)
        _multiply(made, count)
        with closing(Store(uri, database)) as store:
            store.prepare()
        _copy_to_peer(made, client[f"{database}_peer"], answer)
    found = list(islice(made["instances"].aggregate([{"$sample": {"size": 10_000}}]), 10_000))
    client.close()
    return [each["_id"] for each in found], sorted({each["user_id"] for each in found})


def _deploy_one(uri: str, database: str) -> Document:
    """Have Skyquay make one of each, as it does; return how it answers the instance."""
    store, now = Store(uri, database), utc_now()
    store.prepare()
    user = users.create(store, username="u", email="u@example.org", password="p" * 12, now=now)
    image = images.put(
        store,
        {
            "name": "i", "image": "i:1", "alt_images": [], "env": [], "cmd": None, "scripts": {},
            "variables": {}, "stop_command": None, "description": "", "author": "",
            "author_name": "", "meta": {}, "features": [], "process": False,
        },
        now=now,
    )  # fmt: skip
    order: nodes.NodeOrder = {"name": "n", "driver": "memory"}
    node = nodes.create(store, MemoryNodes(), order, policy=NodePolicy(), now=now)
    instance, _ = instances.deploy(
        store,
        {
            "name": "one", "user_id": user["_id"], "node_id": node["_id"], "image": image["_id"],
            "image_name": None, "memory_mib": 64, "cpu_milli": 100, "disk_gb": None,
            "ports": parse("80:8000"), "primary": 8000, "variables": {},
        },
        origin=Origin(now),
    )  # fmt: skip
    store.close()
    config = Config(
        mongodb_uri=uri, database=database, api_key=KEY, secret_key="a secret key of the bench"
    )
    client = create_app(config).test_client()
    answered = client.post(
        "/api/getInstance", json={"id": instance["_id"]}, headers={"x-api-key": KEY}
    )
    return answered.get_json()


def _multiply(database: pymongo.database.Database[Document], count: int) -> None:
    user = database["users"].find_one({})
    node = database["nodes"].find_one({})
    instance = database["instances"].find_one({})
    assert user is not None
    assert node is not None
    assert instance is not None
    users = [user, *(_another_user(user, number) for number in range(1, -(-count // PER_USER)))]
    nodes = [node, *(_another_node(node, number) for number in range(1, -(-count // PER_NODE)))]
    for collection, documents in (("users", users), ("nodes", nodes)):
        for batch in _batches(documents[1:]):
            database[collection].insert_many(batch)
    made = (
        {
            **instance,
            "_id": f"i{secrets.token_hex(8)}x",  # five bytes are not enough for a million
            "container_id": secrets.token_hex(32),
            "user_id": users[number // PER_USER]["_id"],
            "node_id": nodes[number // PER_NODE]["_id"],
            "ports": [10_000 + number % PER_NODE],
            "state": "READY",
            "power": "running",
        }
        for number in range(count)
    )
    database["instances"].delete_many({})
    database["operations"].delete_many({})
    # Indexes are made faster afterwards, of all; and what is copied here is valid.
    database["instances"].drop_indexes()
    for batch in _batches(made):
        database["instances"].insert_many(batch, ordered=False, bypass_document_validation=True)


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    rest = iter(documents)
    while batch := list(islice(rest, BATCH)):
        yield batch


def _another_user(user: Document, number: int) -> Document:
    name = f"u{number}"
    return {
        **user,
        "_id": secrets.token_hex(12),
        "username": name,
        "username_key": name,
        "email": f"{name}@example.org",
        "email_key": f"{name}@example.org",
    }


def _another_node(node: Document, number: int) -> Document:
    report = {**node["report"], "engine_id": f"engine-{number}"}
    return {**node, "_id": secrets.token_hex(12), "name": f"n{number}", "report": report}


def _copy_to_peer(
    database: pymongo.database.Database[Document],
    peer: pymongo.database.Database[Document],
    answer: Document,
) -> None:
    """Store for each instance what Skyquay answers of it, as long to the byte."""

    def list_answers() -> Iterator[Document]:
        for instance in database["instances"].find({}, ["container_id", "user_id", "node_id"]):
            yield {
                **answer,
                "Id": instance["_id"],
                "VolumeId": instance["_id"],
                "ContainerId": instance["container_id"],
                "User": instance["user_id"],
                "Node": {**answer["Node"], "id": instance["node_id"]},
                "InternalState": "READY",
                "power": "running",
            }

    for batch in _batches(list_answers()):
        peer["instances"].insert_many(batch, ordered=False)
    peer["instances"].create_index("Id", unique=True)
    peer["instances"].create_index("User")
    peer["keys"].insert_one({"_id": hashlib.sha256(KEY.encode()).digest()})
