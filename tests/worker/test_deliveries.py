"""What becomes of deliveries, with real receivers: order, attempts, bounds, and who sees what."""

import ssl
import threading
from collections import Counter
from datetime import timedelta

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from service import keys, users, webhooks
from service.app import utc_now
from service.model.addresses import trust
from service.model.orders import SecretOrder
from service.model.webhooks import LOOPBACK, RETRY_S, DisabledReason, make_rule
from service.security.vault import Vault
from service.worker.deliveries import Sender
from tests.receivers import (
    a_webhook,
    an_event,
    make_deliveries,
    receiving,
    send_due,
    settings,
)
from tests.support import FAR, NOON, SECRET_KEY, a_user, eventually
from tests.tls import Authority, TlsProxy


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self):
        self.now = NOON

    def __call__(self):
        return self.now

    def advance(self, seconds):
        """Let time pass."""
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock():
    """A clock at noon."""
    return Clock()


@pytest.fixture
def sender(store, clock):
    """What sends, which begins nothing by itself."""
    return Sender(store, settings(), now=clock)


def reason_of(store, webhook):
    """Return why a webhook is disabled; None: it is not."""
    disabled = store.webhooks.get(webhook["_id"])["disabled"]
    return disabled and disabled["reason"]


def test_a_delivery_is_signed_as_standard_webhooks_says(store, database):
    """The library that receivers use accepts it, and what it reads is the event."""
    with receiving() as receiver:
        _, secret = a_webhook(store, receiver.url)
        make_deliveries(store, database, an_event(1))
        send_due(store, Sender(store, settings(), now=utc_now))

        [event] = receiver.verify(secret)
    assert ("1", "image.updated", "i1") == (event["id"], event["type"], event["resourceId"])


def test_another_secret_does_not_verify(store, database):
    """So a signature is one of the body and the secret."""
    with receiving() as receiver:
        a_webhook(store, receiver.url)
        make_deliveries(store, database, an_event(1))
        send_due(store, Sender(store, settings(), now=utc_now))

        with pytest.raises(WebhookVerificationError):
            receiver.verify(webhooks.make_secret())


def test_the_old_secret_signs_for_a_while(store, database, clock):
    """After a rotation both verify, and past the overlap the new one alone."""
    clock.now = utc_now()
    with receiving() as receiver:
        webhook, old = a_webhook(store, receiver.url)
        order = SecretOrder(secret=None, overlap_s=60)
        _, new = webhooks.rotate(
            store, store.webhooks, Vault(SECRET_KEY), webhook["_id"], order, now=clock()
        )
        sender = Sender(store, settings(), now=clock)
        make_deliveries(store, database, an_event(1))
        send_due(store, sender)
        receiver.verify(old)
        receiver.verify(new)
        clock.advance(61)
        make_deliveries(store, database, an_event(2))
        send_due(store, sender)
        (_, _), (headers, body) = receiver.got

    assert Webhook(new).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(body, headers)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_a_success(store, database, sender, status):
    """The receiver took it, however it says so."""
    with receiving(answer=lambda _: (status, {}, b"")) as receiver:
        a_webhook(store, receiver.url)
        make_deliveries(store, database, an_event(1))

        assert ["succeeded"] == send_due(store, sender)


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 404, 429, 500])
def test_nothing_else_is(store, database, sender, status):
    """It waits for another attempt, and a redirect leads nowhere."""
    with receiving() as elsewhere:
        answer = status, {"Location": elsewhere.url}, b""
        with receiving(answer=lambda _: answer) as receiver:
            a_webhook(store, receiver.url)
            make_deliveries(store, database, an_event(1))

            assert ["waiting"] == send_due(store, sender)
    assert ([], 1) == (elsewhere.got, len(receiver.got))


