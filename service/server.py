"""One process that serves: waitress in front, worker threads behind, ended in order."""

import signal
import socket
import threading

from flask import Flask
from waitress.server import create_server

from service.config import Config, ConfigError
from service.worker import Worker

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
        self._server = create_server(
            app,
            sockets=[listener],
            threads=config.threads,
            ident=None,
            # The app has the last word on a body that is too large, because its answer is JSON;
            # what is far too large is not even read.
            max_request_body_size=config.max_body_bytes * 64,
        )
        self.url = f"http://{config.listen.rpartition(':')[0]}:{listener.getsockname()[1]}"

    def run(self, worker: Worker | None) -> None:
        """Serve, and work, until a signal says to leave; then finish what is under way."""
        if worker is not None:
            worker.start()
        try:
            self._server.run()
        finally:
            self._server.close()
            if worker is not None:
                worker.stop()


def work(worker: Worker) -> None:
    """Work until a signal says to leave; then finish what is under way."""
    worker.start()
    try:
        threading.Event().wait()
    finally:
        worker.stop()


def leave_on_signals() -> None:
    """Have SIGTERM and Ctrl-C unwind the command in order, once: what follows is bounded."""
    for number in _SIGNALS:
        signal.signal(number, _leave)


def _leave(*_: object) -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise SystemExit(0)
