"""What instances use, measured again and again while somebody watches.

However many watch an instance, one thread of a process measures it, and ends when nobody watches
any more. A watcher gets the newest measurement: one that takes slowly misses those in between.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

from service.drivers import ContainerUsage, DriverFactory, NodeDriver
from service.errors import Busy, NotFound, ServiceError
from service.instances import check_online
from service.model.documents import Instance, Usage
from service.model.lifecycle import InstanceState
from service.model.usage import make_usage
from service.store import Store

log = logging.getLogger(__name__)

INTERVAL_S = 2.0
"""How often an instance is measured that somebody watches."""

FAILED_S = 10.0
"""How often it is tried on a node that fails."""

MOST = 64
"""How many instances a process measures at a time."""

WHOLE_EVERY = 300
"""After how many measurements the volume, and the time of the start, are looked at again."""


class Measured(NamedTuple):
    """What an instance uses now; None: it does not run. With `error` nothing is known."""

    instance: Instance
    usage: ContainerUsage | None
    at: datetime
    error: ServiceError | None = None


class Watch:
    """What one watcher has not taken yet."""

    def __init__(self, leave: Callable[["Watch"], None]) -> None:
        self._leave = leave
        self._newest: Measured | None = None
        self._lock = threading.Lock()
        self._wake: Callable[[], None] = lambda: None
        self.is_over = False
        """Whether nothing more comes: the instance is gone."""

    def put(self, measured: Measured | None) -> None:
        """Have this next; None: nothing more comes."""
        with self._lock:
            self.is_over = measured is None
            self._newest = measured or self._newest
        self._wake()

    def take(self) -> Measured | None:
        """Take the newest measurement; None while there is no other. Never waits."""
        with self._lock:
            newest, self._newest = self._newest, None
            return newest

    def on_more(self, wake: Callable[[], None]) -> None:
        """Have `wake` called, in another thread, whenever there is something to take."""
        self._wake = wake

    def close(self) -> None:
        """Watch no more."""
        self._leave(self)


@dataclass(slots=True, eq=False)
class _Meter:
    """An instance that is measured."""

    instance_id: str
    watches: list[Watch] = field(default_factory=list)
    last: Measured | None = None
    is_left: threading.Event = field(default_factory=threading.Event)


@dataclass(slots=True)
class _Known:
    """What is known of a run of a program: all of it once, and then what changes quickly."""

    instance: Instance
    whole: ContainerUsage | None = None
    before: Usage | None = None
    count: int = 0


class Meters:
    """The instances that a process measures."""

    def __init__(
        self,
        store: Store,
        open_driver: DriverFactory,
        *,
        now: Callable[[], datetime],
        stopping: threading.Event,
        interval_s: float = INTERVAL_S,
    ) -> None:
        """Start nothing. `stopping` ends all."""
        self._store = store
        self._open_driver = open_driver
        self._now = now
        self._stopping = stopping
        self._interval_s = interval_s
        self._meters: dict[str, _Meter] = {}
        self._lock = threading.Lock()
        """Guards the meters, and the watches of each."""

    def __len__(self) -> int:
        """Return how many instances are measured."""
        return len(self._meters)

    def watch(self, instance: Instance) -> Watch:
        """Watch an instance, which the watcher may see. Raises Busy."""
        instance_id = instance["_id"]
        with self._lock:
            meter = self._meters.get(instance_id)
            if meter is None:
                if len(self._meters) >= MOST:
                    raise Busy("As many instances as may be are measured already.")
                meter = self._meters[instance_id] = _Meter(instance_id)
                threading.Thread(
                    target=self._run, args=(meter, _Known(instance)), name="meter", daemon=True
                ).start()
            watch = Watch(lambda leaving: self._leave(meter, leaving))
            meter.watches.append(watch)
            last = meter.last
        if last is not None:
            watch.put(last)
        return watch

    def _leave(self, meter: _Meter, watch: Watch) -> None:
        with self._lock:
            if watch in meter.watches:
                meter.watches.remove(watch)
            if not meter.watches:
                self._forget(meter)

    def _forget(self, meter: _Meter) -> None:
        meter.is_left.set()
        if self._meters.get(meter.instance_id) is meter:
            del self._meters[meter.instance_id]

    def _run(self, meter: _Meter, known: _Known) -> None:
        try:
            while not meter.is_left.is_set() and not self._stopping.is_set():
                measured = self._measure(known)
                self._tell(meter, measured)
                if measured is None:
                    return
                meter.is_left.wait(FAILED_S if measured.error else self._interval_s)
        except Exception:
            log.exception("meter.crashed", extra={"instance_id": meter.instance_id})
            self._tell(meter, None)

    def _tell(self, meter: _Meter, measured: Measured | None) -> None:
        with self._lock:
            meter.last = measured
            watches = list(meter.watches)
            if measured is None:
                self._forget(meter)
        for watch in watches:
            watch.put(measured)

    def _measure(self, known: _Known) -> Measured | None:
        """Measure an instance; None when it is gone, or goes."""
        try:
            known.instance = self._store.instances.get(known.instance["_id"])
            if known.instance["state"] == InstanceState.DELETING:
                return None
            node = self._store.nodes.get(known.instance["node_id"])
            check_online(node)
            with closing(self._open_driver(node)) as driver:
                self._look(driver, known)
        except NotFound:
            return None
        except ServiceError as exc:
            known.whole = None
            return Measured(known.instance, None, self._now(), exc)
        return Measured(known.instance, known.whole, self._now())

    def _look(self, driver: NodeDriver, known: _Known) -> None:
        instance_id = known.instance["_id"]
        if known.whole is not None and known.count < WHOLE_EVERY:
            known.count += 1
            sample = driver.sample([instance_id]).get(instance_id)
            if sample is None:
                known.whole = None
                return
            if known.before is None or sample.cpu_ms >= known.before["cpu_ms"]:
                known.before = make_usage(sample, known.before, at=self._now())
                known.whole = _bring_up_to_date(known.whole, known.before)
                return
        # A program that was started anew has another time of its start.
        known.whole, known.before, known.count = driver.usage(instance_id), None, 0


def _bring_up_to_date(whole: ContainerUsage, usage: Usage) -> ContainerUsage:
    return replace(
        whole,
        cpu_milli=usage.get("cpu_milli", whole.cpu_milli),
        memory_bytes=usage["memory_bytes"],
        received_bytes=usage.get("received_bytes"),
        sent_bytes=usage.get("sent_bytes"),
    )
