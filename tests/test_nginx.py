"""nginx in front of Skyquay.

It is the real one of this machine with the real files of ``deploy/nginx``, in which only
the addresses and the paths of the logs are others.
"""

import getpass
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.support import need

ROOT = Path(__file__).resolve().parent.parent
NGINX_FILES = ROOT / "deploy" / "nginx"

NGINX_CONF = """
user {user};
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/conf.d/*.conf;
}}
"""


@dataclass(frozen=True)
class Nginx:
    """A running nginx: where it listens and what it writes."""

    url: str
    folder: Path
    process: subprocess.Popen[bytes]

    def quit(self) -> str:
        """End it and read its logs: a line is written only after its answer has been sent."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(timeout=30)
        return "".join(self.folder.joinpath(name).read_text() for name in LOGS)


LOGS = ("access.log", "error.log")


def write_nginx_files(folder: Path, *, listen: str, upstream: str) -> list[str]:
    """Lay out nginx's folder as on Debian, and tell the command that runs it."""
    conf_d = folder / "conf.d"
    conf_d.mkdir()
    site = NGINX_FILES.joinpath("skyquay.conf").read_text()
    site = site.replace("listen 80 default_server;", f"listen {listen} default_server;")
    conf_d.joinpath("skyquay.conf").write_text(site.replace("/var/log/nginx", str(folder)))
    address = NGINX_FILES.joinpath("upstream.conf").read_text()
    conf_d.joinpath("upstream.conf").write_text(address.replace("127.0.0.1:8000", upstream))
    conf = folder / "nginx.conf"
    conf.write_text(NGINX_CONF.format(user=getpass.getuser(), folder=folder))
    return [need("nginx"), "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(conf)]


@contextmanager
def run_nginx(folder: Path, *, upstream: str) -> Iterator[Nginx]:
    """Run nginx in front of `upstream` on a free loopback port, and end it afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        command = write_nginx_files(folder, listen=f"{host}:{port}", upstream=upstream)
        # nginx takes over a socket that listens already, as in an upgrade of itself. So there is
        # no port to lose to somebody else, and nothing to wait for: early requests queue.
        process = subprocess.Popen(
            command,
            env={**os.environ, "NGINX": f"{listener.fileno()};"},
            pass_fds=[listener.fileno()],
        )
    try:
        yield Nginx(url=f"http://{host}:{port}", folder=folder, process=process)
    finally:
        process.terminate()
        process.wait(timeout=10)


@pytest.fixture
def nginx(tmp_path, live_server):
    """nginx in front of the real application."""
    with run_nginx(tmp_path, upstream=urlsplit(live_server.url).netloc) as running:
        yield running


@pytest.fixture
def lonely_nginx(tmp_path):
    """nginx in front of nothing: the port of its upstream is held by a socket that is deaf."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        host, port = deaf.getsockname()
        with run_nginx(tmp_path, upstream=f"{host}:{port}") as running:
            yield running


def test_nginx_accepts_the_files(tmp_path):
    """
    The nginx of Debian finds nothing wrong with the site and the upstream.
    """
    command = write_nginx_files(tmp_path, listen="127.0.0.1:80", upstream="127.0.0.1:8000")

    result = subprocess.run(
        [*command, "-t"], capture_output=True, text=True, timeout=30, check=False
    )

    assert (0, False) == (result.returncode, "[warn]" in result.stderr), result.stderr


def test_root_is_json_through_nginx(nginx):
    """
    GET / answers 200 and JSON without a key: clients do not start without it.
    """
    answer = requests.get(f"{nginx.url}/", timeout=10)

    assert (200, "application/json") == (answer.status_code, answer.headers["Content-Type"])
    assert dict is type(answer.json())


def test_nginx_does_not_tell_its_version(nginx):
    """
    The Server header has no version number in it.
    """
    answer = requests.get(f"{nginx.url}/", timeout=10)

    assert "nginx" == answer.headers["Server"]


def test_delete_with_a_body_reaches_the_application(nginx, live_server):
    """
    The body of a DELETE is passed on: the application answers about the id that stands in it.
    """
    answer = requests.delete(
        f"{nginx.url}/api/instance/delete",
        json={"id": "i-that-is-nowhere"},
        headers={"x-api-key": live_server.key},
        timeout=30,
    )

    assert 400 == answer.status_code
    assert "i-that-is-nowhere" in answer.text


@pytest.mark.parametrize("size", [1024 * 1024 + 1, 4 * 1024 * 1024], ids=["a little", "much"])
def test_a_body_that_is_too_large_is_refused_in_json(nginx, live_server, size):
    """
    Just past 1 MiB the application answers 413, well past it nginx does: in JSON both.
    """
    answer = requests.post(
        f"{nginx.url}/api/getUser",
        data=b'{"type": "email", "value": "' + b"x" * size + b'"}',
        headers={"x-api-key": live_server.key, "Content-Type": "application/json"},
        timeout=30,
    )

    assert 413 == answer.status_code
    assert {"error", "code", "details"} == set(answer.json())


def test_a_body_of_the_limit_passes_nginx(nginx, live_server):
    """
    nginx lets a body of just under 1 MiB through: it is the application that reads and judges it.
    """
    value = "x" * (1024 * 1024 - 100)

    answer = requests.post(
        f"{nginx.url}/api/getUser",
        json={"type": "email", "value": value},
        headers={"x-api-key": live_server.key},
        timeout=30,
    )

    assert 400 == answer.status_code


def test_a_request_id_comes_back(nginx):
    """
    The id that a client gives its request is passed on, and stands in the answer and in the log.
    """
    answer = requests.get(f"{nginx.url}/", headers={"X-Request-Id": "order-66.a_B"}, timeout=10)

    assert "order-66.a_B" == answer.headers["X-Request-Id"]
    assert '"request_id":"order-66.a_B"' in nginx.quit()


@pytest.mark.parametrize("sent", [None, "", "two words", "x" * 65, 'quo"te'])
def test_a_request_without_a_usable_id_gets_one(nginx, sent):
    """
    Where no id is given, or one that is not safe to log, nginx makes one.
    """
    answer = requests.get(f"{nginx.url}/", headers={"X-Request-Id": sent}, timeout=10)

    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["X-Request-Id"])


