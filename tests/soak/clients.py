"""What asks while processes are killed: clients, which remember what they were told."""

import random
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import requests

from service.model.documents import Node
from tests.soak.arena import KEY, MEMORY_MIB, Arena, Served
from tests.support import DEPLOY, a_deploy

SIZES_MIB = (MEMORY_MIB // 2, MEMORY_MIB)
LONG, SHORT = "1h", "3s"
"""For how long an instance is kept that is deleted: longer than all rounds, or hardly."""

_ONE = "/api/instances/{id}"
_NODE = "/api/nodes/{id}"
_REQUESTS: dict[str, tuple[float, str, str]] = {
    "deploy": (5, "POST", DEPLOY),
    "suspend": (3, "POST", "/api/instances/suspend/{id}"),
    "unsuspend": (4, "POST", "/api/instances/unsuspend/{id}"),
    "start": (2, "POST", f"{_ONE}/start"),
    "stop": (2, "POST", f"{_ONE}/stop"),
    "resize": (1, "PATCH", _ONE),
    "delete": (0.5, "DELETE", "/api/instance/delete"),
    "forget": (0.3, "DELETE", f"{_ONE}?force=true"),
    "keep": (3, "DELETE", f"{_ONE}?keep={{keep}}"),
    "restore": (5, "POST", f"{_ONE}/restore"),
    "purge": (1, "DELETE", f"{_ONE}?keep=0"),
    "transfer": (14, "POST", f"{_ONE}/transfer"),
    "drain": (1.5, "POST", f"{_NODE}/drain"),
    "pause": (0.5, "POST", f"{_NODE}/drain/pause"),
    "resume": (1, "POST", f"{_NODE}/drain/resume"),
    "undo": (1, "DELETE", f"{_NODE}/drain"),
    "return": (1, "DELETE", f"{_NODE}/drain?moveBack=true"),
    "cordon": (0.3, "PATCH", _NODE),
    "uncordon": (2, "PATCH", _NODE),
}
"""What clients do: how often beside the rest, and the request."""

ENOUGH = 8
"""How many instances there are before one is deleted for each that would be deployed."""

_OF_NODES = [name for name, (_, _, path) in _REQUESTS.items() if path.startswith(_NODE)]
_OF_KEPT = ("restore", "purge")
_RUNS = {"start": True, "unsuspend": True, "stop": False}
"""What leaves a program running, or not, unless it is suspended."""


@dataclass
class Told:
    """What clients were told, over all rounds."""

    deployed: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    kept: dict[str, str] = field(default_factory=dict)
    """The instances that are deleted and can be restored, with how long."""
    suspended: dict[str, bool] = field(default_factory=dict)
    runs: dict[str, bool] = field(default_factory=dict)
    """Whether a program is to run, unless it is suspended, as far as that is known."""
    unsure: set[str] = field(default_factory=set)
    """Instances of which a request had no answer: what it asked for may have happened."""
    outcomes: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def settle(self, there: dict[str, bool], kept: set[str]) -> None:
        """Take for certain what there is, and whether that is suspended, after a round."""
        for name in self.unsure & self.suspended.keys() & there.keys():
            self.suspended[name] = there[name]
            self.runs.pop(name, None)
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
            for name, (often, _, _) in _REQUESTS.items()
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
            if name in _OF_KEPT and not told.kept:
                name = "deploy"
            if name == "deploy" and len(told.deployed) + len(told.kept) >= ENOUGH:
                name = "delete"
            mine = sorted(told.kept if name in _OF_KEPT else told.deployed - told.unsure)
            if name == "deploy" or not mine:
                return Act("deploy")
            target = lots.choice(mine)
            told.deployed.discard(target)
            kept = told.kept.pop(target, "") or lots.choice((LONG, LONG, SHORT))
            return Act(name, target, kept)

    def _send(self, act: Act) -> requests.Response:
        _, method, path = _REQUESTS[act.name]
        url = self._lots.choice(self._serving).url + path.format(id=act.target, keep=act.kept)
        return self._session.request(method, url, json=self._draft_body(act), timeout=30)

    def _draft_body(self, act: Act) -> dict[str, Any] | None:
        lots = self._lots
        node_id = lots.choice(self._arena.nodes)["_id"]
        return {
            "deploy": self._draft_deploy(node_id),
            "delete": {"id": act.target},
            "resize": {"memory": lots.choice(SIZES_MIB), "cpu": lots.choice((0.1, 0.2))},
            # Else with the ports that it had, which others may have by now.
            "restore": {"ports": "80:auto"} if lots.random() < 0.5 else None,
            "transfer": {"nodeId": lots.choice(("auto", node_id))},
            "drain": {"atOnce": lots.randint(1, 4)},
            "cordon": {"schedulable": False},
            "uncordon": {"schedulable": True},
        }.get(act.name)

    def _draft_deploy(self, node_id: str) -> dict[str, Any]:
        arena, lots = self._arena, self._lots
        port = lots.choice(arena.ports)
        ports = {"ports": f"80:{port}", "primary": port}
        if lots.random() < 0.5:
            ports = {"ports": "80:auto", "primary": "80:auto"}
        sizes = {"memory": lots.choice(SIZES_MIB), "cpu": "0.1", "disk": 1}
        place = arena.user, cast("Node", {"_id": node_id}), arena.image
        return a_deploy(*place, **sizes, **ports)

    def _remember(self, act: Act, status: int, body: dict[str, Any]) -> None:
        told, name, target = self._told, act.name, act.target
        done = 200 <= status < 300
        lost = status == 0 or status >= 500
        if name in _OF_NODES:
            return
        if name == "deploy":
            if done:
                told.deployed.add(body["Id"])
                told.runs[body["Id"]] = True
        elif lost and name != "transfer":
            told.unsure.add(target)
            told.deployed.add(target)
        elif name == "delete" or (name in ("forget", "purge") and done):
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
            if done and name in _RUNS:
                told.runs[target] = _RUNS[name]
