"""The API in this process, on the machine's own database: who may read that may do everything."""

import logging
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import click
from werkzeug.test import EnvironBuilder, run_wsgi_app

from service.app import create_app
from service.cli.connection import Answer, Request
from service.cli.context import (
    find_database,
    find_secret_key,
    prepared_store,
    read_config,
    report_errors,
)
from service.config import Config
from service.store import Store

CRASHES = "skyquay.crashes"
"""Where the app leaves what nobody foresaw."""


class LocalTransport:
    """The app of a command, which is never served."""

    is_local = True

    def __init__(self, config: Config, store: Store, command: str) -> None:
        self._app = create_app(config, store, command=command)
        self._base_url = f"http://{config.listen}"

    def send(self, request: Request, *, wait_s: float = 0) -> Answer:
        """Send a request. Raises what the app did not foresee."""
        body, status, headers = self._run(request, buffered=True)
        return Answer(int(status.split()[0]), b"".join(body).decode(), dict(headers))

    def stream(self, request: Request) -> Generator[bytes, None, Answer]:
        """Yield what is sent of an answer that goes on."""
        body, status, headers = self._run(request, buffered=False)
        try:
            if status.startswith("200"):
                yield from body
                return Answer(200, "", dict(headers))
            return Answer(int(status.split()[0]), b"".join(body).decode(), dict(headers))
        finally:
            body.close()

    def _run(self, request: Request, *, buffered: bool) -> Any:
        crashes: list[Exception] = []
        environ = EnvironBuilder(
            request.path,
            self._base_url,
            method=request.method,
            query_string=urlencode(request.query, doseq=True),
            headers=list(request.headers.items()),
            environ_base={"REMOTE_ADDR": "127.0.0.1", CRASHES: crashes},
            **({} if request.body is None else {"json": request.body}),
        ).get_environ()
        answered = run_wsgi_app(self._app, environ, buffered=buffered)
        for crash in crashes:
            raise crash
        return answered


def _is_news(record: logging.LogRecord) -> bool:
    """Return whether a log line says more than what the command prints."""
    return not record.name.startswith(("skyquay.", "service.api."))


@report_errors
def open_local() -> LocalTransport:
    """Open the database of this machine, until the command ends."""
    return click.get_current_context().with_resource(_opened())


@contextmanager
def _opened() -> Iterator[LocalTransport]:
    settings = read_config()
    for handler in logging.getLogger().handlers:
        handler.addFilter(_is_news)
    config = find_database(settings)
    if not settings.mongodb_uri:
        config = replace(config, allow_process=True, allow_loopback_nodes=True)  # as `up` has it
    path = click.get_current_context().command_path.split()
    with prepared_store(config) as store:
        config = replace(config, secret_key=find_secret_key(settings))
        yield LocalTransport(config, store, ".".join(["cli", *path[1:]]))
