"""The only place that wires things: settings, store, drivers and endpoints become an app."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from threading import Event, Lock
from typing import TYPE_CHECKING

from service import audit, installation, keys
from service.config import Config
from service.drivers import DriverFactory
from service.drivers.registry import Drivers
from service.errors import StoreFailure, StoreUnavailable
from service.model import documents
from service.model.documents import Key
from service.model.node_policy import NodePolicy
from service.model.webhooks import make_rule
from service.security import certificates
from service.security.lockout import Lockout
from service.security.vault import Vault
from service.store import CALL_TIMEOUT_S, Store
from service.telemetry import metrics
from service.worker import deliveries
from service.worker.loop import Worker
from service.worker.sampler import Sampler

if TYPE_CHECKING:
    from flask import Flask

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 1024 * 1024

FAILURES_A_MINUTE = 30
"""How many authentications may fail, of one address or one user's name."""

REJECTIONS_A_MINUTE = 60
"""How many requests may be answered 401 or 403 to one key and address."""

CHILD_KEYS_A_MINUTE = 30
"""How many keys a limited key may make, counting those made by them."""


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def create_app(
    config: Config,
    store: Store | None = None,
    open_driver: DriverFactory | None = None,
    now: Callable[[], datetime] = utc_now,
    *,
    command: str | None = None,
) -> "Flask":
    """Make the WSGI app. Opens no connection and starts no thread.

    With `command` it is that command's own, and is never served: every request may do everything,
    and the audit log has the command's name.
    """
    # Only who serves needs what follows: a worker starts in half the time without it.
    from werkzeug.middleware.proxy_fix import ProxyFix

    from service import api
    from service.api import event_resources
    from service.api.application import Application
    from service.api.context import EXTENSION, Context
    from service.api.document import INFO, SERVERS
    from service.api.open_answers import OpenAnswers
    from service.api.wait_slots import WaitSlots
    from service.event_hub import EventHub
    from service.meters import Meters

    app = Application("skyquay", static_folder=None)
    app.config.update(
        API_TITLE="Skyquay",
        API_VERSION=version("skyquay"),
        OPENAPI_VERSION="3.1.0",
        OPENAPI_URL_PREFIX="/",
        OPENAPI_JSON_PATH="openapi.json",
        API_SPEC_OPTIONS={"info": INFO, "servers": SERVERS},
        MAX_CONTENT_LENGTH=MAX_BODY_BYTES,
    )
    store = store or make_store(config)
    open_driver = open_driver or make_drivers(config, store)
    stopping = Event()
    app.extensions[EXTENSION] = Context(
        config=config,
        store=store,
        open_driver=open_driver,
        node_policy=make_node_policy(config),
        now=now,
        wait_slots=WaitSlots(config.threads),
        vault=Vault(config.secret_key),
        lockout=Lockout(store, limit=FAILURES_A_MINUTE),
        rejections=Lockout(
            store, limit=REJECTIONS_A_MINUTE, message="Too many requests were rejected."
        ),
        delegations=Lockout(store, limit=CHILD_KEYS_A_MINUTE, message="Too many keys were made."),
        event_hub=EventHub(store, partial(event_resources.find, store)),
        live=OpenAnswers(store, threads=config.threads, stopping=stopping, now=now),
        meters=Meters(store, open_driver, now=now, stopping=stopping),
        stopping=stopping,
        prepare=_Once(lambda: prepare(config, store)),
        command=command,
    )
    if config.trusted_proxies:
        proxied = ProxyFix(
            app.wsgi_app, x_for=config.trusted_proxies, x_proto=config.trusted_proxies
        )
        app.wsgi_app = proxied  # type: ignore[method-assign]
    api.register(app, config)
    return app


