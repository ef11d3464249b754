"""One process that serves: waitress in front, worker threads behind, ended in order."""

import signal
import socket
import threading
import time
from types import SimpleNamespace
from typing import Any, cast

from flask import Flask
from waitress.channel import HTTPChannel
from waitress.server import create_server
from waitress.task import WSGITask
from waitress.wasyncore import dispatcher

from service.api.context import EXTENSION
from service.config import Config
from service.serving.listening import name_url
from service.serving.signals import on_signals
from service.worker.loop import Worker

DRAIN_TIMEOUT_S = 10.0
"""How long requests that are under way may take once the process is to end."""

LINGER_S = 5.0
"""How long a process that is replaced leaves its connections open for one more request each."""

CONNECTION_LIMIT = 1000
"""How many connections one process keeps; waitress's own 100 are soon held by who sends nothing."""


class Server:
    """A listening socket, which is served until a signal comes."""

    def __init__(self, app: Flask, config: Config, listener: socket.socket) -> None:
        self._map: dict[int, Any] = {}
        self._server: Any = create_server(
            app,
            map=self._map,
            sockets=[listener],
            threads=config.threads,
            connection_limit=CONNECTION_LIMIT,
            ident=None,
            # The app itself believes as many proxies as the settings say.
            clear_untrusted_proxy_headers=False,
            # The app has the last word on a body that is too large, because its answer is JSON;
            # what is far too large is not even read: whoever sends it may have no key.
            max_request_body_size=app.config["MAX_CONTENT_LENGTH"] * 4,
        )
        cast(Any, self._server).channel_class = _Channel
        self._stopping: threading.Event = app.extensions[EXTENSION].stopping
        self._linger_until = 0.0
        self.url = name_url(config, listener)

    def run(self, worker: Worker | None, *, is_child: bool = False) -> None:
        """Serve, and work, until a signal says to leave; then finish what is under way.

        Nothing is accepted from then on. Requests that wait for a node are answered at once. To a
        child SIGHUP says that others serve on: each of its connections may still bring a request,
        which is answered with `Connection: close`.
        """
        if worker is not None:
            worker.start()
        try:
            on_signals(self._stop)
            if is_child:
                signal.signal(signal.SIGHUP, self._retire)
            while not self._stopping.is_set():
                self._turn()
            self._drain()
        finally:
            self._server.task_dispatcher.shutdown(timeout=1)
            self._server.asyncore.close_all(self._map)
            if worker is not None:
                worker.stop()

    def _retire(self, *_: object) -> None:
        if not self._stopping.is_set():
            self._linger_until = time.monotonic() + LINGER_S
            self._leave()

    def _stop(self) -> None:
        self._linger_until = 0.0
        self._leave()

    def _leave(self) -> None:
        self._stopping.set()
        self._server.pull_trigger()  # ends the turn that waits for something to happen

    def _turn(self, timeout_s: float = 1.0) -> None:
        self._server.asyncore.loop(timeout=timeout_s, map=self._map, use_poll=True, count=1)

    def _drain(self) -> None:
        dispatcher.close(self._server)  # the listening socket only: answers must still get out
        while self._server.active_channels and time.monotonic() < self._linger_until:
            self._turn(0.05)
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

    def build_response_header(self) -> bytes:
        """Have clients of a process that leaves send their next request to whoever serves then."""
        if not self.channel.server.accepting:
            self.request.headers["CONNECTION"] = "close"  # type: ignore[attr-defined]
        return super().build_response_header()


class _Channel(HTTPChannel):
    task_class = AnswerTask
