"""A double of skyportd 0.3.0, the node daemon of the older panel, on a loopback port.

It answers as the real one does, mistakes included, without Docker: containers are objects that
tests can look at and change. What it should do wrong is set by its knobs, the public attributes.
"""

import base64
import hashlib
import json
import re
import secrets
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.support import free_port

USER = "Skyport"
MAX_BODY = 102_400
WEBSOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
NEVER = "0001-01-01T00:00:00Z"
PAST = {
    "start": "started", "stop": "stoped", "restart": "restarted", "pause": "pauseed",
    "unpause": "unpauseed", "kill": "killed",
}  # fmt: skip
SAMPLE_S = 10
KEEP_S = 3000
STAT_ERRORS = {
    "dangling symlink": "ENOENT: no such file or directory",
    "link to itself": "ELOOP: too many symbolic links encountered",
    "link into a file": "ENOTDIR: not a directory",
}
"""What a file's content says that it is, and what Node says of it when it is followed."""
LOST = "dangling symlink"
UNLINK_ERRORS = {
    "immutable": "EPERM: operation not permitted, unlink",
    "too deep": "ENAMETOOLONG: name too long, unlink",
}
MANIFEST = "manifest for {} not found: manifest unknown: manifest unknown"


SAMPLE = {
    "read": "2026-01-31T12:00:01.000000001Z",
    "preread": "2026-01-31T12:00:00Z",
    "cpu_stats": {"cpu_usage": {"total_usage": 3_250_000_000}},
    "precpu_stats": {"cpu_usage": {"total_usage": 3_000_000_000}},
    "memory_stats": {
        "usage": 40 * 2**20,
        "stats": {"inactive_file": 8 * 2**20},
        "limit": 128 * 2**20,
    },
    "volumeSize": "12.5 KB",
}
"""What a container uses: no networks, because it has the host's."""


@dataclass
class Container:
    """What Docker would know of one container."""

    name: str
    config: dict[str, Any]
    cid: str = field(default_factory=lambda: secrets.token_hex(32))
    status: str = "created"  # created, running, paused, exited
    exit_code: int = 0
    starts: int = 0
    """How many times it was started after its creation."""
    error: str = ""
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    oom_killed: bool = False
    ignores_sigterm: bool = False
    log: list[str] = field(default_factory=list)
    """What the program printed, line by line."""
    read: list[str] = field(default_factory=list)
    """The lines that the program read."""
    ends_at: str | None = None
    """The line at which it ends by itself."""

    @property
    def started_at(self) -> str:
        """When it was started last: each time a second later."""
        return f"2026-11-23T19:19:{30 + self.starts % 30}.07Z"

    def hear(self, line: str) -> None:
        """Read a line, as a program does that runs."""
        if self.status == "running":
            self.read.append(line)
            if line == self.ends_at:
                self.exit(0)

    def show(self, path: str) -> list[str]:
        """List what it uses, or its last 25 lines as Docker counts them: each of 16 KiB at most."""
        if path.startswith("/stats/"):
            idle = {"memory_stats": {}, "cpu_stats": {"cpu_usage": {"total_usage": 0}}}
            return [json.dumps(SAMPLE if self.status == "running" else {**SAMPLE, **idle})]
        text = "".join(f"{line}\r\n" for line in self.log)
        return re.findall(r"[^\n]{0,16383}(?:[^\n]|\n)", text)[-25:]

    def exit(self, code: int) -> None:
        """End the program by itself."""
        self.status, self.exit_code = "exited", code


class Died(Exception):
    """The daemon's process ends, with all its connections."""


class Silence(Exception):
    """No answer ever, with the connection open."""


@dataclass(frozen=True)
class Reply:
    """What one call is answered with."""

    status: int
    body: Any = None
    content_type: str = "application/json; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