@pytest.mark.heavy
def test_a_receiver_that_fails_for_a_day(store, database, sender, clock):
    """It gets each delivery nine times under one id; then the webhook is disabled, and says why."""
    with receiving(answer=lambda _: (500, {}, b"")) as receiver:
        webhook, _ = a_webhook(store, receiver.url)
        make_deliveries(store, database, an_event(1))
        attempts = []
        while store.webhooks.list_enabled():
            send_due(store, sender)
            attempts.append((clock.now - NOON).total_seconds())
            [delivery] = store.deliveries.all()
            clock.now = max(clock.now, delivery["next_attempt_at"])

    assert ("failed", len(RETRY_S) + 1) == (delivery["status"], len(attempts))
    assert sum(RETRY_S) <= attempts[-1] <= 1.2 * sum(RETRY_S)
    assert 1 == len(set(receiver.ids))
    assert DisabledReason.RECEIVER_FAILS == reason_of(store, webhook)


def test_what_failed_is_not_tried_before_its_time(store, database, sender, clock):
    """Between attempts the receiver has peace."""
    with receiving(answer=lambda _: (500, {}, b"")) as receiver:
        a_webhook(store, receiver.url)
        make_deliveries(store, database, an_event(1))
        send_due(store, sender)
        clock.advance(RETRY_S[0] - 0.01)
        send_due(store, sender)
        assert 1 == len(receiver.got)
        clock.advance(RETRY_S[0])
        send_due(store, sender)

    assert 2 == len(receiver.got)


@pytest.mark.parametrize(("asked", "waits_s"), [("120", 120), ("9999999", 6 * 3600), ("x", 5)])
def test_a_receiver_may_ask_for_time(store, database, sender, asked, waits_s):
    """`Retry-After` is heeded, up to six hours; one that nobody can read is passed over."""
    with receiving(answer=lambda _: (429, {"Retry-After": asked}, b"")) as receiver:
        a_webhook(store, receiver.url)
        make_deliveries(store, database, an_event(1))
        send_due(store, sender)

    [delivery] = store.deliveries.all()
    delay_s = (delivery["next_attempt_at"] - NOON).total_seconds()
    assert waits_s <= delay_s <= max(waits_s, 6)


def test_a_receiver_that_is_gone(store, database, sender):
    """410 disables the webhook at once."""
    with receiving(answer=lambda _: (410, {}, b"")) as receiver:
        webhook, _ = a_webhook(store, receiver.url)
        make_deliveries(store, database, an_event(1))

        assert ["failed"] == send_due(store, sender)
    assert DisabledReason.RECEIVER_GONE == reason_of(store, webhook)


def test_deliveries_of_one_resource_keep_their_order(store, database, sender, clock):
    """One that fails holds those after it of the same document, and of no other."""
    with receiving(answer=lambda n: (500 if n == 0 else 204, {}, b"")) as receiver:
        a_webhook(store, receiver.url)
        events = [(1, "a"), (2, "a"), (3, "b"), (4, "a"), (5, "b")]
        make_deliveries(store, database, *(an_event(n, resource_id=r) for n, r in events))
        for _ in range(3):
            send_due(store, sender)
        held = [event["id"] for event in receiver.events()]
        clock.advance(10)
        for _ in range(3):
            send_due(store, sender)
        rest = [event["id"] for event in receiver.events()][len(held) :]

    assert ["1", "3", "5"] == held
    assert ["1", "2", "4"] == rest


def test_what_is_being_sent_holds_what_comes_after_it(store, database, sender):
    """Two workers do not overtake one another."""
    webhook, _ = a_webhook(store, "http://192.0.2.1/")
    make_deliveries(store, database, an_event(1), an_event(2), an_event(3, resource_id="b"))
    other = Sender(store, settings(), now=lambda: NOON)

    first, second = sender.claim(webhook["_id"], most=9), other.claim(webhook["_id"], most=9)

    assert ([1, 3], []) == ([each["event_id"] for each in first], second)


