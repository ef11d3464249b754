"""What must be true once all is calm, whatever was killed: each violation is a line of text."""

import itertools
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from service.admin import doctor
from service.admin.doctor.findings import Level
from service.app import utc_now
from service.drivers.volume_archive import VolumeDigest
from service.model.drains import DrainStatus, WaitingFor, list_to_return
from service.model.lifecycle import OperationStatus
from service.model.quantities import disk_mib
from service.security.vault import Vault
from service.worker.job import UNEXPECTED
from tests.soak.arena import Arena
from tests.soak.clients import LONG, SHORT, Told
from tests.soak.machines import sum_up
from tests.support import SECRET_KEY

Documents = dict[str, dict[str, Any]]

_WAITS = (WaitingFor.NODE, WaitingFor.KEPT)
_SOON = timedelta(minutes=1)


class Invariants:
    """What is compared after each round; it remembers the files of each instance."""

    def __init__(self, arena: Arena, told: Told) -> None:
        """Compare nothing yet."""
        self._arena = arena
        self._told = told
        self._files: dict[str, VolumeDigest] = {}
        self._judged: set[str] = set()

    def list_unsettled(self) -> list[str]:
        """List what is still to be done: operations, drains, purges that are due or soon are."""
        documents = self._arena.documents
        soon = {"purge_at": {"$lt": utc_now() + _SOON}}
        return [
            *(f"open: {operation}" for operation in self._arena.list_open()),
            *(f"drains: {each}" for each in documents.drains.find() if not _is_settled(each)),
            *(f"kept: {each}" for each in documents.deleted_instances.find(soon)),
        ]

    def find_violations(self) -> list[str]:
        """Compare what was told, the documents and the containers; list what does not agree.

        All must be calm. Afterwards what was unsure is known.
        """
        there, kept = self._read("instances"), self._read("deleted_instances")
        containers = self._arena.list_containers()
        wrong = [*self._compare_told(there, kept)]
        for name, document in there.items():
            wrong += [f"{name}: {text}" for text in self._judge(document, containers)]
        for name, document in kept.items():
            power = containers[document["node_id"]].get(name)
            if document["state"] != "DELETED" or power == "running":
                wrong.append(f"{name}: is kept, {document['state']}, and {power}")
        homes = {name: each["node_id"] for name, each in {**there, **kept}.items()}
        for node_id, found in containers.items():
            wrong += [f"{name} is on {node_id} too" for name in found if homes.get(name) != node_id]
        for node in self._arena.documents.nodes.find():
            wrong += self._add_up(node, [*there.values(), *kept.values()])
        if self._arena.driver == "process":
            wrong += self._compare_files(homes)
        wrong += self._judge_operations()
        wrong += self._ask_doctor()
        self._told.settle({name: each["suspended"] for name, each in there.items()}, set(kept))
        return wrong

    def _read(self, collection: str) -> Documents:
        return {each["_id"]: each for each in self._arena.documents[collection].find()}

    def _compare_told(self, there: Documents, kept: Documents) -> Iterator[str]:
        told = self._told
        known = there.keys() | kept.keys()
        yield from (f"deleted, but there: {name}" for name in told.deleted & known)
        yield from (
            f"deployed, but gone: {name}" for name in told.deployed - told.unsure - there.keys()
        )
        for name, time in told.kept.items():
            if name in there or (time == LONG and name not in kept):
                yield f"kept for {time}, but {'there' if name in there else 'gone'}: {name}"
            if time == SHORT and name in kept:
                yield f"kept after its time: {name}"

    def _judge(
        self, document: dict[str, Any], containers: dict[str, dict[str, str]]
    ) -> Iterator[str]:
        name, state, memory_mib = document["_id"], document["state"], document["memory_mib"]
        found = containers[document["node_id"]].get(name)
        if state not in ("READY", "FAILED"):
            yield f"is {state}"
        if document.get("arrival"):
            yield f"holds {document['arrival']}"
        if state == "READY":
            runs = found == "running"  # unless it is known better
            if name not in self._told.unsure:
                runs = self._told.runs.get(name, runs)
            wanted = "running" if runs and not document["suspended"] else "stopped"
            if found != wanted:
                yield f"should be {wanted}, and is {found}"
            if found and self._arena.read_memory(document["node_id"], name) != memory_mib:
                yield f"should have {memory_mib} MiB"
            if document["power"] != wanted:
                yield f"should be {wanted}, and says {document['power']}"
        wish = self._told.suspended.get(name)
        if wish is not None and name not in self._told.unsure and wish != document["suspended"]:
            yield f"was told suspended={wish}"

    def _add_up(self, node: dict[str, Any], documents: list[dict[str, Any]]) -> Iterator[str]:
        here = [each for each in documents if each["node_id"] == node["_id"]]
        ports = [port for each in here for port in each["ports"]]
        yield from (f"port {port} given twice" for port, n in Counter(ports).items() if n > 1)
        sums = {
            "memory_mib": sum(each["memory_mib"] for each in here),
            "cpu_milli": sum(each["cpu_milli"] for each in here),
            "disk_mib": sum(disk_mib(each["disk_gb"]) for each in here),
            "instances": len(here),
        }
        if node["allocated"] != sums:
            yield f"{node['name']} promised {node['allocated']}, and there is {sums}"
        if sums["memory_mib"] > node["capacity"]["memory_mib"]:
            yield f"{node['name']} has {node['capacity']}, and there is {sums}"

    def _compare_files(self, homes: dict[str, str]) -> Iterator[str]:
        for name, node_id in homes.items():
            found, before = sum_up(self._arena.config, node_id, name), self._files.get(name)
            if before is not None and found != before:
                yield f"{name} had {before}, and has {found}"
            if found is not None:
                self._files[name] = found

    def _judge_operations(self) -> Iterator[str]:
        """Judge those that were not judged after an earlier round."""
        new = {"_id": {"$nin": sorted(self._judged)}}
        for operation in self._arena.documents.operations.find(new):
            self._judged.add(operation["_id"])
            name = f"{operation['kind']} {operation['_id']}"
            if _overlap(operation["steps"]):
                yield f"{name} was done by two at once"
            # All nodes answer, and all programs start.
            if operation["status"] == OperationStatus.FAILED or UNEXPECTED in str(operation):
                yield f"{name} failed: {operation['error']}"

    def _ask_doctor(self) -> Iterator[str]:
        arena = self._arena
        for finding in doctor.examine(
            arena.store,
            arena.open_driver,
            Vault(SECRET_KEY),
            data_dir=arena.config.data_dir,
            probe_interval_s=2,
            now=utc_now,
        ):
            if finding.level != Level.OK and "disk" not in finding.subject:
                yield f"doctor: {finding}"


def _is_settled(drain: dict[str, Any]) -> bool:
    """Return whether a drain has ended, is paused, or says why it does not end."""
    if drain["moving"]:
        return False
    match drain["status"]:
        case DrainStatus.BLOCKED:
            return bool(drain["stuck"]) and all(each["reason"] for each in drain["stuck"].values())
        case DrainStatus.RUNNING:
            return drain["waiting_for"] in _WAITS
        case DrainStatus.UNDOING:
            return drain["stuck"].keys() >= set(list_to_return(drain))  # type: ignore[arg-type]
        case _:
            return True


def _overlap(steps: list[dict[str, Any]]) -> bool:
    ended = [step for step in steps if step["ended_at"]]
    return any(
        after["started_at"] < before["ended_at"] for before, after in itertools.pairwise(ended)
    )