class FakeSkyportd:
    """One daemon. Leaving it as a context stops it."""

    def __init__(self, key: str = "k" * 64) -> None:
        self.key = key
        self.engine_id = secrets.token_hex(16)
        self.containers: dict[str, Container] = {}
        self.volumes: dict[str, dict[str, str]] = {}
        """The files of each volume. A lone surrogate in a name is a byte that is not UTF-8."""
        self.states: dict[str, dict[str, Any]] = {}
        self.creations: list[dict[str, Any]] = []
        """The bodies of all creations that arrived."""
        self.calls: list[tuple[str, str]] = []
        self.request_ids: set[str | None] = set()
        # Knobs
        self.pull_s = 0.0
        self.pull_error: str | None = None
        """Docker's words; the state stays INSTALLING."""
        self.missing_images: set[str] = set()
        """Images that the registry does not have."""
        self.pull_stream_error = False
        self.start_s = 0.02
        self.install_s = 0.0
        """How long the install scripts take, while the container waits to be started."""
        self.die_before_start = False
        """The process ends when Docker made the container and did not start it."""
        self.start_error: str | None = None
        self.exit_after_start: int | None = None
        self.docker_down = False
        self.state_glitches = 0
        """How many reads of a state meet a file that is being written."""
        self.corrupt_states = False
        self.crash_on_parallel: int | None = None
        self.lose_update = False
        """The next READY is overwritten by somebody else's old file."""
        self.swallow_creations = False
        """Creations are carried out, and their answers never arrive."""
        self.fs_error: str | None = None
        self.stats_error = False
        self.keeps_folders = False
        """A volume cannot be deleted as if it were a file of its own."""
        self.silent = False
        self.rubbish: bytes | None = None
        self._started_at = datetime.now(UTC)
        self._samples: list[datetime] = []  # of processes before this one
        self._creating = 0
        self._lock = threading.RLock()
        self._over, self._has_ended = threading.Event(), threading.Event()
        # A port of the system's would be anybody's while the process is down.
        self.port = free_port()
        self._server = self._listen()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def is_alive(self) -> bool:
        """Whether its process runs."""
        return not self._over.is_set()

    def __enter__(self) -> "FakeSkyportd":
        return self

    def __exit__(self, *_: object) -> None:
        self.die()

    def die(self) -> None:
        """End the process, as a crash does. What is on disk and in Docker stays."""
        if not self._over.is_set():
            self._over.set()
            self._samples = self._list_samples()
            self._server.shutdown()
            self._server.socket.close()
            self._has_ended.set()

    def restart(self) -> None:
        """Start the process again, on the same port."""
        # Who calls it may have heard of its end from an answer that broke off, while it still ends.
        assert self._has_ended.wait(10)
        self._has_ended.clear()
        self._over = threading.Event()
        self._creating = 0
        self._started_at = datetime.now(UTC)
        self._server = self._listen()

    def age(self, seconds: float) -> None:
        """Let everything that is have been so much earlier."""
        passed = timedelta(seconds=seconds)
        self._started_at -= passed
        self._samples = [sample - passed for sample in self._samples]
        for container in self.containers.values():
            container.created_at -= passed

    def repair_states(self) -> None:
        """Write {} into the state file, as an operator does while the daemon is stopped."""
        self.corrupt_states = False
        self.states.clear()

    def _listen(self) -> ThreadingHTTPServer:
        class Handler(_Handler):
            daemon = self
            over = self._over

        server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=_serve, args=(server,), daemon=True).start()
        return server

    # What it does

    def answer(self, method: str, path: str, body: Any) -> Reply:  # noqa: PLR0911, PLR0912
        """Answer one call that is allowed."""
        parts = [unquote(part) for part in path.strip("/").split("/") if part]
        match method, parts:
            case "GET", []:
                return self._tell_health()
            case "GET", ["stats"]:
                return self._tell_stats()
            case "POST", ["instances", "create"]:
                return self._create(body)
            case "GET", ["state", name]:
                return self._read_state(name)
            case "GET", ["instances"]:
                return self._list()
            case "GET", ["instances", "purge", "all"]:
                raise AssertionError("nobody may ever call this: it removes everything")
            case "GET", ["instances", name]:
                found = None if self.docker_down else self.find(name)
                if found is None:
                    return Reply(404, {"message": "Container not found"})
                return Reply(200, _inspect(found))
            case "GET", ["instances", name, "ports"]:
                return Reply(200, []) if self.find(name) else _not_found_here()
            case "GET", ["instances", name, "delete"]:
                return self._delete(name, force=True)
            case "DELETE", ["instances", name]:
                return self._delete(name, force=False)
            case "POST", ["instances", "redeploy" | "reinstall", name, volume]:
                return self._replace(name, volume, body)
            case "POST", ["instances", name, verb]:
                return self._change_power(name, verb)
            case "GET", ["fs", volume, "files"]:
                return self._list_files(volume)
            case "POST", ["fs", volume, "files", "create", name]:
                self.volumes.setdefault(volume, {})[name] = body.get("content", "")
                return Reply(200, {"message": "File created successfully"})
            case "DELETE", ["fs", volume, "files", "delete", name]:
                return self._delete_file(volume, name)
        text = f"<!DOCTYPE html>\n<pre>Cannot {method} {path}</pre>\n"
        return Reply(404, text, "text/html; charset=utf-8")

    def find(self, name: str) -> Container | None:
        """Find a container by its name, its id, or the start of its id."""
        if name in self.containers:
            return self.containers[name]
        found = [c for c in self.containers.values() if c.cid.startswith(name)]
        return found[0] if len(found) == 1 else None

    def _tell_health(self) -> Reply:
        if self.docker_down:
            text = "Docker is not running - skyportd will not function properly."
            return Reply(500, {"error": text})
        system = {
            "ID": self.engine_id,
            "MemTotal": 25276502016,
            "NCPU": 2,
            "ServerVersion": "20.10.24+dfsg1",
        }
        return Reply(
            200,
            {
                "versionFamily": 1,
                "versionRelease": "skyportd 0.3.0",
                "online": True,
                "remote": "http://localhost:3001",
                "mysql": {"host": "localhost", "user": "root", "password": "mysql-secret"},
                "docker": {"status": "running", "systemInfo": system},
            },
        )

    def _tell_stats(self) -> Reply:
        if self.docker_down or self.stats_error:
            return Reply(500, {"error": "Failed to fetch stats"})
        running = [c for c in self.containers.values() if c.status == "running"]
        minutes = int((datetime.now(UTC) - self._started_at).total_seconds() // 60)
        parts = {"d": minutes // 1440, "h": minutes // 60 % 24, "m": minutes % 60}
        return Reply(
            200,
            {
                "totalStats": [
                    {
                        "timestamp": sample.isoformat(timespec="milliseconds")[:-6] + "Z",
                        "RamMax": "24105.55 MB",
                        "Ram": "653.44 MB",
                        "CoresMax": 2,
                        "Cores": "11.34%",
                    }
                    for sample in self._list_samples()
                ],
                "onlineContainersCount": len(running),
                "uptime": " ".join(f"{n}{unit}" for unit, n in parts.items() if n) or "0m",
            },
        )

    def _list_samples(self) -> list[datetime]:
        """List when the load was measured: a process begins ten seconds after its start."""
        now = datetime.now(UTC)
        own = int((now - self._started_at).total_seconds() // SAMPLE_S)
        samples = [self._started_at + timedelta(seconds=SAMPLE_S * (n + 1)) for n in range(own)]
        kept = [*self._samples, *samples] if not self._over.is_set() else self._samples
        return [sample for sample in kept if (now - sample).total_seconds() <= KEEP_S]

    def _read_state(self, name: str) -> Reply:
        if self.corrupt_states:
            return _error("Unexpected end of JSON input")
        if self.state_glitches > 0:
            self.state_glitches -= 1
            return _error("Unexpected end of JSON input")
        return Reply(200, self.states.get(name, {"state": "UNKNOWN"}))

    def _create(self, body: dict[str, Any]) -> Reply:
        with self._lock:
            self.creations.append(body)
            self._creating += 1
            if self.corrupt_states:
                raise Died
            if self.crash_on_parallel is not None and self._creating >= self.crash_on_parallel:
                self.corrupt_states = True
                raise Died
        try:
            return self._make(body)
        finally:
            with self._lock:
                self._creating -= 1

    def _make(self, body: dict[str, Any]) -> Reply:
        name = body.get("Id")
        try:
            env, variables = body.get("Env") or [], body.get("variables") or {}
            if not isinstance(name, str) or not isinstance(env, list):
                raise TypeError
            variables = json.loads(variables) if isinstance(variables, str) else variables
            first = next(iter(body["PortBindings"].values()))
            made = [*env, *(f"{k}={v}" for k, v in variables.items()),
                    f"PRIMARY_PORT={first[0].get('HostPort', 'undefined')}"]  # fmt: skip
        except (TypeError, KeyError, StopIteration, IndexError, AttributeError, ValueError):
            self._write_state(str(name or "undefined"), "FAILED", None)
            raise Silence from None
        self.volumes.setdefault(name, {})
        self._write_state(name, "INSTALLING", None)
        if self._wait(self.pull_s):
            raise Died
        if self.docker_down:
            return _error("connect ENOENT /var/run/docker.sock")
        if body.get("Image") in self.missing_images:
            return _error("(HTTP code 404) unexpected - manifest unknown: manifest unknown ")
        if self.pull_error is not None:
            return _error(self.pull_error)
        threading.Thread(target=self._start, args=(name, body, made), daemon=True).start()
        if self.swallow_creations:
            raise Silence
        return Reply(202, {"message": "Deployment started", "Env": made, "volumeId": name})

    def _start(self, name: str, body: dict[str, Any], env: list[str]) -> None:
        if self._wait(self.start_s):
            return
        broken = self.pull_stream_error or not 6 <= float(body.get("Memory") or 6)
        if broken or name in self.containers or not isinstance(body.get("Cpu", 0), int):
            self._write_state(name, "FAILED", None)
            return
        container = Container(name, {**body, "Env": env})
        self.containers[name] = container
        if self.die_before_start:
            self.die_before_start = False
            self.die()
            return
        if not self._install(name, body):
            return
        if self.start_error is not None:
            container.error, container.exit_code = self.start_error, 127
            self._write_state(name, "FAILED", None)
            return
        container.status = "running"
        if self.exit_after_start is not None:
            container.exit(self.exit_after_start)
        if self.lose_update:
            self.lose_update = False
            return
        self._write_state(name, "READY", container.cid)

    def _install(self, name: str, body: dict[str, Any]) -> bool:
        """Fetch what the scripts say. False when that does not come to its end."""
        if self.install_s and self._wait(self.install_s):
            return False
        for script in body.get("Scripts", {}).get("Install", ()) if self.install_s else ():
            if name not in self.volumes:
                self.die()  # nobody catches what writing into no folder raises
                return False
            self.volumes[name][script["Path"]] = "fetched"
        if name not in self.containers:
            self._write_state(name, "FAILED", None)
            return False
        return True

    def _write_state(self, name: str, state: str, cid: str | None) -> None:
        self.states[name] = {"state": state, "containerId": cid}

    def _wait(self, seconds: float) -> bool:
        return self._over.wait(seconds) if seconds else self._over.is_set()

    def _list(self) -> Reply:
        if self.docker_down:
            return _error("connect ENOENT /var/run/docker.sock")
        return Reply(
            200,
            [
                {
                    "Id": container.cid,
                    "Names": [f"/{container.name}"],
                    "Image": container.config.get("Image"),
                    "Labels": {},
                    "State": container.status,
                    "Mounts": _mounts(container),
                }
                for container in self.containers.values()
            ],
        )

    def _delete(self, name: str, *, force: bool) -> Reply:
        found = self.find(name)
        if self.docker_down:
            return _error("connect ENOENT /var/run/docker.sock")
        if found is None:
            return _error(f"(HTTP code 404) no such container - No such container: {name} ")
        if not force and found.status == "running":
            text = f"You cannot remove a running container {found.cid}. Stop the container before"
            return _error(
                f"(HTTP code 409) unexpected - {text} attempting removal or force remove "
            )
        del self.containers[found.name]
        if not force:
            return Reply(200, {"message": "Container removed successfully"})
        # It says so, and looks for the volume in a wrong folder.
        return Reply(200, {"message": "Container and associated volume deleted successfully"})

    def _replace(self, name: str, volume: str, body: dict[str, Any]) -> Reply:
        self._write_state(volume, "INSTALLING", None)
        found = self.find(name)
        if found is None:
            return _error(f"(HTTP code 404) no such container - No such container: {name} ")
        del self.containers[found.name]
        if self.pull_error is not None:
            return _error(self.pull_error)
        container = Container(str(body.get("Id")), body, status="running")
        self.containers[container.name] = container
        self._write_state(volume, "READY", container.cid)
        message = "Container redeployed successfully"
        return Reply(200, {"message": message, "containerId": container.cid})

    def _change_power(self, name: str, verb: str) -> Reply:
        if verb not in PAST:
            return Reply(400, {"message": "Invalid power action"})
        if self.docker_down:
            return _error("connect ENOENT /var/run/docker.sock")
        found = self.find(name)
        if found is None:
            return _error(f"(HTTP code 404) no such container - No such container: {name} ")
        trouble = self._find_trouble(found, verb)
        if trouble is not None:
            return trouble
        if verb in ("stop", "kill"):
            found.exit(137 if verb == "kill" or found.ignores_sigterm else 143)
        elif verb in ("start", "restart", "unpause"):
            found.status, found.exit_code = "running", 0
            found.starts += verb != "unpause"
        else:
            found.status = "paused"
        return Reply(200, {"message": f"Container {PAST[verb]} successfully"})

    def _find_trouble(self, container: Container, verb: str) -> Reply | None:  # noqa: PLR0911
        status = container.status
        if container.error and verb in ("start", "restart"):
            return _error(f"(HTTP code 400) unexpected - {container.error} ")
        match verb, status:
            case ("start", "running") | ("stop", "exited" | "created"):
                return Reply(304)
            case "start", "paused":
                text = "cannot start a paused container, try unpause instead"
                return _error(f"(HTTP code 409) unexpected - {text} ")
            case "kill", "exited" | "created":
                text = f"Cannot kill container: {container.name}: Container {container.cid}"
                return _error(f"(HTTP code 409) unexpected - {text} is not running ")
            case "pause", "paused":
                text = f"Container {container.cid} is already paused"
                return _error(f"(HTTP code 409) unexpected - {text} ")
            case "pause", "exited" | "created":
                text = f"Container {container.cid} is not running"
                return _error(f"(HTTP code 409) unexpected - {text} ")
            case "unpause", "running" | "exited" | "created":
                text = f"Container {container.cid} is not paused"
                return _error(f"(HTTP code 500) server error - {text} ")
        return None

    def _list_files(self, volume: str) -> Reply:
        if self.fs_error is not None:
            return _error(self.fs_error)
        if volume not in self.volumes:
            path = f"/daemon/volumes/{volume}"
            return _error(f"ENOENT: no such file or directory, scandir '{path}'")
        for name, content in self.volumes[volume].items():
            if _is_bytes(name) or content in STAT_ERRORS:
                path = f"/daemon/volumes/{volume}/{_as_node_reads(name)}"
                return _error(f"{STAT_ERRORS.get(content, STAT_ERRORS[LOST])}, stat '{path}'")
        files = [
            {"name": name, "isDirectory": False, "isEditable": True, "size": "6.00 B"}
            for name in self.volumes[volume]
        ]
        return Reply(200, {"files": files})

    def _delete_file(self, volume: str, name: str) -> Reply:
        """Delete a file, or a folder with all in it, which the volume itself may be."""
        path = f"/daemon/volumes/{volume}"
        files = self.volumes.get(volume)
        if name == "./" and not self.keeps_folders:
            if files is None:
                return _error(f"{STAT_ERRORS[LOST]}, lstat '{path}'")
            for inner, content in files.items():
                if content in UNLINK_ERRORS:  # what comes after that stays as well
                    return _error(f"{UNLINK_ERRORS[content]} '{path}/{_as_node_reads(inner)}'")
            del self.volumes[volume]
        elif files is None or _is_bytes(name) or name not in files:
            return _error(f"{STAT_ERRORS[LOST]}, lstat '{path}/{name}'")
        elif files[name] in UNLINK_ERRORS:
            return _error(f"{UNLINK_ERRORS[files[name]]} '{path}/{name}'")
        else:
            del files[name]
        return Reply(200, {"message": "File deleted successfully"})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    daemon: FakeSkyportd
    over: threading.Event
    timeout = 5  # as long as it keeps idle connections
    disable_nagle_algorithm = True  # an answer is two packets, and its client acknowledges late

    def _handle(self) -> None:
        daemon = self.daemon
        url = urlsplit(self.path)
        if self.headers.get("Upgrade", "").lower() == "websocket":
            daemon.calls.append(("WS", url.path))
            self.close_connection = True
            with suppress(OSError, EOFError):
                self._converse(url.path)
            return
        daemon.calls.append((self.command, url.path))
        daemon.request_ids.add(self.headers.get("X-Request-Id"))
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            if daemon.silent:
                raise Silence
            if daemon.rubbish is not None:
                self.connection.sendall(daemon.rubbish)
                self.close_connection = True
                return
            self._send(self._find_reply(url.path, raw))
        except Silence:
            self.over.wait(60)
            self.close_connection = True
        except Died:
            daemon.die()
            self.close_connection = True
        if self.over.is_set():
            self.close_connection = True

    def _find_reply(self, path: str, raw: bytes) -> Reply:
        # The body is parsed before anybody asks who is calling.
        body: Any = {}
        if raw and self.headers.get("Content-Type", "").startswith("application/json"):
            wrong = Reply(500, "Something has... gone wrong!", "text/html; charset=utf-8")
            if len(raw) > MAX_BODY:
                return wrong
            try:
                body = json.loads(raw)
            except ValueError:
                return wrong
            if not isinstance(body, (dict, list)):
                return wrong
        expected = base64.b64encode(f"{USER}:{self.daemon.key}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {expected}":
            return Reply(401, "", "text/html", (("WWW-Authenticate", "Basic"),))
        return self.daemon.answer(self.command, path, body if isinstance(body, dict) else {})

    def _converse(self, path: str) -> None:
        """Speak WebSocket, without asking who is calling before the first frame."""
        nonce = self.headers["Sec-WebSocket-Key"] + WEBSOCKET_GUID
        accept = base64.b64encode(hashlib.sha1(nonce.encode()).digest()).decode()
        self.send_response(101)
        for name, value in (("Upgrade", "websocket"), ("Connection", "Upgrade"),
                            ("Sec-WebSocket-Accept", accept)):  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        self.wfile.flush()
        allowed = False
        while (text := self._read_frame()) is not None:
            try:
                message = json.loads(text)
            except ValueError:
                if allowed:
                    self.daemon.die()
                    return
                self._write_frame("Invalid JSON")
                continue
            if message is None:
                self.daemon.die()
                return
            if message.get("event") == "auth" and "args" in message:
                if message["args"][:1] != [self.daemon.key]:
                    self._write_frame("Authentication failed")
                    return
                allowed = True
                self._write_frame("\r\n\x1b[33m[skyportd] \x1b[0mconnected!\r\n")
                container = self.daemon.find(unquote(path.split("/")[2]))
                if container is None:
                    self._write_frame("Container not found")
                else:
                    self._show(container, path)
            elif not allowed:
                self._write_frame("Unauthorized access")
                return
            elif message.get("command") and container is not None:
                container.hear(message["command"])

    def _show(self, container: Container, path: str) -> None:
        """Write what it uses, or what it printed last and prints from then on."""
        seen = len(container.log)
        for frame in container.show(path):
            self._write_frame(frame)
        if path.startswith("/exec/"):
            args = (container, seen)
            threading.Thread(target=self._attach, args=args, daemon=True).start()

    def _attach(self, container: Container, seen: int) -> None:
        """Show what the program prints, as long as it runs."""
        with suppress(OSError, ValueError):  # the connection is closed
            while container.status == "running" and not self.over.wait(0.02):
                new, seen = container.log[seen:], len(container.log)
                for line in new:
                    self._write_frame(f"{line}\r\n"[:9])
                    self._write_frame(f"{line}\r\n"[9:])

    def _read_frame(self) -> str | None:
        head = self._read_exactly(2)
        length = head[1] & 0x7F
        if length == 126:
            length = int.from_bytes(self._read_exactly(2), "big")
        mask = self._read_exactly(4)
        content = bytes(b ^ mask[i % 4] for i, b in enumerate(self._read_exactly(length)))
        return content.decode() if head[0] & 0x0F == 1 else None

    def _read_exactly(self, size: int) -> bytes:
        content = self.rfile.read(size)
        if len(content) < size:
            raise EOFError
        return content

    def _write_frame(self, text: str) -> None:
        content = text.encode()
        size = (
            bytes([len(content)])
            if len(content) < 126
            else b"\x7e" + len(content).to_bytes(2, "big")
        )
        self.wfile.write(b"\x81" + size + content)
        self.wfile.flush()

    def _send(self, reply: Reply) -> None:
        text = reply.body if isinstance(reply.body, str) else json.dumps(reply.body)
        content = b"" if reply.body is None else text.encode()
        self.send_response(reply.status)
        for name, value in reply.headers:
            self.send_header(name, value)
        if reply.status != 304:
            self.send_header("Content-Type", reply.content_type)
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if reply.status != 304:
            self.wfile.write(content)

    do_GET = do_POST = do_DELETE = do_PUT = _handle

    def handle(self) -> None:
        with suppress(OSError):
            super().handle()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _serve(server: ThreadingHTTPServer) -> None:
    with suppress(OSError, ValueError):  # its socket is closed under it when the daemon dies
        server.serve_forever(poll_interval=0.02)


def _error(message: str) -> Reply:
    return Reply(500, {"message": message})


def _is_bytes(name: str) -> bool:
    return any("\udc80" <= character <= "\udcff" for character in name)


def _as_node_reads(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _not_found_here() -> Reply:
    return Reply(404, {"message": "Container not found"})


def _mounts(container: Container) -> list[dict[str, Any]]:
    source = f"/daemon/volumes/{container.config.get('Id')}"
    return [{"Type": "bind", "Source": source, "Destination": "/app/data", "RW": True}]


def _inspect(container: Container) -> dict[str, Any]:
    running = container.status in ("running", "paused")
    config = container.config
    return {
        "Id": container.cid,
        "Created": f"{container.created_at.isoformat()[:-6]}123Z",
        "Name": f"/{container.name}",
        "State": {
            "Status": container.status,
            "Running": running,
            "Paused": container.status == "paused",
            "Restarting": False,
            "OOMKilled": container.oom_killed,
            "Dead": False,
            "ExitCode": container.exit_code,
            "Error": container.error,
            "StartedAt": NEVER if container.status == "created" else container.started_at,
        },
        "RestartCount": 0,
        "Config": {"Image": config.get("Image"), "Env": config.get("Env"),
                   "Cmd": config.get("Cmd")},
        "HostConfig": {
            "Memory": int(float(config.get("Memory") or 0) * 2**20),
            "CpuCount": config.get("Cpu", 0),
            "NetworkMode": "host",
            "PortBindings": config.get("PortBindings"),
        },
        "Mounts": _mounts(container),
    }  # fmt: skip
