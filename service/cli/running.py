"""Commands that run until they are told to stop: `up`, `serve` and `worker`."""

import json
import shlex
import signal
import sys
import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from socket import socket

import click

from service.app import create_app, make_drivers, make_worker, utc_now
from service.cli.context import prepared_store, read_config, read_production_config, report_errors
from service.config import Config, ConfigError, describe_settings
from service.serving import embedded_mongod, first_start
from service.serving.listening import bind, name_url
from service.serving.signals import leave_on_signals
from service.serving.supervisor import METRICS_SLOT, Lifeline, Supervisor, count_cores
from service.store import Store
from service.telemetry import metrics
from service.worker.loop import Worker

WITHOUT_KEY = (
    "SKYQUAY_SECRET_KEY is not set, which encrypts the secrets of nodes: make one with "
    "`openssl rand -base64 32`, and keep a copy."
)


def _settings_epilog() -> str:
    lines = [
        f"{variable} ({default or 'unset'}): {meaning}"
        for variable, default, meaning in describe_settings()
    ]
    return "\b\nSettings, from the environment, with their defaults:\n" + "\n".join(lines)


_listen_option = click.option(
    "--listen", metavar="HOST:PORT", help="Address and port to serve on. Default: SKYQUAY_LISTEN."
)


@click.command(epilog=_settings_epilog())
@click.option("--no-worker", is_flag=True, help="Serve only; `skyquay worker` does the work.")
@_listen_option
@report_errors
def up(no_worker: bool, listen: str | None) -> None:
    """Run everything on this machine, with a private database: for one machine, and to try it.

    Makes what is missing: the database, a first API key and user, the starter images and a node
    `local`. Starting it again finds everything as it was.
    """
    from service.serving.server import Server

    leave_on_signals()
    config = read_config(listen, allow_process=True, allow_loopback_nodes=True)
    with ExitStack() as stack:
        # First: who finds the address taken has not waited for anything, and nothing is made.
        listener = stack.enter_context(bind(config))
        stack.enter_context(embedded_mongod.lock(config.data_dir))
        if not config.secret_key:
            config = replace(config, secret_key=first_start.keep_secret_key(config.data_dir))
        if not config.mongodb_uri:
            mongod = stack.enter_context(embedded_mongod.keep(config.data_dir))
            config = replace(config, mongodb_uri=mongod.uri)
        store = stack.enter_context(prepared_store(config))
        open_driver = make_drivers(config, store)
        server = Server(create_app(config, store, open_driver), config, listener)
        now = utc_now()
        key_file = config.data_dir.resolve() / "api-key"
        # Whatever is no terminal may be a log, which keeps what it gets.
        kept = None if sys.stdout.isatty() else key_file
        key = first_start.find_or_make_key(store, keep_in=kept, now=now)
        user_id = first_start.find_or_make_user(store, now=now)
        image = first_start.find_or_import_images(store, now=now)
        node = first_start.find_or_make_node(store, open_driver, config, now=now)
        click.echo(f"\nSkyquay serves {server.url}")
        shown, key_for_shell = _show_key(config, key, key_file)
        click.echo(f"  API key      {shown}")
        click.echo(f"  Console      {server.url}/console/")
        click.echo(f"  Swagger UI   {server.url}/docs/")
        if node is not None:
            click.echo(f"  Node         {node['name']} ({node['driver']}, {node['status']})")
            port = first_start.find_free_port(store, node)
            body = {
                "name": "first",
                "user": user_id,
                "nodeId": node["_id"],
                "image": image["name"],
                "memory": 128,
                "cpu": 1,
                "ports": f"{port}:{port}",
                "primary": port,
            }
            click.echo(
                f"\nDeploy a first instance, which then answers on http://127.0.0.1:{port}\n\n"
                f"curl -X POST {server.url}/api/instances/deploy"
                f' -H "x-api-key: {key_for_shell}"'
                f" -H 'Content-Type: application/json' -d '{json.dumps(body)}'\n"
            )
        sys.stdout.flush()
        server.run(None if no_worker else make_worker(config, store, open_driver))
        click.echo("Stopped. What runs on the nodes goes on running.")


