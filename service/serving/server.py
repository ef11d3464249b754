"""One process that serves: granian speaks HTTP, the app answers in threads, ended in order."""

import asyncio
import os
import resource
import signal
import socket
import threading
import time
from contextlib import suppress

from flask import Flask
from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server as Granian

from service.api.context import EXTENSION
from service.config import Config
from service.serving import connection_limit
from service.serving.bridge import Bridge
from service.serving.listening import BACKLOG, name_url
from service.serving.signals import on_signals
from service.worker.loop import Worker

DRAIN_TIMEOUT_S = 10.0
"""How long requests that are under way may take once the process is to end."""

LINGER_S = 5.0
"""How long a process that is replaced leaves its connections open for one more request each."""

NATIVE_THREADS_TIMEOUT_S = 2.0
"""How long granian's own threads may take to end after it."""

CONNECTION_LIMIT = 4000
"""How many connections one process keeps, where it may have as many files open."""

OTHER_FILES = 200
"""How many files a process needs besides: connections to the database and to nodes."""

HEADERS_TIMEOUT_S = 20
"""How long a connection may take to bring a request's headers, its silence before them included."""

HEADERS_LIMIT_BYTES = 32 * 1024


class Server:
    """A listening socket, which is served until a signal comes."""

    def __init__(self, app: Flask, config: Config, listener: socket.socket) -> None:
        self.url = name_url(config, listener)
        self._bridge = Bridge(app, config, max_body_bytes=app.config["MAX_CONTENT_LENGTH"])
        self._port: int = listener.getsockname()[1]
        self._counts_addresses = not config.trusted_proxies
        self._http = Http(self._bridge, listener)
        self._stopping: threading.Event = app.extensions[EXTENSION].stopping
        self._leave, self._stop = asyncio.Event(), asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, worker: Worker | None, *, is_child: bool = False) -> None:
        """Serve, and work, until a signal says to leave; then finish what is under way.

        Nothing is accepted from then on. Requests that wait for a node are answered at once. To a
        child SIGHUP says that others serve on: each of its connections may still bring a request,
        which is answered with `Connection: close`.
        """
        on_signals(self._on_stop)
        if is_child:
            signal.signal(signal.SIGHUP, self._on_retire)
        try:
            if worker is not None:
                worker.start()
            asyncio.run(self._serve())
        finally:
            if worker is not None:
                worker.stop()
            _await_native_threads()

    def _on_retire(self, *_: object) -> None:
        if self._loop is None:
            self._stop.set()  # it is not served yet, so nobody has a connection
            self._leave.set()
        else:
            self._loop.call_soon_threadsafe(self._leave.set)

    def _on_stop(self) -> None:
        if self._loop is None:
            self._stop.set()
        else:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._on_retire()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        serving = self._loop.create_task(self._http.serve())
        serving.add_done_callback(lambda _: self._on_stop())
        # granian does not hear a stop that comes before it serves.
        begun = self._loop.create_task(self._bridge.begun.wait())
        await asyncio.wait({serving, begun}, return_when=asyncio.FIRST_COMPLETED)
        if self._counts_addresses:
            self._enforcing = self._loop.create_task(
                connection_limit.enforce(self._port, self._bridge.busy)
            )
        await self._leave.wait()
        self._stopping.set()
        self._bridge.is_leaving = True
        if not self._stop.is_set():
            self._http.stop_accepting()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), LINGER_S)
        self._http.stop()  # type: ignore[no-untyped-call]
        with suppress(TimeoutError):
            await asyncio.wait_for(serving, DRAIN_TIMEOUT_S)


def _await_native_threads() -> None:
    """Wait until granian's own threads have ended.

    One that still runs when the interpreter is gone calls into it, and aborts the process.
    """
    deadline = time.monotonic() + NATIVE_THREADS_TIMEOUT_S
    while time.monotonic() < deadline:
        known = {str(thread.native_id) for thread in threading.enumerate()}
        if known.issuperset(os.listdir("/proc/self/task")):
            return
        time.sleep(0.005)


def _allow_connections() -> int:
    """Have the system allow this process as many connections; return how many it does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTION_LIMIT + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError):  # then fewer must do
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return CONNECTION_LIMIT
    return max(1, min(CONNECTION_LIMIT, soft - OTHER_FILES))


class Http(Granian):
    """granian on a socket that other processes may serve too."""

    def __init__(self, app: Bridge, listener: socket.socket) -> None:
        self._listener_fd = listener.detach()  # granian closes it
        super().__init__(
            app,
            interface=Interfaces.RSGI,
            http=HTTPModes.http1,
            websockets=False,
            backpressure=_allow_connections(),
            http1_settings=HTTP1Settings(
                header_read_timeout=HEADERS_TIMEOUT_S * 1000, max_buffer_size=HEADERS_LIMIT_BYTES
            ),
            # Logs are set up already: it is to change no more than how much it says itself.
            log_level=LogLevels.error,
            log_dictconfig={"incremental": True, "handlers": {}, "loggers": {}},
        )

    def _init_shared_socket(self) -> None:
        """Take the socket that is there. By itself granian opens one for each process."""
        self._shd = SocketHolder(self._listener_fd, False, BACKLOG)  # type: ignore

    def stop_accepting(self) -> None:
        """Leave new connections to others, and keep those that are open.

        granian can only do both at once. So its number for the listening socket becomes that of a
        socket that gets no connections. Not to be done as it begins: if its thread has not taken
        the socket yet, it never hears that it is to stop.
        """
        with socket.socket() as deaf:
            os.dup2(deaf.fileno(), self._listener_fd)