@pytest.mark.heavy
def test_a_dead_receiver_is_not_asked_for_everything(store, database, sender, clock):
    """Past a hundred documents whose deliveries fail nothing new is begun."""
    events = [an_event(n, resource_id=str(n)) for n in range(1, 151)]
    with receiving(answer=lambda _: (503, {}, b"")) as receiver:
        a_webhook(store, receiver.url)
        make_deliveries(store, database, *events)
        for _ in range(5):
            send_due(store, sender)
        assert 100 == len(set(receiver.ids))
        clock.advance(7)
        receiver.answer = lambda _: (204, {}, b"")
        for _ in range(5):
            send_due(store, sender)

    assert 150 == Counter(each["status"] for each in store.deliveries.all())["succeeded"]


def test_a_worker_that_dies_between_sending_and_writing(store, database, sender, clock):
    """Another sends it again once the lease is over: under the same id, before what comes next."""
    with receiving() as receiver:
        webhook, _ = a_webhook(store, receiver.url)
        make_deliveries(store, database, an_event(1), an_event(2))
        dying = Sender(store, settings(), now=clock)
        dying_store = type("Dying", (), {"__getattr__": lambda _, name: getattr(store, name)})()
        dying_store.deliveries = type("Mute", (), {"finish": lambda *_, **__: False})()
        [delivery] = dying.claim(webhook["_id"], most=9)
        dying._store = dying_store
        dying.send(webhook, delivery)
        assert [] == send_due(store, sender)
        database["deliveries"].update_one(
            {"_id": delivery["_id"]}, {"$set": {"lease.until": NOON.replace(year=2000)}}
        )
        send_due(store, sender)
        send_due(store, sender)

    assert ["1", "1", "2"] == [event["id"] for event in receiver.events()]
    assert receiver.ids[0] == receiver.ids[1]


def test_whoever_lost_the_lease_writes_nothing(store, database, sender, clock):
    """What the next one wrote stays."""
    with receiving() as receiver:
        webhook, _ = a_webhook(store, receiver.url)
        make_deliveries(store, database, an_event(1))
        [delivery] = sender.claim(webhook["_id"], most=1)
        database["deliveries"].update_one({}, {"$set": {"lease.token": "another"}})
        sender.send(webhook, delivery)

    assert "waiting" == store.deliveries.get(delivery["_id"])["status"]


@pytest.mark.parametrize("size", [70_000, 50_000_000])
def test_a_long_answer_is_cut_off(store, database, sender, size):
    """Its status counts, and 1 KiB of it is kept."""
    with receiving(answer=lambda _: (200, {}, b"x" * size)) as receiver:
        a_webhook(store, receiver.url)
        make_deliveries(store, database, an_event(1))
        send_due(store, sender)

    [delivery] = store.deliveries.all()
    assert ("succeeded", "x" * 1024) == (delivery["status"], delivery["attempts"][0]["answer"])


def test_a_secret_that_the_receiver_says_is_masked(store, database, sender):
    """Who reads deliveries does not learn it."""
    with receiving() as receiver:
        _, secret = a_webhook(store, receiver.url)
        receiver.answer = lambda _: (400, {}, b"x" * 1000 + f"bad key {secret}".encode())
        make_deliveries(store, database, an_event(1))
        send_due(store, sender)

    [delivery] = store.deliveries.all()
    answer = delivery["attempts"][0]["answer"]
    assert "********" in answer
    assert secret[:12] not in answer


def test_headers_without_an_end(store, database, clock):
    """The time for all of it is over, whatever comes in drops."""
    with receiving(hangs=threading.Event()) as receiver:
        a_webhook(store, receiver.url)
        make_deliveries(store, database, an_event(1))
        send_due(store, Sender(store, settings(timeout_s=0.2), now=clock))

    [delivery] = store.deliveries.all()
    assert ("waiting", None) == (delivery["status"], delivery["attempts"][0]["status"])
    assert "within 0.2 s" in delivery["attempts"][0]["error"]


def test_nobody_listens(store, database, sender):
    """A connection that is refused is an attempt that failed."""
    with receiving() as receiver:
        a_webhook(store, receiver.url)
    make_deliveries(store, database, an_event(1))

    assert ["waiting"] == send_due(store, sender)


