"""Looks whether programs that were started serve, as their images say: one of all workers does.

What is awaited is in the documents, and what was found is written only of the start that was looked
at (store/phases.py). So a worker that dies, or loses the duty, leaves nothing behind: the next one
finds what still starts. Each look is a thread of its own with an end of its own, and a node has few
of them at a time: whatever hangs holds up nothing but itself.
"""

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime

from service.drivers import DriverFactory, NodeDriver
from service.errors import NodeFailure, ServiceError
from service.model.documents import Instance, Node, ReadyKind
from service.model.lifecycle import NodeStatus
from service.patterns import compile_pattern
from service.store import Store
from service.store.changes import LOOK_AGAIN_S

log = logging.getLogger(__name__)

LEASE_S = 10.0
"""How long the worker that looks may be silent before another one does."""

LOOKS = 64
"""How many programs are looked at at the same time."""

NODE_LOOKS = 4
"""How many of them on one node; one on a node that left the last look without an answer."""

FIRST_PAUSE_S = 0.25
"""How long after the first look at a program the second one is. Each pause is longer, up to:"""

MAX_PAUSE_S = 1.0

NODE_PAUSE_S = 5.0
"""How long nothing is asked of a node that left a look without an answer."""


@dataclass(slots=True)
class _Start:
    """A start that is looked at."""

    instance: Instance
    pause_s: float = FIRST_PAUSE_S
    look_at: float = 0.0  # by time.monotonic
    is_looking: bool = False


class PhaseWatch:
    """What one worker knows of the programs that start."""

    def __init__(
        self,
        store: Store,
        open_driver: DriverFactory,
        token: str,
        *,
        lease_s: float = LEASE_S,
        read_again_s: float = LOOK_AGAIN_S,
        now: Callable[[], datetime],
    ) -> None:
        """Do nothing yet. `token` is the worker's own."""
        self._store = store
        self._open_driver = open_driver
        self._token = token
        self._lease_s = lease_s
        self._read_again_s = read_again_s
        self._now = now
        self._nodes: dict[str, Node] = {}
        """Those on which something starts, as far as they are Online."""
        self._starts: dict[str, _Start] = {}
        self._silent_until: dict[str, float] = {}
        """Nodes that left a look without an answer, and when they are asked again."""
        self._looking: Counter[str] = Counter()
        """How many looks there are on each node."""
        self._changed = threading.Condition()
        """Guards the four above and the next two, and signals them."""
        self._woken = False
        self._ended = False
        """Whether a look has ended."""

    def wake(self) -> None:
        """Have it read at once what starts."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def keep(self, stopping: threading.Event) -> bool:
        """Look at what starts until `stopping` is set or another worker does. Always False.

        Raises StoreUnavailable. `wake` is to be called when `stopping` is set.
        """
        duty, renew_at, read_at = self._store.phase_duty, 0.0, 0.0
        while not stopping.is_set():
            if time.monotonic() >= renew_at:
                if not duty.take(self._token, lease_s=self._lease_s):
                    return False
                renew_at = time.monotonic() + self._lease_s / 3
            with self._changed:
                reads = self._woken or time.monotonic() >= read_at
                self._woken = self._ended = False
            if reads:
                self.read()
                read_at = time.monotonic() + self._read_again_s
            next_at = min(self.look(), renew_at, read_at)
            with self._changed:
                self._changed.wait_for(
                    lambda: self._woken or self._ended or stopping.is_set(),
                    timeout=max(0.0, next_at - time.monotonic()),
                )
        duty.release(self._token)
        return False

    def read(self) -> None:
        """Read what starts; give up what has started for too long."""
        starting = self._store.phases.list_starting()
        if starting and self._store.phases.give_up():
            starting = self._store.phases.list_starting()
        wanted = {instance["node_id"] for instance in starting}
        nodes = self._store.nodes.list_by_ids(wanted) if wanted else []
        with self._changed:
            self._nodes = {n["_id"]: n for n in nodes if n["status"] == NodeStatus.ONLINE}
            known = self._starts
            self._starts = {each["_id"]: _Start(each) for each in starting}
            for name, start in self._starts.items():
                if name in known and known[name].instance == start.instance:
                    self._starts[name] = known[name]
            silent = self._silent_until.items()
            self._silent_until = {name: until for name, until in silent if name in wanted}

    def look(self) -> float:
        """Begin the looks that are due; return when the next one is, by `time.monotonic`."""
        now, next_at = time.monotonic(), math.inf
        with self._changed:
            for start in sorted(self._starts.values(), key=lambda each: each.look_at):
                node = self._nodes.get(start.instance["node_id"])
                if node is None or start.is_looking:
                    continue
                look_at = max(start.look_at, self._silent_until.get(node["_id"], 0.0))
                if look_at > now:
                    next_at = min(next_at, look_at)
                elif self._has_room(node["_id"]):
                    self._begin(node, start)
        return next_at

    def _has_room(self, node_id: str) -> bool:
        most = 1 if node_id in self._silent_until else NODE_LOOKS
        return self._looking.total() < LOOKS and self._looking[node_id] < most

    def _begin(self, node: Node, start: _Start) -> None:
        self._looking[node["_id"]] += 1
        start.is_looking = True
        # A daemon, so that a node that hangs does not keep the process from ending.
        threading.Thread(
            target=self._look_at, args=(node, start), name="phase", daemon=True
        ).start()

    def _look_at(self, node: Node, start: _Start) -> None:
        answered = ready = False
        try:
            with closing(self._open_driver(node)) as driver:
                ready = is_ready(driver, start.instance)
            answered = True
            if ready:
                self._store.phases.mark_ready(start.instance, now=self._now())
        except NodeFailure as failure:
            facts = {"instance_id": start.instance["_id"], "error": failure.reason}
            log.info("instance.phase_unknown", extra=facts)
        except ServiceError as exc:
            log.warning(str(exc), extra={"doing": "phase", "cause": str(exc.__cause__ or "")})
        except Exception:
            log.exception("worker.crashed")
        finally:
            self._end(node["_id"], start, answered=answered)

    def _end(self, node_id: str, start: _Start, *, answered: bool) -> None:
        now = time.monotonic()
        with self._changed:
            self._looking[node_id] -= 1
            self._looking += Counter()  # forgets the nodes on which there are none
            start.is_looking = False
            start.look_at = now + start.pause_s
            start.pause_s = min(MAX_PAUSE_S, start.pause_s * 1.5)
            if answered:
                self._silent_until.pop(node_id, None)
            else:
                self._silent_until[node_id] = now + NODE_PAUSE_S
            self._ended = True
            self._changed.notify_all()


def is_ready(driver: NodeDriver, instance: Instance) -> bool:
    """Look once whether the program of an instance serves, as its image says."""
    check = instance.get("ready")
    if check is None:
        return True
    match check["kind"]:
        case ReadyKind.PORT:
            return driver.reach.accepts(instance["primary_port"])
        case ReadyKind.HTTP:
            return driver.reach.answers(instance["primary_port"], check["value"])
        case ReadyKind.LOG:
            return check["value"] in driver.printed(instance["_id"])
        case ReadyKind.PATTERN:
            return bool(compile_pattern(check["value"]).search(driver.printed(instance["_id"])))
