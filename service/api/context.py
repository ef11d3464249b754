"""What views need of the running app: its store, drivers, settings and clock, and who calls."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event
from typing import cast

from flask import current_app, g

from service.api.wait_slots import WaitSlots
from service.config import Config
from service.drivers import DriverFactory
from service.operations import Origin
from service.security.lockout import Lockout
from service.security.vault import Vault
from service.store import CALL_TIMEOUT_S, Store

EXTENSION = "skyquay"

REST_S = 3.0
"""How long the database may take, at least, for what is left of a request that has waited."""

BRIEFLY_S = 1.0
"""How long a request waits for a database that did not answer the one before."""


@dataclass(frozen=True, slots=True)
class Context:
    """The collaborators of one app; `create_app` puts them there."""

    config: Config
    store: Store
    open_driver: DriverFactory
    now: Callable[[], datetime]
    wait_slots: WaitSlots
    vault: Vault
    lockout: Lockout
    rejections: Lockout
    """Counts 401 and 403 of a key and address."""
    delegations: Lockout
    """Counts the keys that a limited key makes."""
    prepare: Callable[[], None]
    """Makes the database ready for use, unless that is done. Raises StoreFailure."""
    stopping: Event = field(default_factory=Event)
    """Set when the process is to end: whoever waits for a node then answers at once."""
    away: Event = field(default_factory=Event)
    """Set from when the database did not answer a request until it answers one."""


def app_context() -> Context:
    """Find the context of the app that answers the current request."""
    return cast("Context", current_app.extensions[EXTENSION])


def store() -> Store:
    """Find the store of the current app, or the part of it that the caller's key may see."""
    return g.get("store") or app_context().store


def now() -> datetime:
    """Return the time by the app's clock, in whole milliseconds, as the database keeps it."""
    current = app_context().now()
    return current.replace(microsecond=current.microsecond // 1000 * 1000)


def origin() -> Origin:
    """Return when, by whom and in which request a change is asked for."""
    return Origin(now=now(), requested_by=g.key["_id"], request_id=g.request_id)


def require_database() -> None:
    """Raise StoreUnavailable soon while the database is away.

    When it goes away requests wait for it, as a failover takes seconds. But if all did so for as
    long as it is away, they would hold all threads, and nobody could see that the process runs.
    """
    ctx = app_context()
    if ctx.away.is_set():
        with ctx.store.bounded(BRIEFLY_S):
            ctx.store.ping()
        ctx.away.clear()


def begin_bound(timeout_s: float | None = None) -> None:
    """Bound the time that the database may take for this request, until `end_bound`.

    To what one call may take, or to less.
    """
    whole = app_context().store
    g.bound = ExitStack()
    g.bound.enter_context(whole.bounded() if timeout_s is None else whole.bounded(timeout_s))


def bound_rest() -> None:
    """Bound what is left of a request that has waited: it does not wait as long again."""
    begin_bound(max(REST_S, CALL_TIMEOUT_S - (time.time() - g.began_at)))


def end_bound(_: BaseException | None = None) -> None:
    """Let each call of the database take its own time again, such as for who waits for a node."""
    if "bound" in g:
        g.bound.close()
