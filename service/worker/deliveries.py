"""Sends deliveries to webhooks, in threads of their own, so that no receiver slows anything else.

A delivery that its receiver keeps waiting blocks a thread, and does nothing else. So after SLOW_S
it no longer counts among the THREADS; it is one of those that are held, which are many, but bounded
too. A webhook has a few at a time, and one whose last attempt failed has one.
"""

import logging
import random
import secrets
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache

from service import webhook_sending
from service.errors import NoSecretKey, ServiceError, StoreFailure
from service.model import webhooks
from service.model.addresses import Refuse
from service.model.documents import Delivery, Webhook
from service.model.webhooks import DeliveryStatus, DisabledReason
from service.store import Store
from service.webhook_sending import Print, Reply
from service.worker.posting import TIMEOUT_S, post

log = logging.getLogger(__name__)

THREADS = 16
"""How many deliveries one worker sends at a time to receivers that answer soon."""

HELD = 240
"""How many more may wait for receivers that do not."""

SLOW_S = 0.5
"""After how many seconds a delivery is one of those."""

EACH = 4
"""How many deliveries of one webhook are sent at a time."""

EACH_HOST = 8
"""How many are sent to one host and port at a time."""

LEASE_S = 30.0
"""How long a worker may take for one delivery before another sends it again."""

REST_S = 0.5
"""How long a webhook is passed over for which nothing was due, although something waits."""

LOOK_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class _Sent:
    webhook_id: str
    host: str
    at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class Settings:
    """What deliveries are made with."""

    open_secret: Callable[[str], str]
    print_event: Print
    tls: ssl.SSLContext = field(default_factory=cache(ssl.create_default_context))
    make_rule: Callable[[bool], Refuse] = lambda limited: webhooks.make_rule(
        allow_loopback=False, is_limited=limited
    )
    """Says which addresses are not called, for a limited key or another."""
    record: Callable[[str], None] = lambda _: None
    """Called with what became of each attempt."""
    timeout_s: float = TIMEOUT_S


class Sender:
    """The deliveries that one worker sends."""

    def __init__(self, store: Store, settings: Settings, *, now: Callable[[], datetime]) -> None:
        self._store = store
        self._settings = settings
        self._now = now
        self._token = secrets.token_hex(8)
        self._sent: dict[str, _Sent] = {}
        self._failing: set[str] = set()
        self._resting: dict[str, float] = {}
        self._changed = threading.Condition()
        """Guards all that changes, and signals that a delivery ended."""
        self._stopping = self._woken = False

    def send_due(self) -> bool:
        """Begin to send what is due, as far as there is room. False when nothing was begun."""
        with self._changed:
            self._woken = False
        waiting = self._store.deliveries.list_waiting_webhooks()
        with self._changed:
            at = time.monotonic()
            self._resting = {name: end for name, end in self._resting.items() if end > at}
            awake = [name for name in waiting if name not in self._resting]
        found = {each["_id"]: each for each in self._store.webhooks.list_enabled(awake)}
        random.shuffle(awake)
        begun = [self._send_of(found[name]) for name in awake if name in found]
        return any(begun)

    def claim(self, webhook_id: str, *, most: int) -> list[Delivery]:
        """Take what is due for a webhook, `most` at the most, to be sent by us."""
        return self._store.deliveries.claim(
            webhook_id, self._token, lease_s=LEASE_S, most=most, now=self._now()
        )

    def wait(self, timeout_s: float = LOOK_AGAIN_S) -> None:
        """Wait until a delivery ends or may begin, or that time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._woken or self._stopping, timeout_s)

    def wake(self) -> None:
        """Have it look for what is due at once."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def stop(self, *, timeout_s: float) -> None:
        """Begin nothing more, and wait for what is being sent, so long at the most."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._sent, timeout=timeout_s)

    def _send_of(self, webhook: Webhook) -> bool:
        host = webhooks.parse_url(webhook["url"]).authority
        room = self._find_room(webhook["_id"], host)
        if room == 0:
            return False
        claimed = self.claim(webhook["_id"], most=room)
        with self._changed:
            if not claimed:
                self._resting[webhook["_id"]] = time.monotonic() + REST_S
            for delivery in claimed:
                self._sent[delivery["_id"]] = _Sent(webhook["_id"], host)
        for delivery in claimed:
            # A daemon, so that a receiver that hangs does not keep the process from ending.
            threading.Thread(
                target=self._send, args=(webhook, delivery), name="delivery", daemon=True
            ).start()
        return bool(claimed)

    def _find_room(self, webhook_id: str, host: str) -> int:
        with self._changed:
            if self._stopping:
                return 0
            at, sent = time.monotonic(), self._sent.values()
            held = sum(at - each.at >= SLOW_S for each in sent)
            prompt = len(sent) - min(held, HELD)
            of_webhook = Counter(each.webhook_id for each in sent)[webhook_id]
            to_host = Counter(each.host for each in sent)[host]
            each = 1 if webhook_id in self._failing else EACH
        return max(0, min(THREADS - prompt, each - of_webhook, EACH_HOST - to_host))

    def _send(self, webhook: Webhook, delivery: Delivery) -> None:
        try:
            status = self.send(webhook, delivery)
            if status is not None:
                self._settings.record(status)
        except ServiceError as exc:
            # Its lease runs out, and it is sent again.
            log.warning(str(exc), extra={"doing": "send", "cause": str(exc.__cause__ or "")})
        except Exception:
            log.exception("worker.crashed")
        finally:
            with self._changed:
                self._sent.pop(delivery["_id"], None)
                self._resting.pop(webhook["_id"], None)
            self.wake()

    def send(self, webhook: Webhook, delivery: Delivery) -> DeliveryStatus | None:
        """Send a delivery that was claimed, and write down what became of it.

        None: the webhook was disabled instead.
        """
        message_secrets: tuple[str, ...] = ()
        try:
            message = webhook_sending.prepare(
                self._store,
                webhook,
                delivery,
                open_secret=self._settings.open_secret,
                print_event=self._settings.print_event,
                now=self._now(),
            )
        except (NoSecretKey, StoreFailure) as exc:
            reply = Reply(0, error=f"The webhook's secret cannot be read: {exc}")
        else:
            if message is None:
                return webhook_sending.drop(
                    self._store, delivery, token=self._token, now=self._now()
                )
            if isinstance(message, DisabledReason):
                webhook_sending.disable(self._store, webhook, message, now=self._now())
                self._store.deliveries.release(delivery["_id"], self._token)
                return None
            message_secrets = message.secrets
            reply = post(
                message,
                refuse=self._settings.make_rule(message.is_limited),
                tls=self._settings.tls,
                timeout_s=self._settings.timeout_s,
            )
        status = webhook_sending.record(
            self._store,
            webhook,
            delivery,
            reply,
            token=self._token,
            secrets=message_secrets,
            chance=random.random(),  # noqa: S311 - spreads attempts, hides nothing
            now=self._now(),
        )
        with self._changed:
            if status == DeliveryStatus.SUCCEEDED:
                self._failing.discard(webhook["_id"])
            else:
                self._failing.add(webhook["_id"])
        return status
