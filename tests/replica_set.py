"""A replica set of three real mongods on loopback, whose members can be killed."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from service.serving.embedded_mongod.program import find_mongod
from service.serving.embedded_mongod.replica_set import LOOPBACK
from tests.support import eventually, free_port

NAME = "failover"
ELECTION_TIMEOUT_MS = 2000
MEMBERS = 3


class ReplicaSet:
    """Three members, each a process of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._program = find_mongod()
        self.ports = [free_port() for _ in range(MEMBERS)]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def uri(self) -> str:
        """The address for a client."""
        hosts = ",".join(f"{LOOPBACK}:{port}" for port in self.ports)
        return f"mongodb://{hosts}/?replicaSet={NAME}"

    def start(self) -> None:
        """Start all members, and wait until one is primary."""
        for port in self.ports:
            self.launch(port)
        members = [
            {"_id": number, "host": f"{LOOPBACK}:{port}"} for number, port in enumerate(self.ports)
        ]
        settings = {"electionTimeoutMillis": ELECTION_TIMEOUT_MS}
        config = {"_id": NAME, "members": members, "settings": settings}
        assert eventually(lambda: self._command(self.ports[0], "ping"))
        self._command(self.ports[0], "replSetInitiate", config)
        assert eventually(self.find_primary, timeout_s=60)
        assert eventually(lambda: self._count_secondaries() == MEMBERS - 1)

    def launch(self, port: int) -> None:
        """Start one member, on the files that it had."""
        dbpath = self._folder / str(port)
        dbpath.mkdir(exist_ok=True)
        self._processes[port] = subprocess.Popen(
            [
                self._program, "--replSet", NAME, "--bind_ip", LOOPBACK, "--port", str(port),
                "--dbpath", dbpath, "--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "64",
                "--logpath", dbpath / "log", "--nounixsocket",
                "--setParameter", "transactionLifetimeLimitSeconds=10",
                "--setParameter", "diagnosticDataCollectionEnabled=false",
            ],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def kill(self, port: int) -> None:
        """End one member at once, as a crash does."""
        process = self._processes.pop(port)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def kill_primary(self) -> int:
        """Kill whoever is primary, and tell its port."""
        port = self.find_primary()
        assert port, "there is a primary"
        self.kill(port)
        return port

    def find_primary(self) -> int | None:
        """Find the port of the member that takes writes."""
        for port in list(self._processes):
            if (self._command(port, "hello") or {}).get("isWritablePrimary"):
                return port
        return None

    def stop(self) -> None:
        """Kill all members that are left."""
        for port in list(self._processes):
            self.kill(port)

    def _count_secondaries(self) -> int:
        return sum(bool((self._command(p, "hello") or {}).get("secondary")) for p in self.ports)

    def _command(self, port: int, *command: Any) -> dict[str, Any] | None:
        with (
            suppress(PyMongoError),
            MongoClient[dict[str, Any]](
                LOOPBACK, port, directConnection=True, serverSelectionTimeoutMS=500
            ) as client,
        ):
            return dict(client.admin.command(*command))
        return None


@contextmanager
def run_replica_set(folder: Path) -> Iterator[ReplicaSet]:
    """Run a replica set; its members are gone afterwards."""
    with ExitStack() as stack:
        members = ReplicaSet(folder)
        stack.callback(members.stop)
        members.start()
        yield members
