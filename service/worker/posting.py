"""Posts a message to a receiver: within bounds, without redirects, to addresses that are allowed.

The name is looked up for each message, and what it means then is what is checked and connected to:
see drivers/dialing. No proxy is used, and no connection is kept.
"""

import http.client
import ssl
import time
from importlib.metadata import version

from service.drivers.bounds import OutOfBounds
from service.drivers.dialing import Dialer
from service.errors import NodeUnreachable
from service.model.addresses import Refuse
from service.webhook_sending import Message, Reply

TIMEOUT_S = 10.0
"""How long all of it may take, from the look-up of the name to the last byte of the answer."""

MAX_ANSWER_BYTES = 64 * 2**10
"""How much of an answer is read, its headers included."""

KEPT_BYTES = 8 * 2**10
"""How much of it is decoded: more than what is kept of it in the end."""

_AGENT = f"skyquay/{version('skyquay')}"


def post(
    message: Message, *, refuse: Refuse, tls: ssl.SSLContext, timeout_s: float = TIMEOUT_S
) -> Reply:
    """Send a message, once. What goes wrong is in the reply; nothing is raised."""
    begun = time.monotonic()
    until = begun + timeout_s
    try:
        connection = _connect(message, refuse, tls, until)
        try:
            status, retry_after, text = _exchange(connection, message)
        finally:
            connection.close()
    except NodeUnreachable as exc:
        return Reply(_count_ms(begun), error=exc.reason)
    except OutOfBounds as exc:
        return Reply(_count_ms(begun), error=f"The receiver does not answer: {exc.phrase}.")
    except (OSError, http.client.HTTPException) as exc:
        return Reply(_count_ms(begun), error=f"The receiver does not answer: {_explain(exc)}.")
    error = None if 200 <= status < 300 else f"The receiver answered {status}."
    if 300 <= status < 400:
        error = f"The receiver answered {status}: redirects are not followed."
    return Reply(_count_ms(begun), status=status, text=text, retry_after=retry_after, error=error)


def _connect(
    message: Message, refuse: Refuse, tls: ssl.SSLContext, until: float
) -> http.client.HTTPConnection:
    target = message.target
    dialer = Dialer("", refuse, tls if target.secure else None, whose="The webhook's")
    opened = dialer.connect(target.host, target.port, until - time.monotonic())
    secured = dialer.secure(opened, target.host)
    secured.limit(until - time.monotonic(), MAX_ANSWER_BYTES)
    connection = http.client.HTTPConnection(target.host, target.port)
    connection.sock = secured
    return connection


def _exchange(
    connection: http.client.HTTPConnection, message: Message
) -> tuple[int, str | None, str]:
    headers = {
        "Host": message.target.authority,
        "User-Agent": _AGENT,
        "Accept-Encoding": "identity",
        "Connection": "close",
        **message.headers,
    }
    connection.request("POST", message.target.path, body=message.body, headers=headers)
    with connection.getresponse() as answer:
        return answer.status, answer.getheader("Retry-After"), _read(answer)


def _read(answer: http.client.HTTPResponse) -> str:
    """Read how the answer begins. Its status counts, however it ends."""
    body = b""
    try:
        while len(body) < MAX_ANSWER_BYTES and (part := answer.read1(4096)):
            body += part
    except (OSError, http.client.HTTPException):
        pass
    return body[:KEPT_BYTES].decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


def _explain(exc: Exception) -> str:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"its certificate is not valid ({exc.verify_message})"
    if isinstance(exc, http.client.HTTPException):
        return "what it sends is no HTTP"
    return str(exc.strerror or exc) if isinstance(exc, OSError) else str(exc)


def _count_ms(begun: float) -> int:
    return round((time.monotonic() - begun) * 1000)
