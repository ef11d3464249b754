"""What a worker does beside operations and probes: it follows, samples, and tells what happens."""

import threading
from collections.abc import Callable
from datetime import datetime
from functools import partial

from service import transfer_targets, transfers
from service.drivers import DriverFactory
from service.store import Store
from service.worker.deliveries import Sender
from service.worker.deliveries import Settings as DeliverySettings
from service.worker.draining import PAUSE_S as DRAIN_PAUSE_S
from service.worker.draining import Draining
from service.worker.event_writer import write_events
from service.worker.fan_out import fan_out
from service.worker.loops import attempt, make_loop
from service.worker.phases import LEASE_S as PHASES_LEASE_S
from service.worker.phases import PhaseWatch
from service.worker.purges import PAUSE_S as PURGES_PAUSE_S
from service.worker.purges import purge_due
from service.worker.sampler import Sampler
from service.worker.suspensions import PAUSE_S as SUSPENSIONS_PAUSE_S
from service.worker.suspensions import align_users
from service.worker.watching import Watching

EVENTS_LEASE_S = 10.0
"""How long the worker that writes events may be silent before another does."""

WATCH_PAUSE_S = 1.0
"""How long a worker waits before it looks again which nodes it should follow."""

STOP_SENDING_S = 2.0
"""How long a worker that stops waits for receivers. What they get then is sent again later."""


class Attendance:
    """The threads that follow nodes and phases, drain, purge, take samples, and write events."""

    def __init__(
        self,
        store: Store,
        open_driver: DriverFactory,
        token: str,
        *,
        lease_s: float,
        read_again_s: float,
        deliveries: DeliverySettings | None,
        sampler: Sampler | None,
        now: Callable[[], datetime],
    ) -> None:
        """Start nothing. Without `deliveries` others send what webhooks are told of."""
        self._store = store
        self._sampler = sampler
        self._stopping = threading.Event()
        """Set when nothing new is begun; `_stopped` when there is nothing more to be told."""
        self._stopped = threading.Event()
        self._watching = Watching(store, open_driver, token, now=now)
        self._phases = PhaseWatch(
            store,
            open_driver,
            token,
            lease_s=min(lease_s, PHASES_LEASE_S),
            read_again_s=read_again_s,
            now=now,
        )
        self._draining = Draining(
            store, token, begin=transfers.begin, rank=transfer_targets.rank, now=now
        )
        self._followers = [
            self._make_follower("watching", self._watching.turn, WATCH_PAUSE_S),
            self._make_follower("draining", self._draining.turn, DRAIN_PAUSE_S),
            self._make_follower(
                "phases", partial(self._phases.keep, self._stopping), PHASES_LEASE_S / 3
            ),
            self._make_follower(
                "suspensions", partial(align_users, store, token, now=now), SUSPENSIONS_PAUSE_S
            ),
            self._make_follower("purges", partial(purge_due, store, now), PURGES_PAUSE_S),
        ]
        tell = partial(write_events, store, token, lease_s=EVENTS_LEASE_S, stopping=self._stopped)
        self._tellers = [self._make_teller("events", tell)]
        self._sender = None if deliveries is None else Sender(store, deliveries, now=now)
        if self._sender is not None:
            send = make_loop(
                "deliveries", self._sender.send_due, self._sender.wait, until=self._stopping
            )
            self._followers.append(send)
            spread = partial(
                fan_out,
                store,
                token,
                lease_s=EVENTS_LEASE_S,
                stopping=self._stopped,
                made=self._sender.wake,
                now=now,
            )
            self._tellers.append(self._make_teller("fan-out", spread))

    def start(self) -> None:
        """Begin, in threads of this process."""
        self._store.changes.subscribe_to_phases(self._phases.wake)
        for loop in (*self._followers, *self._tellers):
            loop.start()
        if self._sampler is not None:
            self._sampler.start()

    def stop_following(self, *, timeout_s: float) -> None:
        """Follow and send nothing more. What is under way has its time, and others go on."""
        self._stopping.set()
        self._phases.wake()
        if self._sender is not None:
            self._sender.stop(timeout_s=min(timeout_s, STOP_SENDING_S))
        self._store.changes.unsubscribe(self._phases.wake)
        for follower in self._followers:
            if follower.is_alive():
                follower.join()  # it is at most in the middle of one call of the database
        attempt(self._watching.stop)
        attempt(self._draining.release)

    def stop(self) -> None:
        """Write and send no more events."""
        if self._sampler is not None:
            self._sampler.stop()
        self._stopped.set()
        self._store.changes.wake_followers()
        for teller in self._tellers:
            if teller.is_alive():
                teller.join()

    def _make_follower(
        self, name: str, turn: Callable[[], bool], pause_s: float
    ) -> threading.Thread:
        return make_loop(name, turn, partial(self._stopping.wait, pause_s), until=self._stopping)

    def _make_teller(self, name: str, turn: Callable[[], bool]) -> threading.Thread:
        pause = partial(self._stopped.wait, EVENTS_LEASE_S / 3)
        return make_loop(name, turn, pause, until=self._stopped)
