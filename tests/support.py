"""Factories and helpers for tests: documents with sensible contents, and a way to wait."""

import atexit
import json
import os
import random
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from pymongo.database import Database

from service import drains, images, keys, nodes, users
from service.api.context import EXTENSION
from service.app import create_app, utc_now
from service.config import Config
from service.drivers import DriverFactory
from service.model.documents import Image, Node, User
from service.model.node_policy import NodePolicy
from service.model.orders import Order
from service.model.origin import Origin
from service.model.ports import parse
from service.security.lockout import Lockout
from service.security.vault import Vault
from service.store import Store
from service.worker.carry_out import carry_out
from service.worker.job import claim
from tests.shared_routes import shared_routes

OPENAPI = Path(__file__).resolve().parent.parent / "openapi" / "openapi.json"
SPEC = json.loads(OPENAPI.read_text())
"""The OpenAPI document as it is checked in. A test shows that it is what the app makes."""

DEPLOY = "/api/instances/deploy"
ABSENT = "left out"
OBJECTS = ({"$gt": ""}, {"$ne": None}, {}, ["x"], [], True)
NO_TEXT = (ABSENT, None, "", *OBJECTS)
BAD_TEXT = (*NO_TEXT, 7, "a\0b", "x" * 600)
SECRET_KEY = "a secret key of the tests"
NOON = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
AT_NOON = Origin(NOON)
FAR = NOON.replace(year=2999)
SKYQUAY = Path(sys.executable).with_name("skyquay")
NODE = {
    "name": "helsinki-1", "tags": "eu", "ram": "32", "disk": "500", "processor": "Ryzen 7",
    "address": "127.0.0.1",
}  # fmt: skip
"""What a client says of a node of skyportd."""


