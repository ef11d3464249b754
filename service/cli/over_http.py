"""The API over HTTP: bounded in time, verified, and sent again only where that is safe."""

import re
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from ipaddress import ip_address
from urllib.parse import urlsplit

import click
import requests

from service.cli.connection import Answer, Request
from service.cli.failures import Unreachable

CONNECT_S = 5.0
SILENCE_S = 45.0
"""How long an answer that goes on may be silent: the server breaks its silence each 15 s."""

TIMEOUT_S = 30.0
"""How long an answer may take, beside what it was asked to wait."""


class HttpTransport:
    """A Skyquay at a URL, with an API key."""

    is_local = False

    def __init__(
        self, url: str, key: str, *, ca: str | None = None, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._session = requests.Session()
        self._session.headers.update({"x-api-key": key, "User-Agent": "skyquay"})
        # Without it a password of ~/.netrc would go along.
        self._session.auth = lambda prepared: prepared
        self._ca = ca

    def send(self, request: Request, *, wait_s: float = 0) -> Answer:
        """Send a request, and once more if the connection broke and a repeat does no more.

        Raises Unreachable, within the time that an answer may take.
        """
        timeout_s = self._timeout_s + wait_s
        with self._explained(request, timeout_s):
            return _bounded(lambda: self._try(request, timeout_s), timeout_s)

    def stream(self, request: Request) -> Generator[bytes, None, Answer]:
        """Yield what is sent of an answer that goes on, until its connection breaks."""
        with self._explained(request, self._timeout_s):
            answer = self._ask(request, self._timeout_s, read_s=SILENCE_S, stream=True)
        with closing(answer):
            if answer.status_code != requests.codes.ok:
                return self._read(answer)
            with suppress(requests.RequestException, OSError):
                yield from answer.iter_content(None)
            return Answer(answer.status_code, "", answer.headers)

    @contextmanager
    def _explained(self, request: Request, timeout_s: float) -> Iterator[None]:
        """Raise Unreachable, with a reason in words, for whatever is between us and the server."""
        try:
            yield
        except UnicodeError as exc:
            raise click.UsageError("--as and --if-match have characters of Latin-1 only.") from exc
        except requests.Timeout as exc:
            raise Unreachable(self._explain_silence(request, timeout_s)) from exc
        except requests.exceptions.SSLError as exc:
            raise Unreachable(
                f"{self._url} cannot be trusted: {_find_reason(exc)}. "
                "Name its CA with --ca or REQUESTS_CA_BUNDLE if it is one of yours."
            ) from exc
        except (requests.RequestException, OSError) as exc:
            raise Unreachable(f"{self._url} cannot be reached: {_find_reason(exc)}.") from exc

    def _try(self, request: Request, timeout_s: float) -> Answer:
        try:
            return self._send_once(request, timeout_s)
        except requests.ConnectionError as exc:
            is_broken = not isinstance(exc, (requests.Timeout, requests.exceptions.SSLError))
            if not (is_broken and request.may_repeat):
                raise
        return self._send_once(request, timeout_s)

    def _send_once(self, request: Request, timeout_s: float) -> Answer:
        return self._read(self._ask(request, timeout_s, read_s=timeout_s))

    def _ask(
        self, request: Request, timeout_s: float, *, read_s: float, stream: bool = False
    ) -> requests.Response:
        return self._session.request(
            request.method,
            self._url + request.path,
            params=request.query,
            json=request.body,
            headers=request.headers,
            timeout=(min(CONNECT_S, timeout_s), read_s),
            verify=self._ca,
            stream=stream,
            # The key would go along to wherever it leads.
            allow_redirects=False,
        )

    def _read(self, answer: requests.Response) -> Answer:
        answer.encoding = "utf-8"
        kind = answer.headers.get("Content-Type", "")
        if 300 <= answer.status_code < 400:
            raise Unreachable(
                f"{self._url} leads to {answer.headers.get('Location')}: give that as the URL."
            )
        try:
            if answer.content:
                answer.json()
        except ValueError as exc:
            raise Unreachable(
                f"What answers at {self._url} is not Skyquay: status {answer.status_code}, "
                f"{kind or 'of no type'}."
            ) from exc
        return Answer(answer.status_code, answer.text, answer.headers)

    def _explain_silence(self, request: Request, timeout_s: float) -> str:
        sentence = f"{self._url} did not answer within {timeout_s:g} s."
        if request.method == "GET":
            return sentence
        return f"{sentence} It may have done it all the same: look before you repeat it."


def _bounded(work: Callable[[], Answer], timeout_s: float) -> Answer:
    """Do the work, or raise Timeout: one who sends a byte now and then answers in no time."""
    outcome: list[Answer | BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as exc:  # noqa: BLE001 - it is raised again, by who waits
            outcome.append(exc)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(timeout_s + 1)
    if not outcome:
        raise requests.Timeout
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


def _find_reason(exc: BaseException) -> str:
    """Find the innermost reason of an error, without the objects that it went through."""
    inner = exc
    while (cause := getattr(inner, "reason", None) or next(iter(inner.args), None)) is not None:
        if not isinstance(cause, BaseException):
            break
        inner = cause
    reason = getattr(inner, "strerror", None) or getattr(inner, "verify_message", None)
    return re.sub(r".*: |\[Errno \d+\] ", "", str(reason or inner)).rstrip(".")


def parse_url(text: str) -> str:
    """Read a server's URL. Raises UsageError for one that cannot be."""
    parts = urlsplit(text)
    try:
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.username is not None or parts.query or parts.fragment:
        raise click.UsageError(
            f"{text!r} is no URL of a server: it is like https://skyquay.example.org."
        )
    return text.rstrip("/")


def parse_key(text: str) -> str:
    """Read an API key. Raises UsageError for one that cannot be."""
    key = text.strip()
    if not key or not all("!" <= character <= "~" for character in key):
        raise click.UsageError("That is no API key: it has visible ASCII characters, no spaces.")
    return key


def is_exposed(url: str) -> bool:
    """Return whether others on the way can read what is sent to this URL."""
    parts = urlsplit(url)
    if parts.scheme == "https" or parts.hostname is None or parts.hostname == "localhost":
        return False
    try:
        return not ip_address(parts.hostname).is_loopback
    except ValueError:
        return True
