"""A real nginx with the files of ``deploy/nginx``, and what stands behind it in tests.

In the files only the addresses and the paths of certificates and logs are others.
"""

import getpass
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support import need

FILES = Path(__file__).resolve().parent.parent / "deploy" / "nginx"
LOGS = ("access.log", "error.log")

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
    tls_url: str
    folder: Path
    process: subprocess.Popen[bytes]

    def quit(self) -> str:
        """End it and read its logs: a line is written only after its answer has been sent."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(timeout=30)
        return "".join(self.folder.joinpath(name).read_text() for name in LOGS)


def write_files(
    folder: Path, *, upstreams: Sequence[str], listen: str, listen_tls: str | None = None
) -> list[str]:
    """Lay out nginx's folder as on Debian, and return the command that runs it."""
    site = _replace(
        FILES.joinpath("skyquay.conf").read_text(),
        {"listen 80 default": f"listen {listen} default", "/var/log/nginx": str(folder)},
    )
    first, second = upstreams if len(upstreams) == 2 else upstreams * 2
    lines = FILES.joinpath("upstream.conf").read_text()
    upstream = _replace(lines, {"127.0.0.1:8000": first}).replace(first, second, 1)
    conf_d, skyquay_d = folder / "conf.d", folder / "skyquay.d"
    conf_d.mkdir()
    conf_d.joinpath("skyquay.conf").write_text(site)
    conf_d.joinpath("upstream.conf").write_text(upstream)
    if listen_tls:
        write_certificate(folder)
        tls = FILES.joinpath("tls.conf").read_text()
        without_ipv6 = "".join(line for line in tls.splitlines(True) if "listen [" not in line)
        changes = {"listen 443 ": f"listen {listen_tls} ", "/etc/skyquay/tls": str(folder)}
        skyquay_d.mkdir()
        skyquay_d.joinpath("tls.conf").write_text(_replace(without_ipv6, changes))
    conf = folder / "nginx.conf"
    conf.write_text(NGINX_CONF.format(user=getpass.getuser(), folder=folder))
    return [need("nginx"), "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(conf)]


def _replace(text: str, changes: dict[str, str]) -> str:
    for before, after in changes.items():
        assert before in text, f"the shipped file has no {before!r}"
        text = text.replace(before, after)
    return text


def write_certificate(folder: Path) -> None:
    """Make a certificate that vouches for itself and for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Skyquay of the tests")])
    now = datetime.now(UTC)
    loopback = x509.IPAddress(IPv4Address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([loopback]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    folder.joinpath("fullchain.pem").write_bytes(certificate.public_bytes(encoding))
    folder.joinpath("privkey.pem").write_bytes(
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


@contextmanager
def run_nginx(folder: Path, *upstreams: str, tls: bool = False) -> Iterator[Nginx]:
    """Run nginx in front of these addresses on free loopback ports, and end it afterwards."""
    with ExitStack() as sockets:
        plain, secure = (
            sockets.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)
        )
        listen, listen_tls = ("{}:{}".format(*each.getsockname()) for each in (plain, secure))
        command = write_files(
            folder, upstreams=upstreams, listen=listen, listen_tls=listen_tls if tls else None
        )
        # nginx takes over sockets that listen already, as in an upgrade of itself. So there is
        # no port to lose to somebody else, and nothing to wait for: early requests queue.
        passed = [each.fileno() for each in ((plain, secure) if tls else (plain,))]
        process = subprocess.Popen(
            command,
            env={**os.environ, "NGINX": "".join(f"{number};" for number in passed)},
            pass_fds=passed,
        )
    try:
        yield Nginx(f"http://{listen}", f"https://{listen_tls}", folder, process)
    finally:
        process.terminate()
        process.wait(timeout=10)


class Upstream(ThreadingHTTPServer):
    """Stands behind nginx in Skyquay's place, and notes what reaches it."""

    daemon_threads = True

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler], None]) -> None:
        self.answer = answer
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.connections = 0
        super().__init__(("127.0.0.1", 0), _Handler)
        self.address = f"127.0.0.1:{self.server_port}"

    def count(self, method: str) -> int:
        """Count the requests of a method that reached it."""
        return [seen for seen, _, _ in self.requests].count(method)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Upstream

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline()
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.server.requests.append((self.command, self.path, dict(self.headers)))
        self.server.answer(self)


def answer_ok(request: BaseHTTPRequestHandler) -> None:
    """Answer 200 and `{}`."""
    request.send_response_only(200)
    request.send_header("Content-Length", "2")
    request.end_headers()
    request.wfile.write(b"{}")


def hang_up(request: BaseHTTPRequestHandler) -> None:
    """Close the connection without a word, as the system does for a process that was killed."""
    request.close_connection = True


@contextmanager
def run_upstream(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[Upstream]:
    """Run a stand-in that answers each request so, and end it afterwards."""
    with Upstream(answer) as upstream:
        thread = threading.Thread(target=upstream.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield upstream
        finally:
            upstream.shutdown()
            thread.join()