def eventually(look: Callable[[], Any], *, timeout_s: float = 20.0) -> Any:
    """Look again and again until the answer is true; answer it as it is at the deadline."""
    deadline = time.monotonic() + timeout_s
    while not (seen := look()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return seen


def answer_of(url: str, method: str = "GET", **options: Any) -> Any:
    """Ask until something answers."""

    def ask() -> Any:
        try:
            return requests.request(method, url, timeout=20, **options)
        except requests.ConnectionError:
            return None

    return eventually(ask, timeout_s=60)


def list_collections(database: Database[Any]) -> list[str]:
    """List the collections but for the database's own, such as the buckets of a time series."""
    return [name for name in database.list_collection_names() if not name.startswith("system.")]


def empty(database: Database[Any], names: Iterable[str]) -> None:
    """Delete all documents of these collections."""
    # One look at all is faster than ten deletions that find nothing.
    looks = [
        {"$unionWith": {"coll": name, "pipeline": [{"$limit": 1}, {"$project": {"_id": name}}]}}
        for name in names
    ]
    for used in database["none"].aggregate(looks):
        database[used["_id"]].delete_many({})


def skip_changes(database: Database[Any]) -> None:
    """Have events be made of what changes from now on.

    A writer of events would otherwise go through all that earlier tests changed, test by test.
    """
    now = {"begun_at": "$$CLUSTER_TIME", "token": None, "lease": None}
    database["meta"].update_one({"_id": "events"}, [{"$set": now}])


def _reserve_ports() -> list[int]:
    """Find 499 ports that no other worker takes, of no other run either, until this one ends."""
    # Below those that the system hands out. Whoever holds the first of them has the others.
    firsts = range(10_000, 32_000, 500)
    for first in random.sample(firsts, len(firsts)):
        keeper = socket.socket()
        atexit.register(keeper.close)
        with suppress(OSError):
            keeper.bind(("127.0.0.1", first))
            return random.sample(range(first + 1, first + 500), 499)
    raise OSError("All ports are reserved.")


_PORTS = cycle(_reserve_ports())


def free_port() -> int:
    """Find a port that nobody has, and that nobody else in this run or another will get."""
    while True:
        port = next(_PORTS)
        with suppress(OSError), socket.create_server(("0.0.0.0", port)):
            return port


def need(program: str) -> str:
    """Find a program; without it the test is skipped, or fails where everything must be tested."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if path is None and os.environ.get("SKYQUAY_REQUIRE_DOCKER") == "1":
        pytest.fail(f"{program} is not installed")
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


def an_app(
    config: Config,
    store: Store,
    open_driver: DriverFactory | None = None,
    *,
    now: Callable[[], datetime] = utc_now,
    failures: int = 0,
    rejections: int = 0,
    has_own_routes: bool = False,
    **over: Any,
) -> Flask:
    """Make an app that waits for no node, and allows as many a minute of both; 0: any number.

    Only one that has its own routes may get more. `over` are other collaborators of its.
    """
    with nullcontext() if has_own_routes else shared_routes():
        app = create_app(config, store, open_driver, now)
    app.extensions[EXTENSION] = replace(
        app.extensions[EXTENSION],
        lockout=Lockout(store, limit=failures),
        rejections=Lockout(store, limit=rejections, message="Too many requests were rejected."),
        **{"wait_s": 0, **over},
    )
    return app


def a_user(store: Store, **over: Any) -> User:
    """Add a user."""
    name = over.pop("username", None) or f"user-{secrets.token_hex(4)}"
    fields = {"username": name, "email": f"{name}@example.org", "password": "secret", **over}
    return users.create(store, **fields, now=NOON)


def an_image(store: Store, **over: Any) -> Image:
    """Add an image of the catalogue."""
    name = over.pop("name", None) or f"image-{secrets.token_hex(4)}"
    reference = over.get("image", f"registry.example.org/{name}:1")
    fields: dict[str, Any] = {
        "name": name,
        "image": reference,
        "alt_images": [reference],
        "scripts": {"Install": []},
        "process": True,
    }
    now = over.pop("now", NOON)
    return images.put(store, {**fields, **over}, now=now)


def a_node(store: Store, open_driver: DriverFactory, **over: Any) -> Node:
    """Add a node that is Online when its driver answers."""
    vault = over.pop("vault", None)
    order = {"name": "node", "driver": "memory", **over}
    policy = NodePolicy(allow_process=True, allow_loopback=True)
    return nodes.create(store, open_driver, order, policy=policy, vault=vault, now=NOON)


def a_drain(store: Store, node_id: str) -> None:
    """Add a drain with something of all that it can know."""
    drains.start(store, node_id, at_once=None, origin=AT_NOON)
    moving = {"operation_id": "o", "node_id": "n", "since": NOON}
    stuck = {"code": "c", "reason": "r", "attempts": 1, "next_attempt_at": NOON}
    store.drains.change(
        node_id, {"moving": {"i1": moving}, "moved": {"i2": "n"}, "stuck": {"i3": stuck}}
    )


def a_key(store: Store) -> str:
    """Add an API key."""
    return keys.create(store, name="test", now=NOON)[1]


def an_order(user: User, node: Node, image: Image, **over: Any) -> Order:
    """Make an order for an instance."""
    order: dict[str, Any] = {
        "name": "an instance",
        "user_id": user["_id"],
        "node_id": node["_id"],
        "image": image["_id"],
        "image_name": None,
        "memory_mib": 128,
        "cpu_milli": 1000,
        "disk_gb": None,
        "ports": parse("80:8080"),
        "primary": "8080",
        "variables": {},
    }
    return Order(**{**order, **over})  # type: ignore[typeddict-item]


def a_deploy(user: User, node: Node, image: Image, **over: Any) -> dict[str, Any]:
    """Make the body of a deploy, as clients send it."""
    return {
        "name": "an instance",
        "user": user["_id"],
        "nodeId": node["_id"],
        "image": image["_id"],
        "memory": 128,
        "cpu": 1,
        "ports": "80:8080",
        "primary": "8080",
        **over,
    }


def run_due(store: Store, open_driver: DriverFactory, *, lease_s: float = 30.0) -> int:
    """Carry out all operations that are due, one after the other; return how many there were.

    They are claimed as a worker claims them.
    """
    done = 0
    while job := claim(
        store, store.claims.look(), node_operations=4, lease_s=lease_s, now=lambda: NOON
    ):
        carry_out(job, open_driver, Vault(SECRET_KEY).open)
        done += 1
    return done


@dataclass(frozen=True)
class Answer:
    """What an HTTP client sees."""

    status: int
    json: Any
    headers: Any


@dataclass(frozen=True)
class ApiClient:
    """A client of the API with a key."""

    flask: FlaskClient
    key: str | None

    def get(self, path: str, **options: Any) -> Answer:
        """Send GET."""
        return self.send("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> Answer:
        """Send POST with a JSON body."""
        return self.send("POST", path, json=body, **options)

    def delete(self, path: str, body: Any = None, **options: Any) -> Answer:
        """Send DELETE with a JSON body."""
        return self.send("DELETE", path, json=body, **options)

    def send(self, method: str, path: str, **options: Any) -> Answer:
        """Send anything, with the key if there is one."""
        headers = {**({"x-api-key": self.key} if self.key else {}), **options.pop("headers", {})}
        answer = self.flask.open(path, method=method, headers=headers, **options)
        return Answer(answer.status_code, answer.get_json(silent=True), answer.headers)


def a_body(place: tuple[User, Node, Image], **over: Any) -> dict[str, Any]:
    """Make the body of a deploy at this place; a field that is ABSENT is left out."""
    body = {**a_deploy(*place), **over}
    return {name: value for name, value in body.items() if value != ABSENT}


def get(api: ApiClient, instance_id: str) -> Any:
    """Get an instance that exists."""
    answer = api.post("/api/getInstance", {"id": instance_id})
    assert 200 == answer.status
    return answer.json


def told(answer: Answer) -> tuple[int, str, list[str]]:
    """Sum an error up: its status, its code and the fields that it names."""
    return answer.status, answer.json["code"], list(answer.json["details"])