def test_a_name_that_means_another_address_by_then(store, database, clock, monkeypatch):
    """What it means is looked at when it is connected to, and that is what is connected to."""
    asked = []

    def look_up(host, *args, **options):
        asked.append(host)
        return [(2, 1, 6, "", ("127.0.0.1", args[0]))]

    monkeypatch.setattr("service.drivers.dialing.socket.getaddrinfo", look_up)
    rule = lambda limited: make_rule(allow_loopback=False, is_limited=limited)  # noqa: E731
    with receiving() as receiver:
        port = receiver.url.rpartition(":")[2]
        webhook, _ = a_webhook(store, receiver.url)
        store.webhooks.change(webhook["_id"], {"url": f"http://rebind.example.org:{port}"})
        make_deliveries(store, database, an_event(1))
        send_due(store, Sender(store, settings(make_rule=rule), now=clock))

    [delivery] = store.deliveries.all()
    assert ["rebind.example.org"] == asked[-1:]
    assert [] == receiver.got
    assert LOOPBACK in delivery["attempts"][0]["error"]


@pytest.mark.heavy
def test_a_receiver_that_hangs_slows_no_other(store, database):
    """While it keeps all its deliveries waiting another one gets every one of its own."""
    with receiving(hangs=threading.Event()) as slow, receiving() as quick:
        for _ in range(5):
            a_webhook(store, slow.url)
        a_webhook(store, quick.url)
        events = [an_event(n, resource_id=str(n)) for n in range(1, 101)]
        make_deliveries(store, database, *events)
        sender = Sender(store, settings(timeout_s=30), now=utc_now)
        sender.send_due()
        assert eventually(lambda: len(slow.got) > 0)

        def all_arrived():
            sender.send_due()
            return len(set(quick.ids)) == 100

        assert eventually(all_arrived)
        assert len(slow.got) <= 8  # to one host
    sender.stop(timeout_s=10)


@pytest.mark.parametrize("ends", ["revoked", "expired", "user gone"])
def test_a_webhook_ends_with_its_owner(store, database, sender, clock, ends):
    """Nothing more is sent when its key is revoked or expires, or its user is deleted."""
    user = a_user(store)
    grant = {"scopes": ["*"], "expires_at": NOON + timedelta(hours=1)}
    key, _ = keys.create(store, name="k", grant=grant, now=NOON)
    with receiving() as receiver:
        webhook, _ = a_webhook(store, receiver.url, key=key, acts_for=user["_id"])
        make_deliveries(store, database, an_event(1))
        match ends:
            case "revoked":
                keys.revoke(store, key["_id"])
            case "expired":
                clock.advance(3601)
            case _:
                users.delete(store, user["_id"])
        send_due(store, sender)

        assert [] == receiver.got
    wanted = {"revoked": "key_revoked", "expired": "key_expired", "user gone": "user_deleted"}
    assert wanted[ends] == reason_of(store, webhook)


def test_a_limited_key_is_told_of_what_it_may_see(store, database, sender):
    """Of others' instances, of users and of keys it gets nothing."""
    user = a_user(store)
    grant = {"scopes": ["*"], "user_id": user["_id"]}
    key, _ = keys.create(store, name="k", grant=grant, now=NOON)
    instance = {"kind": "instance", "type": "instance.power"}
    with receiving() as receiver:
        a_webhook(store, receiver.url, key=key)
        make_deliveries(
            store, database,
            an_event(1, **instance, resource_id="ia", user_id="another"),
            an_event(2, **instance, resource_id="ib", user_id=user["_id"]),
            an_event(3, kind="user", type="user.updated", resource_id="another", user_id="another"),
            an_event(4, kind="key", type="key.updated", resource_id="k"),
            an_event(5, kind="webhook", type="webhook.updated", resource_id="w"),
        )  # fmt: skip
        send_due(store, sender)

    assert ["2"] == [event["id"] for event in receiver.events()]


