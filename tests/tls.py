"""Certificates for tests, and a proxy that speaks TLS in front of what does not."""

import ipaddress
import select
import socket
import ssl
import threading
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

SERVER = x509.SubjectAlternativeName(
    [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("node.test")]
)


Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as PEM."""

    cert: str
    key: str


class Authority:
    """Somebody who signs certificates."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority")])
        basic = x509.BasicConstraints(ca=True, path_length=None)
        self.pem = _print(self._sign(self._name, self._key.public_key(), basic))

    def issue(self, *extensions: x509.ExtensionType, key: Key | None = None) -> Pair:
        """Sign a certificate for somebody."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody")])
        return Pair(_print(self._sign(name, key.public_key(), *extensions)), print_key(key))

    def _sign(
        self,
        name: x509.Name,
        key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
        *extensions: x509.ExtensionType,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(
            issuer_name=self._name,
            subject_name=name,
            public_key=key,
            serial_number=x509.random_serial_number(),
            not_valid_before=now - timedelta(hours=1),
            not_valid_after=now + timedelta(hours=1),
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self._key, hashes.SHA256())


def print_key(key: Key, password: bytes | None = None) -> str:
    """Write a key as PEM."""
    secrecy = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, secrecy).decode()


def _print(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


class TlsProxy:
    """Hands what comes in over TLS, from who has a certificate, on to a plain socket."""

    def __init__(
        self, authority: Authority, target: str | tuple[str, int], *, ask_client: bool = True
    ) -> None:
        """`target` is the path of a Unix socket, or a host and port."""
        self._target = target
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=authority.pem)
        self._context.verify_mode = ssl.CERT_REQUIRED if ask_client else ssl.CERT_NONE
        server = authority.issue(SERVER)
        with TemporaryDirectory() as folder:
            path = Path(folder, "server.pem")
            path.write_text(server.cert + server.key)
            self._context.load_cert_chain(path)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]

    def __enter__(self) -> "TlsProxy":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with closing(connection), suppress(OSError):
            connection.settimeout(60)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._context.wrap_socket(connection, server_side=True) as near:
                family = socket.AF_UNIX if isinstance(self._target, str) else socket.AF_INET
                with socket.socket(family) as far:
                    far.connect(self._target)
                    if family == socket.AF_INET:
                        far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    _pipe(near, far)


def _pipe(near: ssl.SSLSocket, far: socket.socket) -> None:
    while True:
        ready = [near] if near.pending() else select.select([near, far], [], [], 60)[0]
        for source in ready:
            content = source.recv(65536)
            if not content:
                return
            (far if source is near else near).sendall(content)
