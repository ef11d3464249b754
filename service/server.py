"""One process that serves: waitress in front, worker threads behind, ended in order."""

import signal
import socket
import threading

from flask import Flask
from waitress.server import create_server

from service.config import Config, ConfigError
from service.worker import Worker


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
            # The app has the last word on a body that is too large: its answer is JSON.
            max_request_body_size=config.max_body_bytes * 2,
        )
        self.url = f"http://{config.listen.rpartition(':')[0]}:{listener.getsockname()[1]}"

    def run(self, worker: Worker | None) -> None:
        """Serve, and work, until SIGTERM or Ctrl-C; then finish what is under way."""
        signal.signal(signal.SIGTERM, _leave)
        if worker is not None:
            worker.start()
        try:
            self._server.run()
        finally:
            self._server.close()
            if worker is not None:
                worker.stop()


def work(worker: Worker) -> None:
    """Work until SIGTERM or Ctrl-C; then finish what is under way."""
    leaving = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: leaving.set())
    worker.start()
    leaving.wait()
    worker.stop()


def _leave(*_: object) -> None:
    raise SystemExit(0)
