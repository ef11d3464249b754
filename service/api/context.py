"""What views need of the running app: its store, drivers, settings and clock, and who calls."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event
from typing import cast

from flask import current_app, g

from service.api.wait_slots import Patience
from service.config import Config
from service.drivers import DriverFactory
from service.lockout import Brake
from service.operations import Origin
from service.store import Store
from service.vault import Vault

EXTENSION = "skyquay"

BRIEFLY_S = 1.0
"""How long a request waits for a database that did not answer the one before."""


@dataclass(frozen=True, slots=True)
class Context:
    """The collaborators of one app; `create_app` puts them there."""

    config: Config
    store: Store
    drivers: DriverFactory
    now: Callable[[], datetime]
    patience: Patience
    vault: Vault
    brake: Brake
    rejections: Brake
    """Counts 401 and 403 of a key and address."""
    delegations: Brake
    """Counts the keys that a limited key makes."""
    prepare: Callable[[], None]
    """Makes the database ready for use, unless that is done. Raises StoreFailure."""
    stopping: Event = field(default_factory=Event)
    """Set when the process is to end: whoever waits for a node then answers at once."""
    away: Event = field(default_factory=Event)
    """Set from when the database did not answer a request until it answers one."""


def current() -> Context:
    """Find the context of the app that answers the current request."""
    return cast("Context", current_app.extensions[EXTENSION])


def store() -> Store:
    """Find the store of the current app, or the part of it that the caller's key may see."""
    return g.get("store") or current().store


def now() -> datetime:
    """Tell the time by the current app's clock, in whole milliseconds, as the database keeps it."""
    told = current().now()
    return told.replace(microsecond=told.microsecond // 1000 * 1000)


def origin() -> Origin:
    """Tell when, by whom and in which request a change is asked for."""
    return Origin(now=now(), requested_by=g.key["_id"], request_id=g.request_id)


def look_for_database() -> None:
    """Raise StoreUnavailable soon while the database is away.

    When it goes away requests wait for it, as a failover takes seconds. But if all did so for as
    long as it is away, they would hold all threads, and nobody could tell that the process runs.
    """
    here = current()
    if here.away.is_set():
        with here.store.bounded(BRIEFLY_S):
            here.store.ping()
        here.away.clear()


def begin_bound(timeout_s: float | None = None) -> None:
    """Bound the time that the database may take for this request, until `end_bound`.

    To what one call may take, or to less.
    """
    whole = current().store
    g.bound = ExitStack()
    g.bound.enter_context(whole.bounded() if timeout_s is None else whole.bounded(timeout_s))


def end_bound(_: BaseException | None = None) -> None:
    """Let each call of the database take its own time again, such as for who waits for a node."""
    if "bound" in g:
        g.bound.close()