def prepare(config: Config, store: Store) -> None:
    """Make the database ready for use: its indexes, and the key that the settings ask for.

    A value that the key had before it was rotated is made no key again: the log says so.
    Raises StoreFailure for a database that cannot be used.
    """
    problem = store.check_server()
    if problem:
        raise StoreFailure(problem)
    store.prepare()
    if config.api_key and (rotated := keys.find_rotated(store, config.api_key)):
        _warn_of_old_value(rotated)
    elif config.api_key:
        made = keys.ensure(store, config.api_key, name="SKYQUAY_API_KEY", now=utc_now())
        if made is not None:
            entry = audit.begin(
                store,
                action="settings.api_key",
                target_kind="key",
                target_id=made["_id"],
                keep_s=config.audit_days * 86400,
                now=made["created_at"],
            )
            audit.finish(store, entry, status=200)


def _warn_of_old_value(key: Key) -> None:
    until = key["retiring"]["until"] if key["retiring"] else None
    log.warning(
        "SKYQUAY_API_KEY is an old value of the API key %s, which was rotated: %s. Set the new "
        "value, or unset it.",
        key["_id"],
        f"it works until {until:%Y-%m-%d %H:%M} UTC"
        if until and until > utc_now()
        else "it works no more",
    )


class _Once:
    """Do something before the first request that needs it; again as long as that fails.

    A WSGI server that loads `wsgi.py` runs nothing before it serves, and without its indexes the
    database would not keep the promises of the API. Of requests that come at once one does it, and
    the others wait for it, but no longer than for the database.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._done = False
        self._lock = Lock()

    def __call__(self) -> None:
        if self._done:
            return
        if not self._lock.acquire(timeout=CALL_TIMEOUT_S):
            raise StoreUnavailable("The database is being made ready. Please try again.")
        try:
            if not self._done:
                self._work()
                self._done = True
        finally:
            self._lock.release()


def make_store(config: Config) -> Store:
    """Make the store of these settings. Connects at its first use."""
    return Store(
        config.mongodb_uri or "mongodb://127.0.0.1:27017",
        config.database,
        keep_audit_s=config.audit_days * 86400,
        keep_events_s=config.events_days * 86400,
        record_command=metrics.record_command,
        record_operation=metrics.record_operation,
    )


def make_node_policy(config: Config) -> NodePolicy:
    """Make the policy of these settings."""
    return NodePolicy(
        allow_process=config.allow_process,
        allow_plain_docker=config.allow_plain_docker,
        allow_loopback=config.allow_loopback_nodes,
    )


def make_drivers(config: Config, store: Store | None = None) -> DriverFactory:
    """Make what opens the drivers of nodes.

    Drivers touch only what is the installation's whose documents are in the store.
    """
    return Drivers(
        policy=make_node_policy(config),
        owner=installation.make_owner(store or make_store(config)),
        instances_dir=config.data_dir / "instances",
        open_secret=Vault(config.secret_key).open,
        make_tls=certificates.make_context,
    )


def print_event(store: Store, key: Key, event: documents.Event) -> bytes:
    """Write an event as the API tells the key of it, which sees this part of the store."""
    # A worker without webhooks starts without it.
    from service.api import event_resources
    from service.contract.events import EventAnswer
    from service.contract.json_text import encode

    [found] = event_resources.find(store, [event])
    return encode(EventAnswer.shape(found.tell(for_owner=keys.access_of(key).is_of_owner)))


def make_deliveries(config: Config) -> deliveries.Settings:
    """Make what webhooks are sent events with."""
    return deliveries.Settings(
        open_secret=Vault(config.secret_key).open,
        print_event=print_event,
        make_rule=lambda is_limited: make_rule(
            allow_loopback=config.allow_loopback_webhooks, is_limited=is_limited
        ),
        record=metrics.record_delivery,
    )


def make_worker(config: Config, store: Store, open_driver: DriverFactory) -> Worker:
    """Make a worker, which does nothing until it is started."""
    return Worker(
        store,
        open_driver,
        open_secret=Vault(config.secret_key).open,
        threads=config.worker_threads,
        probe_interval_s=config.probe_interval_s,
        deliveries=make_deliveries(config),
        now=utc_now,
        sampler=Sampler(store, open_driver, now=utc_now),
    )
