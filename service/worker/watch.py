"""What a worker does about nodes that say what happens to their containers, while it follows them.

What a node says only hints at an instance: its container is looked at, and what is seen is written
down unless the instance was written since it was read. While an operation works on it that is put
off until afterwards: an operation writes down itself what it does, and what it saw may be older.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import datetime

from service.drivers import DriverFactory, NodeDriver
from service.drivers.power_feed import PowerFeed
from service.errors import NodeFailure, NodeUnreachable, NotFound, ServiceError
from service.model.container import ContainerStatus
from service.model.documents import Instance
from service.model.lifecycle import InstanceState, NodeStatus, Power
from service.store import Store
from service.worker.heard import Heard, Pending
from service.worker.observation import observe
from service.worker.reconcile import stop_suspended

log = logging.getLogger(__name__)

READ_S = 1.0
"""How long a feed is waited for at a time."""

BRIEF_S = 1.0
"""A feed that ends sooner than that counts as none."""

AT_ONCE = 20
"""How many instances are looked at before the feed is read again."""

_SETTLED = (InstanceState.READY, InstanceState.FAILED)


class Watch:
    """One node that is followed, in a thread of its own, until that is left or fails."""

    def __init__(
        self,
        store: Store,
        open_driver: DriverFactory,
        node_id: str,
        *,
        known_at: datetime,
        now: Callable[[], datetime],
    ) -> None:
        """Do nothing yet. `known_at` is when what is known of the node was changed."""
        self.node_id = node_id
        self.known_at = known_at
        self._store = store
        self._open_driver = open_driver
        self._now = now
        self._left = threading.Event()
        self._pending = Pending()
        self._cursor: str | None = None
        self._lived_s = 0.0
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self.failure: str | None = None
        """Why it ended by itself."""

    @property
    def is_alive(self) -> bool:
        """Whether it goes on."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to follow the node."""
        self._thread.start()

    def leave(self) -> None:
        """Have it end soon, without another look at an instance."""
        self._left.set()

    def _run(self) -> None:
        while not self._left.is_set():
            self._lived_s = 0.0
            try:
                self._follow()
            except ServiceError as exc:
                self.failure = exc.message
            except Exception:
                log.exception("node.watch_crashed", extra={"node_id": self.node_id})
                self.failure = "Unexpected error."
            if self._lived_s < BRIEF_S:
                return

    def _follow(self) -> None:
        """Follow the node until it is left. Raises ServiceError at the end of the feed."""
        node = self._store.nodes.get(self.node_id)
        with (
            closing(self._open_driver(node)) as driver,
            closing(driver.follow_power(self._cursor)) as feed,
        ):
            self.failure = None
            began = time.monotonic()
            if node["status"] != NodeStatus.ONLINE:
                self._probe_soon()
            # What happened before is in no feed.
            self._pending.add_all(self._list_settled())
            try:
                while not self._left.is_set():
                    self._turn(driver, feed)
            except NodeFailure:
                if not self._left.is_set():
                    self._probe_soon()
                raise
            finally:
                self._lived_s = time.monotonic() - began

    def _turn(self, driver: NodeDriver, feed: PowerFeed) -> None:
        for hint in feed.read(self._pending.wait_s(READ_S)):
            self._pending.add(hint)
        if self._left.is_set():
            return
        self._cursor = feed.cursor
        heard = self._pending.take(AT_ONCE)
        if heard:
            try:
                self._look_at(driver, heard)
            except ServiceError:
                self._pending.put_back(heard)
                raise

    def _look_at(self, driver: NodeDriver, heard: Mapping[str, Heard]) -> None:
        """Look at instances, and put back those of which nothing could be written yet."""
        since = self._store.server_time()
        touched = self._store.operations.list_touched(self.node_id, since)
        again = heard.keys() & touched
        for instance in self._store.instances.list_by_ids(heard.keys() - touched):
            if instance["node_id"] != self.node_id or instance["state"] not in _SETTLED:
                continue
            try:
                is_done = self._look(driver, instance, heard[instance["_id"]])
            except NodeUnreachable:
                raise
            except NodeFailure as failure:
                facts = {"instance_id": instance["_id"], "error": failure.reason}
                log.warning("instance.unobserved", extra=facts)
            else:
                if not is_done:
                    again.add(instance["_id"])
        self._pending.put_back({name: heard[name] for name in again})

    def _look(self, driver: NodeDriver, instance: Instance, heard: Heard) -> bool:
        """Write down how an instance's container is. False when the instance was written since."""
        status = driver.status(instance["_id"])
        if status is None:
            if instance["power"] != Power.STOPPED:
                self._probe_soon()  # which tells whether that is wanted
            return True
        if instance["suspended"] and status.power == Power.RUNNING:
            stop_suspended(self._store, instance, now=self._now())
        ended = heard.describe_end(status)
        if not ended and _is_known(instance, status):
            return True
        seen = {**observe(driver, instance, status), **ended}
        if all(instance.get(name) == value for name, value in seen.items()):
            return True
        self._pending.count_write(instance["_id"])
        unchanged = {"revision": instance.get("revision"), "state": instance["state"]}
        return self._store.instances.update(instance["_id"], seen, only_if=unchanged)

    def _list_settled(self) -> list[str]:
        observed = self._store.instances.list_observed(self.node_id)
        return [each["_id"] for each in observed if each["state"] in _SETTLED]

    def _probe_soon(self) -> None:
        try:
            self._store.nodes.update(self.node_id, {"probed_at": None})
        except NotFound:
            self.leave()


def _is_known(instance: Instance, status: ContainerStatus) -> bool:
    """Return whether all that the node says is written down already."""
    names = ["power", "container_id", "restarts", "started_at"]
    if status.power != Power.RUNNING:
        names += ["exit_code", "oom_killed"]
    return all(instance.get(name) == getattr(status, name) for name in names)
