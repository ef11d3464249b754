"""One process that serves: waitress in front, worker threads behind, ended in order."""

import signal
import socket
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from flask import Flask
from waitress.channel import HTTPChannel
from waitress.server import create_server
from waitress.task import WSGITask
from waitress.wasyncore import dispatcher

from service.api.context import EXTENSION
from service.config import Config, ConfigError
from service.worker import Worker

DRAIN_TIMEOUT_S = 10.0
"""How long requests that are under way may take once the process is to end."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Server:
    """A bound socket, which is served until a signal comes. Raises ConfigError when it is taken."""

    def __init__(self, app: Flask, config: Config) -> None:
        host, port = config.listen_address()
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listener = socket.create_server((host, port), family=family)
        except OSError as exc:
            raise ConfigError(f"Cannot serve on {config.listen}: {exc.strerror}.") from exc
        self._map: dict[int, Any] = {}
        self._server: Any = create_server(
            app,
            map=self._map,
            sockets=[listener],
            threads=config.threads,
            ident=None,
            # The app itself believes as many proxies as the settings say.
            clear_untrusted_proxy_headers=False,
            # The app has the last word on a body that is too large, because its answer is JSON;
            # what is far too large is not even read.
            max_request_body_size=config.max_body_bytes * 64,
        )
        cast(Any, self._server).channel_class = _Channel
        self._stopping: threading.Event = app.extensions[EXTENSION].stopping
        self.url = f"http://{config.listen.rpartition(':')[0]}:{listener.getsockname()[1]}"

    def run(self, worker: Worker | None) -> None:
        """Serve, and work, until a signal says to leave; then finish what is under way.

        Nothing is accepted from then on. Requests that wait for a node are answered at once.
        """
        if worker is not None:
            worker.start()
        try:
            _on_signals(self._stop)
            while not self._stopping.is_set():
                self._turn()
            self._drain()
        finally:
            self._server.task_dispatcher.shutdown(timeout=0)
            self._server.asyncore.close_all(self._map)
            if worker is not None:
                worker.stop()

    def _stop(self) -> None:
        self._stopping.set()
        self._server.pull_trigger()  # ends the turn that waits for something to happen

    def _turn(self, timeout_s: float = 1.0) -> None:
        self._server.asyncore.loop(timeout=timeout_s, map=self._map, use_poll=True, count=1)

    def _drain(self) -> None:
        dispatcher.close(self._server)  # the listening socket only: answers must still get out
        deadline = time.monotonic() + DRAIN_TIMEOUT_S
        while self._is_busy() and time.monotonic() < deadline:
            self._turn(0.05)

    def _is_busy(self) -> bool:
        return any(
            channel.requests or channel.request or channel.total_outbufs_len
            for channel in list(self._server.active_channels.values())
        )


class AnswerTask(WSGITask):
    """Sends the head of an answer together with the first piece of its body.

    waitress sends them one after the other. Of a process that is killed in between, a proxy has the
    head already, and cannot ask another process any more.
    """

    def write(self, data: bytes) -> None:
        """Send at once what waitress sends for this piece."""
        channel, pieces = self.channel, list[bytes]()
        self.channel = cast(Any, SimpleNamespace(server=channel.server, write_soon=pieces.append))
        try:
            super().write(data)
        finally:
            self.channel = channel
        channel.write_soon(b"".join(pieces))


class _Channel(HTTPChannel):
    task_class = AnswerTask


def work(worker: Worker) -> None:
    """Work until a signal says to leave; then finish what is under way."""
    worker.start()
    try:
        threading.Event().wait()
    finally:
        worker.stop()


def leave_on_signals() -> None:
    """Have SIGTERM and Ctrl-C unwind the command in order, once: what follows is bounded."""
    _on_signals(_leave)


def _leave() -> None:
    raise SystemExit(0)


def _on_signals(act: Callable[[], None]) -> None:
    def handle(*_: object) -> None:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        act()

    for number in _SIGNALS:
        signal.signal(number, handle)
