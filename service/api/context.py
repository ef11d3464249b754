"""What views need of the running app: its store, drivers, settings and clock, and who calls."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event
from typing import TypedDict, cast

from flask import current_app, g

from service.api.patience import Patience
from service.brake import Brake
from service.config import Config
from service.drivers import DriverFactory
from service.store import Store
from service.vault import Vault

EXTENSION = "skyquay"


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
    prepare: Callable[[], None]
    """Makes the database ready for use, unless that is done. Raises StoreFailure."""
    stopping: Event = field(default_factory=Event)
    """Set when the process is to end: whoever waits for a node then answers at once."""


class Origin(TypedDict):
    """Who asks for a change, for the operation that carries it out."""

    now: datetime
    requested_by: str | None
    request_id: str | None


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
