"""What outlives all rounds of the soak, a database and its nodes; and the processes that serve."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from pymongo import MongoClient

from service import images, nodes, users
from service.app import utc_now
from service.config import Config
from service.model.documents import Image, Node, User
from service.model.lifecycle import OPEN
from service.model.node_policy import NodePolicy
from service.serving import embedded_mongod
from service.store import Store
from tests.docker_images import SOCKET, ensure_image, require_engine
from tests.soak.machines import WRITES, make_machines
from tests.support import SECRET_KEY, SKYQUAY, eventually, free_port

KEY = "soak-key-0123456789abcdef"
IMAGE = "skyquay-soak/busybox:1"
NODES = {"docker": 1, "process": 3}
"""How many nodes there may be, by driver. One engine is one node, so nothing moves on Docker."""

PORTS = 12
MEMORY_MIB = 64
ROOM = 6
"""How many instances a node has memory for."""

READY_S = 180.0


@dataclass
class Served:
    """A process that serves the API, and one that works."""

    serve: "subprocess.Popen[bytes]"
    work: "subprocess.Popen[bytes]"
    url: str

    def is_ready(self) -> bool:
        """Ask it whether it can be used."""
        with suppress(requests.RequestException):
            return requests.get(f"{self.url}/readyz", timeout=2).status_code == 200
        return False

    def restart_worker(self, start: Callable[[], "subprocess.Popen[bytes]"]) -> None:
        """Kill the one that works, and start another."""
        self.work.kill()
        self.work.wait()
        self.work = start()

    def pause_worker(self) -> None:
        """Have the one that works stand still, so that others take over what it does."""
        self.work.send_signal(signal.SIGSTOP)

    def resume_worker(self) -> None:
        """Have it go on where it stood still, if it did."""
        self.work.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End both at once, as a crash does."""
        for process in (self.serve, self.work):
            process.send_signal(signal.SIGKILL)
        for process in (self.serve, self.work):
            process.wait()


class Arena:
    """One database and its nodes, which outlive all rounds, and the processes that serve them."""

    def __init__(self, config: Config, driver: str, stack: ExitStack, *, node_count: int) -> None:
        self.config = config
        self.driver = driver
        self._stack = stack
        self.mongo: MongoClient[dict[str, Any]] = stack.enter_context(
            closing(MongoClient(config.mongodb_uri, tz_aware=True))
        )
        self.documents = self.mongo[config.database]
        self.store = stack.enter_context(closing(Store(config.mongodb_uri, config.database)))
        self.store.prepare()
        self.ports = [free_port() for _ in range(PORTS)]
        self.open_driver = make_machines(config, self.store)
        self.user, self.image = self._make_user(), self._make_image()
        self.nodes = [self._make_node(f"soak-{n}") for n in range(node_count)]
        self._drivers = {
            node["_id"]: stack.enter_context(closing(self.open_driver(node))) for node in self.nodes
        }
        stack.callback(self._remove_everything)

    @property
    def moves(self) -> bool:
        """Whether there is another node that an instance can be moved to."""
        return len(self.nodes) > 1

    def _make_user(self) -> User:
        email = "soak@example.org"
        return users.create(
            self.store, username="soak", email=email, password="soak", now=utc_now()
        )

    def _make_image(self) -> Image:
        image = {"name": "sleeper", "image": IMAGE, "cmd": WRITES, "process": True}
        return images.put(self.store, image, now=utc_now())

    def _make_node(self, name: str) -> Node:
        order: nodes.NodeOrder = {
            "name": name,
            "driver": self.driver,
            "ram": f"{MEMORY_MIB * ROOM}M",
            "address": f"unix://{SOCKET}",
        }
        return nodes.create(
            self.store,
            self.open_driver,
            order,
            policy=NodePolicy(allow_process=True),
            trusted_address=True,
            now=utc_now(),
        )

    def serve(self) -> Served:
        """Start a process that serves and one that works, and wait until they are ready."""
        port = free_port()
        environ = {**self._make_environ(), "SKYQUAY_LISTEN": f"127.0.0.1:{port}"}
        words = [SKYQUAY, "serve", "--no-worker"]
        serve = subprocess.Popen(words, env=environ, stdout=subprocess.DEVNULL)
        served = Served(serve, self.work(), f"http://127.0.0.1:{port}")
        self._stack.callback(served.kill)
        if not eventually(served.is_ready, timeout_s=READY_S):
            raise RuntimeError("skyquay did not become ready")
        return served

    def work(self) -> "subprocess.Popen[bytes]":
        """Start a process that works."""
        words = [sys.executable, "-m", "tests.soak.machines", "3"]
        return subprocess.Popen(words, env=self._make_environ(), stdout=subprocess.DEVNULL)

    def list_containers(self) -> dict[str, dict[str, str]]:
        """Tell the power of what each node has of this soak's, by instance id."""
        known = {operation["instance_id"] for operation in self.documents.operations.find()}
        return {
            node_id: {
                name: status.power.value for name, status in driver.list().items() if name in known
            }
            for node_id, driver in self._drivers.items()
        }

    def read_memory(self, node_id: str, instance_id: str) -> int | None:
        """Read how much memory the container of an instance was made with."""
        spec = self._drivers[node_id].describe(instance_id)
        return spec and spec.memory_mib

    def list_open(self) -> list[dict[str, Any]]:
        """List the operations that have not ended."""
        return list(self.documents.operations.find({"status": {"$in": sorted(OPEN)}}))

    def _make_environ(self) -> dict[str, str]:
        return {
            **os.environ,
            "SKYQUAY_MONGODB_URI": self.config.mongodb_uri,
            "SKYQUAY_DATABASE": self.config.database,
            "SKYQUAY_DATA_DIR": str(self.config.data_dir),
            "SKYQUAY_API_KEY": KEY,
            "SKYQUAY_SECRET_KEY": SECRET_KEY,
            "SKYQUAY_ALLOW_PROCESS": "1",
            "SKYQUAY_PROBE_INTERVAL_S": "2",
            "SKYQUAY_LOG_LEVEL": "ERROR",
            "SKYQUAY_PROCESSES": "1",
        }

    def _remove_everything(self) -> None:
        for node_id, found in self.list_containers().items():
            for name in found:
                self._drivers[node_id].remove(name)


@contextmanager
def open_arena(driver: str, *, node_count: int | None = None) -> Iterator[Arena]:
    """Make an arena, and remove everything in it at the end. With one node nothing moves."""
    with ExitStack() as stack:
        if driver == "docker":
            with closing(require_engine()) as client:
                ensure_image(client, IMAGE)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="skyquay-soak-")))
        mongod = stack.enter_context(embedded_mongod.start(folder))
        config = Config(
            mongodb_uri=mongod.uri, database="soak", data_dir=folder, allow_process=True
        )
        yield Arena(config, driver, stack, node_count=node_count or NODES[driver])
