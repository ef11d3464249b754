"""TLS to nodes: certificates and keys as somebody sent them, and what is made of them."""

import os
import ssl

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

_MISMATCHES = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")


def check_certificates(text: str) -> None:
    """Raise ValueError, with a sentence, unless the text is one certificate or more."""
    try:
        x509.load_pem_x509_certificates(text.encode("ascii"))
    except ValueError as exc:
        raise ValueError("Must be certificates in PEM.") from exc


def check_key(text: str) -> None:
    """Raise ValueError, with a sentence, unless the text is a private key without a password."""
    try:
        load_pem_private_key(text.encode("ascii"), password=None)
    except TypeError as exc:
        raise ValueError("Must not need a password.") from exc
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise ValueError("Must be a private key in PEM.") from exc


def check_pair(cert: str, key: str) -> None:
    """Raise ValueError, with a sentence, unless the key is the certificate's and can be used."""
    try:
        make_context(cert=cert, key=key)
    except ssl.SSLError as exc:
        if exc.reason in _MISMATCHES:
            raise ValueError("Is not the key of the certificate.") from exc
        raise ValueError(f"Cannot be used with the certificate: {exc.reason}.") from exc


def make_context(
    *, ca: str | None = None, cert: str | None = None, key: str | None = None
) -> ssl.SSLContext:
    """Make what a client needs to speak TLS: whom it trusts, and who it is.

    Without `ca` it trusts whom the system trusts. Raises ssl.SSLError for what cannot be used.
    """
    context = ssl.create_default_context(cadata=ca)
    # Newer versions of Python are strict with fields that private CAs often leave out.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if cert is not None and key is not None:
        # Python reads them from files only. This one is in memory, where no program that runs as
        # the same user finds it, such as an instance of a `process` node.
        with open(os.memfd_create("certificate"), "w", encoding="ascii") as file:
            file.write(f"{cert}\n{key}\n")
            file.flush()
            context.load_cert_chain(f"/proc/self/fd/{file.fileno()}", password="")
    return context
