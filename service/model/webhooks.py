"""Webhooks: which addresses they may have, how they are signed, when they are tried again (pure).

Signatures are those of Standard Webhooks: an HMAC of SHA-256 over `<id>.<timestamp>.<body>`.
"""

import base64
import binascii
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from urllib.parse import urlsplit

from service.model import addresses
from service.model.addresses import Refuse
from service.model.public_addresses import parse_host, print_endpoint

SECRET_PREFIX = "whsec_"  # noqa: S105 - how all secrets begin
SHORTEST_SECRET, LONGEST_SECRET = 24, 64
"""Bytes, as Standard Webhooks says."""

RETRY_S = (5.0, 30.0, 120.0, 600.0, 3600.0, 3 * 3600.0, 6 * 3600.0, 12 * 3600.0)
"""How long after each failed attempt the next one is made. After the last one there is none."""

JITTER = 0.2
"""How much is added to that by chance, as a part of it."""

LONGEST_RETRY_S = 6 * 3600.0
"""How long a receiver may ask us to wait by `Retry-After`."""

TEST = "webhook.test"
"""The type of the event that tests a webhook. Nothing happened."""

LOOPBACK = (
    "It is this machine itself, where programs listen that trust it. "
    "Needs the setting SKYQUAY_ALLOW_LOOPBACK_WEBHOOKS=1."
)


class DeliveryStatus(StrEnum):
    """What became of a delivery. It waits until it is sent, and again after it failed."""

    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    DROPPED = "dropped"


class DisabledReason(StrEnum):
    """Why nothing is sent to a webhook."""

    REQUESTED = "requested"
    KEY_REVOKED = "key_revoked"
    KEY_EXPIRED = "key_expired"
    USER_DELETED = "user_deleted"
    RECEIVER_GONE = "receiver_gone"
    RECEIVER_FAILS = "receiver_fails"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a webhook's URL leads."""

    secure: bool
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """Return the host as the header of this name has it."""
        if self.port == (443 if self.secure else 80):
            return f"[{self.host}]" if ":" in self.host else self.host
        return print_endpoint(self.host, self.port)


def parse_url(text: str) -> Target:
    """Read an http or https URL without a user, a password or a fragment. Raises ValueError."""
    if not text.isascii() or not text.isprintable() or set(text) & set(' "<>\\^`{|}'):
        raise ValueError("Must have ASCII characters only, and others percent-encoded.")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as exc:
        raise ValueError("Must be a URL like https://example.org/hooks.") from exc
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("Must be a URL like https://example.org/hooks.")
    if "@" in parts.netloc:
        raise ValueError("Must have no user and no password.")
    if "#" in text:
        raise ValueError("Must have no fragment: nothing after a #.")
    if port == 0:
        raise ValueError("Must have a port between 1 and 65535.")
    secure = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(secure, parse_host(parts.hostname), port or (443 if secure else 80), path)


def make_rule(*, allow_loopback: bool, is_limited: bool) -> Refuse:
    """Say which addresses are not called for a key: a limited one reaches public ones alone."""

    def refuse(ip: str) -> str | None:
        reason = addresses.refusal(ip, allow_loopback=allow_loopback)
        if reason is not None:
            return LOOPBACK if reason == addresses.LOOPBACK else reason
        if is_limited and not addresses.is_public(ip):
            return "It is private, and the key of the webhook is limited."
        return None

    return refuse


def print_secret(secret: bytes) -> str:
    """Write a secret as receivers are given it."""
    return SECRET_PREFIX + base64.b64encode(secret).decode()


def parse_secret(text: str) -> bytes:
    """Read a secret. Raises ValueError."""
    try:
        secret = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if not text.startswith(SECRET_PREFIX) or not SHORTEST_SECRET <= len(secret) <= LONGEST_SECRET:
        raise ValueError(
            f"Must be {SECRET_PREFIX} and {SHORTEST_SECRET} to {LONGEST_SECRET} bytes in base64."
        )
    return secret


def sign(secrets: Iterable[str], message_id: str, *, timestamp: int, body: bytes) -> str:
    """Sign a message with each of the secrets."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digests = (hmac.digest(parse_secret(each), signed, "sha256") for each in secrets)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


def find_retry_s(failures: int, *, chance: float, asked_s: float | None = None) -> float | None:
    """Return after how many seconds a delivery is tried again that failed so often; None: never.

    `chance` is between 0 and 1, `asked_s` what the receiver asked for.
    """
    if failures > len(RETRY_S):
        return None
    planned_s = RETRY_S[failures - 1] * (1 + JITTER * chance)
    return max(planned_s, min(asked_s or 0.0, LONGEST_RETRY_S))


def parse_retry_after(text: str | None, *, now: datetime) -> float | None:
    """Read the header `Retry-After`: seconds, or a time. None: it says nothing that can be read."""
    if text is None:
        return None
    if text.strip().isdecimal() and len(text) < 12:
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    return (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds()