def test_what_it_may_see_counts_when_it_is_sent(store, database, sender):
    """An event that was within its limits and is no longer is dropped, not sent."""
    user = a_user(store)
    key, _ = keys.create(store, name="k", grant={"scopes": ["*"], "user_id": user["_id"]}, now=NOON)
    with receiving() as receiver:
        a_webhook(store, receiver.url, key=key)
        event = an_event(1, kind="instance", type="instance.power", user_id=user["_id"])
        make_deliveries(store, database, event)
        database["events"].update_one({"_id": 1}, {"$set": {"user_id": "another"}})

        assert ["dropped"] == send_due(store, sender)
    assert [] == receiver.got


def test_types_and_filters_choose(store, database, sender):
    """Only what a webhook asks for becomes a delivery."""
    of_a = {"kind": "instance", "type": "instance.power", "instance_id": "a", "resource_id": "a"}
    a_webhook(store, "http://192.0.2.1/", types=["instance.power"], wanted={"instance_id": "a"})

    made = make_deliveries(
        store, database,
        an_event(1, **of_a),
        an_event(2, **{**of_a, "instance_id": "b"}),
        an_event(3, **{**of_a, "type": "instance.ready"}),
    )  # fmt: skip

    assert [1] == [each["event_id"] for each in made]


def test_a_test_is_sent_once_and_disables_nothing(store, database, sender, clock):
    """Whoever tests a receiver that is not there yet keeps the webhook."""
    with receiving(answer=lambda _: (410, {}, b"")) as receiver:
        webhook, _ = a_webhook(store, receiver.url)
        webhooks.send_test(store, store.webhooks, webhook["_id"], now=clock())

        assert ["failed"] == send_due(store, sender)
    [event] = receiver.events()
    assert ("webhook.test", webhook["_id"]) == (event["type"], event["resource"]["id"])
    assert None is reason_of(store, webhook)


def test_what_is_delivered_again_has_its_id(store, database, sender):
    """So a receiver knows what it had already."""
    with receiving() as receiver:
        webhook, _ = a_webhook(store, receiver.url)
        [delivery] = make_deliveries(store, database, an_event(1))
        send_due(store, sender)
        webhooks.redeliver(store, store.webhooks, webhook["_id"], delivery["_id"], now=NOON)
        send_due(store, sender)

    assert [delivery["_id"]] * 2 == receiver.ids


@pytest.mark.heavy
def test_one_that_is_enabled_again_gets_what_waited(store, database, sender, clock):
    """The receiver is back: what failed is sent at once, and all that waited behind it."""
    with receiving(answer=lambda _: (500, {}, b"")) as receiver:
        webhook, _ = a_webhook(store, receiver.url)
        key = store.keys.get(webhook["key_id"])
        make_deliveries(store, database, an_event(1), an_event(2))
        while send_due(store, sender) != ["failed"]:
            clock.advance(13 * 3600)
        receiver.answer = lambda _: (204, {}, b"")
        receiver.got.clear()
        webhooks.edit(
            store, store.webhooks, key, webhook["_id"], {"enabled": True},
            refuse=trust, now=clock(),
        )  # fmt: skip
        send_due(store, sender)

    assert ["2"] == [event["id"] for event in receiver.events()]
    assert FAR > clock.now


@pytest.mark.parametrize(("trusted", "became"), [(True, "succeeded"), (False, "waiting")])
def test_tls_is_verified(store, database, clock, trusted, became):
    """A certificate of an authority that nobody knows is no receiver's."""
    authority = Authority()
    known = authority if trusted else Authority()
    tls = ssl.create_default_context(cadata=known.pem)
    with receiving() as receiver:
        target = ("127.0.0.1", receiver.port)
        with TlsProxy(authority, target, ask_client=False) as proxy:
            a_webhook(store, f"https://127.0.0.1:{proxy.port}/hook")
            make_deliveries(store, database, an_event(1))
            sent = send_due(store, Sender(store, settings(tls=tls), now=clock))

    [delivery] = store.deliveries.all()
    assert ([became], int(trusted)) == (sent, len(receiver.got))
    assert trusted or "certificate" in delivery["attempts"][0]["error"]
