"""What asks while processes are killed: clients, which remember what they were told."""

import random
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import requests

from tests.soak.arena import KEY, MEMORY_MIB, Arena, Served
from tests.support import DEPLOY, a_deploy

LONG, SHORT = "1h", "3s"
"""For how long an instance is kept that is deleted: longer than all rounds, or hardly."""

_LIKELY = {
    "deploy": 8,
    "suspend": 4,
    "unsuspend": 4,
    "delete": 1,
    "keep": 3,
    "restore": 5,
    "purge": 1,
    "transfer": 14,
    "drain": 1,
    "pause": 0.5,
    "resume": 1,
    "undo": 1,
    "cordon": 0.5,
    "uncordon": 2,
}
"""What clients do, and how often beside the rest."""

_OF_NODES = ("drain", "pause", "resume", "undo", "cordon", "uncordon")
_OF_KEPT = ("restore", "purge")


@dataclass
class Told:
    """What clients were told, over all rounds."""

    deployed: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    kept: dict[str, str] = field(default_factory=dict)
    """The instances that are deleted and can be restored, with how long."""
    suspended: dict[str, bool] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)
    """Instances of which a request had no answer: what it asked for may have happened."""
    outcomes: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def settle(self, there: dict[str, bool], kept: set[str]) -> None:
        """Take for certain what there is, and whether that is suspended, after a round."""
        for name in self.unsure & self.suspended.keys() & there.keys():
            self.suspended[name] = there[name]
        self.deleted |= self.unsure - there.keys() - kept
        self.unsure.clear()
        self.kept = {name: self.kept.get(name, LONG) for name in kept}
        self.deployed = set(there)


class Act(NamedTuple):
    """What a client does, to which instance or node if to any."""

    name: str
    target: str = ""
    kept: str = ""


class Client:
    """One of those that ask, whoever of the processes serves."""

    def __init__(
        self, arena: Arena, told: Told, lots: random.Random, serving: list[Served]
    ) -> None:
        """Ask nothing yet."""
        self._arena, self._told, self._lots, self._serving = arena, told, lots, serving
        self._acts = {
            name: often
            for name, often in _LIKELY.items()
            if arena.moves or name not in ("transfer", *_OF_NODES)
        }
        self._session = requests.Session()
        self._session.headers["x-api-key"] = KEY

    def ask_until(self, over: threading.Event) -> None:
        """Ask one thing after the other."""
        with self._session:
            while not over.is_set():
                self._ask()

    def _ask(self) -> None:
        act = self._choose()
        try:
            answer = self._send(act)
            status, body = answer.status_code, answer.json() if answer.content else {}
        except requests.RequestException:
            status, body = 0, {}
        with self._told.lock:
            code = f" {body['code']}" if status >= 400 and "code" in body else ""
            self._told.outcomes[f"{act.name} {status or 'no answer'}{code}"] += 1
            self._remember(act, status, body)

    def _choose(self) -> Act:
        """Choose what to do; nobody else does anything to that instance meanwhile.

        So the last thing that was told of it is known.
        """
        told, lots = self._told, self._lots
        [name] = lots.choices(list(self._acts), list(self._acts.values()))
        if name in _OF_NODES:
            return Act(name, lots.choice(self._arena.nodes)["_id"])
        with told.lock:
            mine = sorted(told.kept if name in _OF_KEPT else told.deployed - told.unsure)
            if name == "deploy" or not mine:
                return Act("deploy")
            target = lots.choice(mine)
            told.deployed.discard(target)
            kept = told.kept.pop(target, "") or lots.choice((LONG, LONG, SHORT))
            return Act(name, target, kept)

    def _send(self, act: Act) -> requests.Response:
        name, target, lots = act.name, act.target, self._lots
        one, drain = f"/api/instances/{target}", f"/api/nodes/{target}/drain"
        sent: tuple[str, str, Any]
        match name:
            case "deploy":
                sent = "POST", DEPLOY, self._draft_deploy()
            case "delete":
                sent = "DELETE", "/api/instance/delete", {"id": target}
            case "keep" | "purge":
                sent = "DELETE", f"{one}?keep={act.kept if name == 'keep' else 0}", None
            case "restore":
                # Else with the ports that it had, which others may have by now.
                sent = "POST", f"{one}/restore", {"ports": "80:auto"} if lots.random() < 0.5 else {}
            case "transfer":
                to = lots.choice([*(node["_id"] for node in self._arena.nodes), "auto"])
                sent = "POST", f"{one}/transfer", {"nodeId": to}
            case "drain":
                sent = "POST", drain, {"atOnce": lots.randint(1, 4)}
            case "undo":
                sent = "DELETE", f"{drain}?moveBack={lots.choice(('true', 'false'))}", None
            case "pause" | "resume":
                sent = "POST", f"{drain}/{name}", None
            case "cordon" | "uncordon":
                sent = "PATCH", f"/api/nodes/{target}", {"schedulable": name == "uncordon"}
            case _:
                sent = "POST", f"/api/instances/{name}/{target}", None
        method, path, body = sent
        url = self._lots.choice(self._serving).url
        return self._session.request(method, f"{url}{path}", json=body, timeout=30)

    def _draft_deploy(self) -> dict[str, Any]:
        arena, lots = self._arena, self._lots
        port = lots.choice(arena.ports)
        ports = {"ports": f"80:{port}", "primary": port}
        if lots.random() < 0.5:
            ports = {"ports": "80:auto", "primary": "80:auto"}
        node = lots.choice(arena.nodes)
        sizes = {"memory": MEMORY_MIB, "cpu": "0.1", "disk": 1}
        return a_deploy(arena.user, node, arena.image, **sizes, **ports)

    def _remember(self, act: Act, status: int, body: dict[str, Any]) -> None:
        told, name, target = self._told, act.name, act.target
        done = 200 <= status < 300
        lost = status == 0 or status >= 500
        if name in _OF_NODES:
            return
        if name == "deploy":
            if done:
                told.deployed.add(body["Id"])
        elif lost and name != "transfer":
            told.unsure.add(target)
            told.deployed.add(target)
        elif name == "delete" or (name == "purge" and done):
            told.deleted.add(target)
        elif name == "keep" and done:
            told.kept[target] = act.kept
        elif name in _OF_KEPT and not done:
            if status != 404 or act.kept == LONG:
                told.kept[target] = act.kept
        else:
            told.deployed.add(target)
            if done and name in ("suspend", "unsuspend"):
                told.suspended[target] = name == "suspend"
