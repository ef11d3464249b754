"""The only place that wires things: settings, store, drivers and doors become an app."""

from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version

from flask import Flask

from service import api
from service.api.context import EXTENSION, Context
from service.config import Config
from service.documents import Node
from service.drivers import DriverFactory, NodeDriver
from service.drivers.docker_engine import DockerEngine
from service.drivers.process import ProcessRunner
from service.errors import NodeRefused
from service.store import Store
from service.worker import Worker


def utc_now() -> datetime:
    """Tell the time."""
    return datetime.now(UTC)


def create_app(
    config: Config,
    store: Store | None = None,
    drivers: DriverFactory | None = None,
    now: Callable[[], datetime] = utc_now,
) -> Flask:
    """Make the WSGI app. Opens no connection and starts no thread."""
    app = Flask("skyquay", static_folder=None)
    app.config.update(
        API_TITLE="Skyquay",
        API_VERSION=version("skyquay"),
        OPENAPI_VERSION="3.1.0",
        OPENAPI_URL_PREFIX="/",
        OPENAPI_JSON_PATH="openapi.json",
        API_SPEC_OPTIONS={"info": {"description": _DESCRIPTION}},
        MAX_CONTENT_LENGTH=config.max_body_bytes,
    )
    app.extensions[EXTENSION] = Context(
        config=config,
        store=store or make_store(config),
        drivers=drivers or make_drivers(config),
        now=now,
    )
    api.register(app)
    return app


def make_store(config: Config) -> Store:
    """Make the store of these settings. Connects at its first use."""
    return Store(config.mongodb_uri or "mongodb://127.0.0.1:27017", config.database)


def make_drivers(config: Config) -> DriverFactory:
    """Make the function that finds a node's driver."""

    def find(node: Node) -> NodeDriver:
        match node["driver"]:
            case "docker":
                return DockerEngine(
                    node["_id"],
                    base_url=_docker_url(node),
                    connect_timeout_s=config.connect_timeout_s,
                    read_timeout_s=config.read_timeout_s,
                )
            case "process" if config.allow_process:
                return ProcessRunner(node["_id"], root=config.data_dir / "instances")
            case other:
                raise NodeRefused(
                    node["_id"], f"Nodes of the driver {other!r} are not served here."
                )

    return find


def make_worker(config: Config, store: Store, drivers: DriverFactory) -> Worker:
    """Make a worker, which does nothing until it is started."""
    return Worker(
        store,
        drivers,
        threads=config.worker_threads,
        lease_s=config.lease_s,
        probe_interval_s=config.probe_interval_s,
        now=utc_now,
    )


def _docker_url(node: Node) -> str:
    if "://" in node["address"]:
        return node["address"]
    return f"tcp://{node['address']}:{node['port'] or 2375}"


_DESCRIPTION = """One API for users, instances (containers), images and nodes.

Every request needs an API key in the header `x-api-key`: press **Authorize**. Every error is
`{"error": "<sentence>", "code": "<snake_case>", "details": {...}}`; a 400 names the fields.
"""
