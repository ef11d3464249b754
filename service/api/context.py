"""What belongs to the running app: its store, drivers, settings and clock."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event
from typing import Any, cast

from flask import current_app

from service.api.fragments import Fragments
from service.api.open_answers import OpenAnswers
from service.api.parts import Parts
from service.api.wait_slots import WaitSlots
from service.config import Config
from service.drivers import DriverFactory
from service.event_hub import EventHub
from service.keys import MAX_CHILD_KEYS
from service.log_followers import LogFollowers
from service.meters import Meters
from service.model.node_policy import NodePolicy
from service.security.lockout import Lockout
from service.security.vault import Vault
from service.store import Store

EXTENSION = "skyquay"

WAIT_S = 10.0
"""How long delete, suspend and unsuspend wait for the node."""


BRIEFLY_S = 1.0
"""How long a request waits for a database that did not answer the one before."""


@dataclass(frozen=True, slots=True)
class Context:
    """The collaborators of one app; `create_app` puts them there."""

    config: Config
    store: Store
    open_driver: DriverFactory
    node_policy: NodePolicy
    now: Callable[[], datetime]
    wait_slots: WaitSlots
    vault: Vault
    lockout: Lockout
    rejections: Lockout
    """Counts 401 and 403 of a key and address."""
    delegations: Lockout
    """Counts the keys that a limited key makes."""
    event_hub: EventHub[Any]
    live: OpenAnswers
    """The live answers that are open."""
    meters: Meters
    """The instances whose use is watched."""
    stopping: Event
    """Set when the process is to end: whoever waits for a node then answers at once."""
    prepare: Callable[[], None]
    """Makes the database ready for use, unless that is done. Raises StoreFailure."""
    wait_s: float = WAIT_S
    """How long a request waits for its operation, unless the client asks for another time."""
    max_child_keys: int = MAX_CHILD_KEYS
    command: str | None = None
    """The command whose own app this is, on the machine of the database: it may do everything."""
    fragments: Fragments = field(default_factory=Fragments)
    """What was encoded of lists."""
    parts: Parts = field(default_factory=Parts)
    """What was answered of them last."""
    log_followers: LogFollowers = field(default_factory=LogFollowers)
    away: Event = field(default_factory=Event)
    """Set from when the database did not answer a request until it answers one."""


def app_context() -> Context:
    """Find the context of the app that answers the current request."""
    return cast("Context", current_app.extensions[EXTENSION])


def now() -> datetime:
    """Return the time by the app's clock, in whole milliseconds, as the database keeps it."""
    current = app_context().now()
    return current.replace(microsecond=current.microsecond // 1000 * 1000)