def test_json_is_compressed(nginx):
    """
    A long JSON answer is compressed for clients that can read it, and is the same.
    """
    url = f"{nginx.url}/openapi.json"

    packed = requests.get(url, headers={"Accept-Encoding": "gzip"}, timeout=10)
    plain = requests.get(url, headers={"Accept-Encoding": "identity"}, timeout=10)

    assert ("gzip", None) == tuple(a.headers.get("Content-Encoding") for a in (packed, plain))
    assert plain.json() == packed.json()


def test_no_key_of_a_node_is_logged(nginx):
    """
    Enrolling a node sends its keys in the query string; nginx logs the path without them.
    """
    query = "authKey=old-hunter2&configureKey=once-hunter2&accessKey=new-hunter2"

    requests.post(f"{nginx.url}/nodes/configure?{query}", timeout=10)

    logs = nginx.quit()
    assert '"path":"/nodes/configure"' in logs
    assert "hunter2" not in logs


def test_an_absent_application_is_answered_in_json(lonely_nginx):
    """
    While Skyquay is away nginx answers 503 in JSON, says when to try again and keeps the id.
    """
    answer = requests.get(
        f"{lonely_nginx.url}/api/users", headers={"X-Request-Id": "order-66"}, timeout=10
    )

    assert 503 == answer.status_code
    assert {"error", "code", "details"} == set(answer.json())
    assert ("2", "order-66") == (answer.headers["Retry-After"], answer.headers["X-Request-Id"])


@pytest.mark.parametrize("path", ["/nodes/configure", "/nodes/configure/"])
def test_no_key_of_a_node_is_logged_while_the_application_is_absent(lonely_nginx, path):
    """
    The error log, too, stays free of the keys of nodes when a request for it fails.
    """
    requests.post(f"{lonely_nginx.url}{path}?accessKey=new-hunter2", timeout=10)

    logs = lonely_nginx.quit()
    assert f'"path":"{path}"' in logs
    assert "hunter2" not in logs


@pytest.mark.parametrize(
    ("path", "header", "status"),
    [("x" * 20_000, "short", 414), ("", "x" * 40_000, 400)],
    ids=["a long URL", "a long header"],
)
def test_what_nginx_cannot_take_is_answered_in_json(lonely_nginx, path, header, status):
    """
    A request that nginx itself refuses is answered in JSON as well.
    """
    answer = requests.get(f"{lonely_nginx.url}/{path}", headers={"X-Long": header}, timeout=10)

    assert status == answer.status_code
    assert {"error", "code", "details"} == set(answer.json())