def _show_key(config: Config, key: str | None, key_file: Path) -> tuple[str, str]:
    """Say where the first API key is, and how a shell gets it."""
    if config.api_key:
        return "yours, from SKYQUAY_API_KEY", "$SKYQUAY_API_KEY"
    if key_file.exists():
        return f"in {key_file}", f"$(cat {shlex.quote(str(key_file))})"
    if key is not None:
        return key, key
    return (
        "made at the first start; `skyquay keys create` makes another",
        "YOUR_KEY",
    )


@click.command(epilog=_settings_epilog())
@click.option("--no-worker", is_flag=True, help="Serve only; `skyquay worker` does the work.")
@click.option(
    "--processes",
    type=click.IntRange(0),
    help="Processes that answer; 0: one for each core. Default: SKYQUAY_PROCESSES.",
)
@_listen_option
# For children of a `serve` that may be of an older version: these two stay as they are.
@click.option("--listener", type=int, hidden=True)
@click.option("--lifeline", type=Lifeline, hidden=True)
@click.option("--number", type=int, envvar=METRICS_SLOT, hidden=True)
@report_errors
def serve(
    no_worker: bool,
    processes: int | None,
    listen: str | None,
    listener: int | None,
    lifeline: Lifeline | None,
    number: int | None,
) -> None:
    """Serve the API on your own MongoDB (SKYQUAY_MONGODB_URI). Makes nothing but indexes.

    With several processes one more does the work, what dies is replaced, and SIGHUP replaces them
    all, one after the other, without a request being refused.
    """
    from service.serving.server import Server

    leave_on_signals()
    metrics.use_metrics_slot(number)
    config = read_production_config(listen)
    count = (config.processes if processes is None else processes) or count_cores()
    if lifeline is None and count > 1:
        # No child is there yet that could be replaced.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    works = bool(config.secret_key) and not no_worker
    with prepared_store(config) as store:
        if lifeline is not None:
            server = Server(create_app(config, store), config, socket(fileno=listener))
            lifeline.report_ready()
            server.run(None, is_child=True)
            return
        bound = bind(config)
        click.echo(f"Skyquay serves {name_url(config, bound)}")
        if not config.secret_key:
            click.echo(f"It does no work on nodes: {WITHOUT_KEY}", err=True)
        sys.stdout.flush()
        if count == 1:
            open_driver = make_drivers(config, store)
            server = Server(create_app(config, store, open_driver), config, bound)
            server.run(make_worker(config, store, open_driver) if works else None)
            return
    # Only now: this process needs the database no more.
    Supervisor(bound, processes=count, works=works).run()


@click.command(epilog=_settings_epilog())
@click.option("--lifeline", type=Lifeline, hidden=True)
@click.option("--number", type=int, envvar=METRICS_SLOT, hidden=True)
@report_errors
def worker(lifeline: Lifeline | None, number: int | None) -> None:
    """Carry out operations and probe nodes, without serving but for SKYQUAY_METRICS_LISTEN."""
    leave_on_signals()
    metrics.use_metrics_slot(number)
    config = read_production_config()
    if not config.secret_key:
        raise ConfigError(WITHOUT_KEY)
    with prepared_store(config) as store, ExitStack() as stack:
        if lifeline is None:
            _serve_metrics(stack, config, store)
            click.echo("Skyquay works.")
            sys.stdout.flush()
        else:
            lifeline.report_ready()
        _work(make_worker(config, store, make_drivers(config, store)))


def _work(worker: Worker) -> None:
    """Work until a signal says to leave; then finish what is under way."""
    worker.start()
    try:
        threading.Event().wait()
    finally:
        worker.stop()


def _serve_metrics(stack: ExitStack, config: Config, store: Store) -> None:
    address = config.metrics_address()
    if address is None:
        return
    try:
        stack.enter_context(metrics.served(store, address, most=config.metrics_instances))
    except OSError as exc:
        raise ConfigError(
            f"Cannot serve on {config.metrics_listen} (SKYQUAY_METRICS_LISTEN): {exc.strerror}."
        ) from exc
