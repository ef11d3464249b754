"""Why a node does not answer, in plain words: what Python and its packages raise is for programs.

An error is known by its type and its codes, and those of the errors that it comes from; never by
its text, which names classes and objects of ours.
"""

import errno
import http.client
import socket
import ssl
from collections.abc import Iterator

import requests
import urllib3

from service.drivers.bounds import Compressed, OutOfBounds, TooLarge
from service.errors import NodeFailure, NodeUnreachable

_CLOSED = "it closed the connection"
_ODD = "what it answers is not understood"
_NO_TLS = "it does not speak TLS there"
_NOT_ACCEPTED = "it does not accept our TLS certificate"

_UNTRUSTED = "its TLS certificate is not trusted"
_BY_VERIFY_CODE = {  # OpenSSL's X509_V_ERR_...
    9: "its TLS certificate is not valid yet",
    10: "its TLS certificate has expired",
    62: "its TLS certificate is for another name",
    64: "its TLS certificate is for another address",
}
_BY_TLS_REASON = {
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "HTTP_REQUEST": _NO_TLS,
    "UNEXPECTED_EOF_WHILE_READING": _CLOSED,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _NOT_ACCEPTED,
    "TLSV1_ALERT_UNKNOWN_CA": _NOT_ACCEPTED,
    "TLSV1_ALERT_ACCESS_DENIED": _NOT_ACCEPTED,
    "SSLV3_ALERT_BAD_CERTIFICATE": _NOT_ACCEPTED,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": _NOT_ACCEPTED,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _NOT_ACCEPTED,
}
_BY_ERRNO = {
    errno.ENOENT: "there is no such socket",
    errno.ENOTSOCK: "there is no such socket",
    errno.EACCES: "the socket may not be used",
    errno.EPERM: "the connection is not permitted",
    errno.ENETUNREACH: "its network cannot be reached",
    errno.EHOSTUNREACH: "its machine cannot be reached",
    errno.EMFILE: "too many files are open here",
    errno.ENFILE: "too many files are open here",
}
_BY_TYPE: dict[type[BaseException], str] = {
    requests.TooManyRedirects: "it redirects elsewhere, which is not followed",
    socket.gaierror: "its name is not known",
    ConnectionRefusedError: "the connection was refused",
    ConnectionError: _CLOSED,
    http.client.IncompleteRead: _CLOSED,
    urllib3.exceptions.IncompleteRead: _CLOSED,
    urllib3.exceptions.NewConnectionError: "there is no connection to it",
    TimeoutError: "there was no answer in time",
    requests.Timeout: "there was no answer in time",
    urllib3.exceptions.TimeoutError: "there was no answer in time",
    requests.ConnectionError: "there is no connection to it",
    http.client.HTTPException: _ODD,
}
"""The more special ones come first."""


def explain_silence(exc: BaseException) -> str:
    """Say why there was no answer, to follow "It does not answer: "."""
    return next(filter(None, map(_explain, _trace(exc))), _ODD)


def translate(node_id: str, exc: Exception, *, who: str, what: str) -> NodeFailure:
    """Turn any error of a call into one of ours.

    `who` was called, such as "The Docker Engine", and should be `what`, such as "Docker Engine".
    """
    if isinstance(exc, NodeFailure):
        return exc
    if isinstance(exc, requests.TooManyRedirects):
        return NodeFailure(node_id, "What answers there redirects elsewhere. It is not followed.")
    if not isinstance(
        exc,
        (
            requests.RequestException,
            urllib3.exceptions.HTTPError,
            http.client.HTTPException,
            OSError,
        ),
    ) or isinstance(exc, requests.exceptions.JSONDecodeError):
        return NodeFailure(node_id, f"What answers there is no {what}.")
    # An answer that is out of bounds is one all the same: trying it for ever does not help.
    is_answer = any(isinstance(each, (TooLarge, Compressed)) for each in _trace(exc))
    kind = NodeFailure if is_answer else NodeUnreachable
    return kind(node_id, f"{who} does not answer: {explain_silence(exc)}.")


def _trace(exc: BaseException) -> Iterator[BaseException]:
    """List the errors that led to this one, the first one first."""
    found: list[BaseException] = []
    now: BaseException | None = exc
    while now is not None and now not in found:
        found.append(now)
        now = now.__cause__ or (None if now.__suppress_context__ else now.__context__)
    yield from reversed(found)


def _explain(exc: BaseException) -> str | None:
    if isinstance(exc, OutOfBounds):
        return exc.phrase
    if isinstance(exc, ssl.SSLCertVerificationError):
        return _BY_VERIFY_CODE.get(exc.verify_code, _UNTRUSTED)
    if isinstance(exc, ssl.SSLError):
        return _BY_TLS_REASON.get(exc.reason or "", "TLS failed")
    for kind, phrase in _BY_TYPE.items():
        if isinstance(exc, kind):
            return phrase
    return _BY_ERRNO.get(exc.errno or 0) if isinstance(exc, OSError) else None
