"""Which nodes a worker follows: they are shared out among all workers, each node to one."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

from service.drivers import DriverFactory
from service.model.driver_traits import traits_of
from service.store import Store
from service.worker.job import backoff_s
from service.worker.watch import Watch

log = logging.getLogger(__name__)

LEASE_S = 15.0
"""How long a worker may be silent before others follow its nodes."""

MAX_NODES = 500
"""How many nodes one worker follows, each in a thread that waits. The rest are only probed."""

MAX_MOVED = 10
"""How many nodes a worker takes from another one at a time."""


class Watching:
    """The nodes that one worker follows."""

    def __init__(
        self,
        store: Store,
        open_driver: DriverFactory,
        token: str,
        *,
        lease_s: float = LEASE_S,
        now: Callable[[], datetime],
    ) -> None:
        """Do nothing yet. The nodes are held under `token`."""
        self._store = store
        self._open_driver = open_driver
        self._token = token
        self._lease_s = lease_s
        self._now = now
        self._watches: dict[str, Watch] = {}
        self._failed: dict[str, tuple[int, float]] = {}
        """How often in a row a node could not be followed, and until when it is left alone."""
        self._renewed_at = -lease_s

    def turn(self) -> bool:
        """Follow the nodes that are ours by now, and leave those that are not. Answers False."""
        if time.monotonic() - self._renewed_at > self._lease_s / 3:
            self._store.watches.renew(self._token, lease_s=self._lease_s)
            self._renewed_at = time.monotonic()
        wanted = {
            node_id: changed_at
            for node_id, driver, changed_at in self._store.watches.list_nodes()
            if traits_of(driver).tells_power
        }
        holders = self._store.watches.find_holders()
        self._leave(wanted, holders)
        for node_id in self._choose(wanted, holders):
            watch = Watch(
                self._store,
                self._open_driver,
                node_id,
                known_at=wanted[node_id],
                now=self._now,
            )
            self._watches[node_id] = watch
            watch.start()
        return False

    def stop(self) -> None:
        """Leave all nodes to others."""
        for watch in self._watches.values():
            watch.leave()
        self._store.watches.release(self._watches, self._token)

    def _leave(self, wanted: Mapping[str, datetime], holders: Mapping[str, str]) -> None:
        """Leave the nodes that are gone, changed or another's by now, and those that failed."""
        ended = []
        for node_id, watch in list(self._watches.items()):
            if not watch.is_alive:
                self._count_failure(watch)
            elif (wanted.get(node_id), holders.get(node_id)) == (watch.known_at, self._token):
                if watch.failure is None:
                    self._failed.pop(node_id, None)
                continue
            watch.leave()
            del self._watches[node_id]
            ended.append(node_id)
        if ended:
            self._store.watches.release(ended, self._token)

    def _count_failure(self, watch: Watch) -> None:
        attempts = self._failed.get(watch.node_id, (0, 0.0))[0] + 1
        self._failed[watch.node_id] = (attempts, time.monotonic() + backoff_s(attempts))
        if attempts == 1:
            facts = {"node_id": watch.node_id, "error": watch.failure}
            log.info("node.unfollowed", extra=facts)

    def _choose(self, wanted: Mapping[str, datetime], holders: Mapping[str, str]) -> Iterator[str]:
        """Take nodes that nobody follows or, where there are none, some of who follows the most."""
        store, now = self._store, time.monotonic()
        ready = [
            node_id
            for node_id in wanted
            if node_id not in self._watches and self._failed.get(node_id, (0, 0.0))[1] <= now
        ]
        ready = ready[: MAX_NODES - len(self._watches)]
        free = [node_id for node_id in ready if holders.get(node_id) in (None, self._token)]
        for node_id in free:
            if store.watches.take(node_id, self._token, lease_s=self._lease_s):
                yield node_id
        counts = Counter(holders[node_id] for node_id in wanted if node_id in holders)
        if free or not counts:
            return
        [(busiest, most)] = counts.most_common(1)
        surplus = min((most - len(self._watches)) // 2, MAX_MOVED)
        theirs = [node_id for node_id in ready if holders[node_id] == busiest]
        for node_id in theirs[: max(0, surplus)]:
            if store.watches.take_over(node_id, busiest, self._token, lease_s=self._lease_s):
                yield node_id
