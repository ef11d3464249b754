"""The certificates of a node on the wire."""

import ssl
from typing import Any

import marshmallow as ma
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from service.contract.base import Request
from service.model.tls import load_pair

MAX_PEM = 65536
MISSING = "Missing data for required field."

_MISMATCHES = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")
_CA = """-----BEGIN CERTIFICATE-----
MIIBgDCCASegAwIBAgIUXLyQMdkj42u4p7r5tWqLFJbHGjwwCgYIKoZIzj0EAwIw
FTETMBEGA1UEAwwKRXhhbXBsZSBDQTAgFw0yNjExMjUxMTI1MTdaGA8yMTI2MTEw
MTExMjUxN1owFTETMBEGA1UEAwwKRXhhbXBsZSBDQTBZMBMGByqGSM49AgEGCCqG
SM49AwEHA0IABFxkdn2cbLYS3rRlq9DkNhVLoxwxjtvSXn2xxqYN7sB1n6YR3KKC
gk52x9+pJzkQM5rOFD2axpyTm6nbn2Eo0SajUzBRMB0GA1UdDgQWBBSsy3ODcixQ
UWVjegKrAcyEv7PGoDAfBgNVHSMEGDAWgBSsy3ODcixQUWVjegKrAcyEv7PGoDAP
BgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0cAMEQCIEmb1h6BbfE7j4hTURNP
I64jI8/5iooK7zF5bX271m8TAiAMmN/E9IwaP1qnLKoCwH+ngQCZbJwtZI315gzU
tBoCUw==
-----END CERTIFICATE-----
"""


def _pem(description: str, **metadata: str) -> ma.fields.String:
    return ma.fields.String(
        validate=ma.validate.Length(max=MAX_PEM),
        metadata={"description": f"PEM. {description}", **metadata},
    )


PAIR = frozenset({"cert", "key"})
"""What is given together or not at all."""


class NodeTls(Request[dict[str, str]]):
    """How a node is called over TLS."""

    ca = _pem("The CA of the node's certificate; the system's CAs if absent.", sample=_CA)
    cert = _pem("Skyquay's client certificate for this node.")
    key = _pem("Its private key, without a password. Kept encrypted, and never answered.")

    @ma.validates("ca", "cert")
    def check_certificates(self, text: str, **kwargs: Any) -> None:
        """Raise unless the text is one certificate or more."""
        try:
            x509.load_pem_x509_certificates(text.encode("ascii"))
        except ValueError as exc:
            raise ma.ValidationError("Must be certificates in PEM.") from exc

    @ma.validates("key")
    def check_key(self, text: str, **kwargs: Any) -> None:
        """Raise unless the text is a private key without a password."""
        try:
            load_pem_private_key(text.encode("ascii"), password=None)
        except TypeError as exc:
            raise ma.ValidationError("Must not need a password.") from exc
        except (ValueError, UnsupportedAlgorithm) as exc:
            raise ma.ValidationError("Must be a private key in PEM.") from exc

    @ma.validates_schema
    def check_pair(self, loaded: dict[str, str], **kwargs: Any) -> None:
        """Raise for one without the other, and unless the key is the certificate's."""
        missing = PAIR - loaded.keys()
        if len(missing) == 1:
            raise ma.ValidationError({name: [MISSING] for name in missing})
        if missing:
            return
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            load_pair(context, cert=loaded["cert"], key=loaded["key"])
        except ssl.SSLError as exc:
            problem = f"Cannot be used with the certificate: {exc.reason}."
            if exc.reason in _MISMATCHES:
                problem = "Is not the key of the certificate."
            raise ma.ValidationError(problem, "key") from exc
