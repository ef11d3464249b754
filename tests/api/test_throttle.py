"""Who sends too much, or guesses, must wait; who does neither never notices."""

import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta

import bcrypt
import pytest

from service import keys, users
from service.api import throttle
from service.api.throttle import Counters
from service.config import ConfigError
from service.errors import StoreUnavailable, Throttled
from service.security.lockout import Lockout
from tests.support import NOON, ApiClient, a_key, a_user, an_app, eventually, free_port, need


def a_client(config, store, memory_nodes, *, key=None, clock=None, failures=0, **settings):
    """Make a client of an app with these settings; its address is 127.0.0.1."""
    clock = clock or [NOON]
    app = an_app(
        replace(config, **settings), store, memory_nodes, now=lambda: clock[0], failures=failures
    )
    return ApiClient(app.test_client(), key)


# Rates


def test_a_key_may_send_so_many(config, store, memory_nodes):
    """
    Of four requests a minute the fifth is a 429 that says when to come back.
    """
    api = a_client(config, store, memory_nodes, key=a_key(store), key_rate=4)

    answers = [api.get("/api/name") for _ in range(5)]

    assert [200] * 4 + [429] == [answer.status for answer in answers]
    assert "too_many_requests" == answers[-1].json["code"]
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 61
    assert ["3", "2", "1", "0", "0"] == [a.headers["RateLimit-Remaining"] for a in answers]
    assert {"4"} == {answer.headers["RateLimit-Limit"] for answer in answers}
    assert 1 <= int(answers[0].headers["RateLimit-Reset"]) <= 61


def test_each_key_has_its_own_rate(config, store, memory_nodes):
    """
    What one key sends is not counted for another.
    """
    api = a_client(config, store, memory_nodes, key=a_key(store), key_rate=1)
    other = replace(api, key=a_key(store))

    statuses = [client.get("/api/name").status for client in (api, api, other)]

    assert [200, 429, 200] == statuses


def test_an_address_may_send_so_many(config, store, memory_nodes):
    """
    All keys of an address together, and requests that need no key, count for it.
    """
    api = a_client(config, store, memory_nodes, key=a_key(store), address_rate=2)

    statuses = [
        client.get(path).status
        for client, path in [(api, "/api/name"), (replace(api, key=None), "/"),
                             (replace(api, key=a_key(store)), "/api/name")]
    ]  # fmt: skip

    assert [200, 200, 429] == statuses


def test_health_is_not_counted(config, store, memory_nodes):
    """
    Load balancers may ask as often as they like.
    """
    api = a_client(config, store, memory_nodes, address_rate=1)

    assert {200} == {api.get("/healthz").status for _ in range(5)}


def test_metrics_are_not_counted(config, store, memory_nodes):
    """
    Prometheus may ask as often as it likes, and takes nothing from the rate of its address.
    """
    rates = {"address_rate": 1, "key_rate": 1}
    api = a_client(config, store, memory_nodes, key=a_key(store), **rates)

    statuses = [api.get(path).status for path in ("/metrics", "/metrics", "/api/name", "/metrics")]

    assert [200] * 4 == statuses


def test_a_rate_of_zero_is_none(config, store, memory_nodes):
    """
    Without rates nothing is counted, and nothing told.
    """
    api = a_client(config, store, memory_nodes, key=a_key(store), key_rate=0, address_rate=0)

    answers = [api.get("/api/name") for _ in range(5)]

    assert {200} == {answer.status for answer in answers}
    assert "RateLimit-Limit" not in answers[0].headers


def test_counts_that_are_over_are_thrown_away():
    """
    The memory that counts take is bounded by what counts at all.
    """
    counters = Counters()

    for number in range(10_050):
        counters.incr(f"old-{number}", expiry=-1)
    counters.incr("new", expiry=60)

    assert [2, 1] == [counters.incr(name, expiry=60)[0] for name in ("new", "old-1")]
    assert len(counters._counts) < 100


def test_counts_that_are_not_over_are_not_looked_through_each_time():
    """
    With very many callers at once a request costs no more than with few.
    """
    counters, sweeps = Counters(), []
    for number in range(25_000):
        before = counters._counts
        counters.incr(f"caller-{number}", expiry=60)
        if counters._counts is not before:
            sweeps.append(number)

    assert [10_000, 20_002] == sweeps


# Rates that processes share


@pytest.fixture
def redis(tmp_path):
    """A Redis on a loopback port: its address and its process."""
    port = free_port()
    with start_redis(port, tmp_path) as process:
        yield f"redis://127.0.0.1:{port}", process


@contextmanager
def start_redis(port, folder):
    """Run a Redis that keeps nothing."""
    command = [
        need("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--dir", folder,
        "--save", "",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        assert eventually(lambda: listens(port))
        yield process
        process.kill()


def listens(port):
    """Return whether somebody listens on the port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.spawns
def test_processes_share_the_rate(config, store, memory_nodes, redis):
    """
    What a key sends to one is counted at the other, and what is left is told.
    """
    shared = {"key": a_key(store), "key_rate": 3, "rate_storage": redis[0]}
    apis = [a_client(config, store, memory_nodes, **shared) for _ in range(2)]

    answers = [api.get("/api/name") for api in apis * 2]

    assert [200, 200, 200, 429] == [answer.status for answer in answers]
    assert ["2", "1", "0", "0"] == [answer.headers["RateLimit-Remaining"] for answer in answers]


@pytest.mark.spawns
def test_a_redis_that_dies_locks_nobody_out(config, store, memory_nodes, redis):
    """
    Requests that find it gone are answered, however many at once, and are counted here.
    """
    url, process = redis
    api = a_client(config, store, memory_nodes, key=a_key(store), key_rate=50, rate_storage=url)
    assert 200 == api.get("/api/name").status

    process.kill()
    process.wait()

    with ThreadPoolExecutor(8) as threads:
        crowd = [threads.submit(api.get, "/api/name") for _ in range(8)]
        statuses = [each.result().status for each in crowd]
    later = api.get("/api/name")
    assert ([200] * 8, 200) == (statuses, later.status)
    assert 41 <= int(later.headers["RateLimit-Remaining"]) < 50


@pytest.mark.spawns
def test_a_redis_that_hangs_holds_nobody_up(config, store, memory_nodes, redis):
    """
    The first requests wait a second for it, the others not at all.
    """
    url, process = redis
    api = a_client(config, store, memory_nodes, key=a_key(store), rate_storage=url)
    process.send_signal(signal.SIGSTOP)
    began = time.monotonic()

    statuses = [api.get("/api/name").status for _ in range(10)]

    assert ([200] * 10, True) == (statuses, time.monotonic() - began < 8)


def test_without_a_redis_at_the_start_requests_are_answered(config, store, memory_nodes):
    """
    One that is away when the app is made is no reason not to serve.
    """
    url = f"redis://127.0.0.1:{free_port()}"

    api = a_client(config, store, memory_nodes, key=a_key(store), rate_storage=url)

    assert 200 == api.get("/api/name").status


@pytest.mark.spawns
def test_a_redis_that_comes_back_counts_again(config, store, memory_nodes, tmp_path, monkeypatch):
    """
    After a while it is asked again, and from then on what others count there is known here.
    """
    monkeypatch.setattr(throttle, "_RETRY_S", 0)
    port = free_port()
    shared = {"key": a_key(store), "key_rate": 9, "rate_storage": f"redis://127.0.0.1:{port}"}
    apis = [a_client(config, store, memory_nodes, **shared) for _ in range(2)]
    alone = [api.get("/api/name") for api in apis]

    with start_redis(port, tmp_path):
        together = [api.get("/api/name") for api in apis]

    assert (["8", "8"], ["8", "7"]) == (
        [answer.headers["RateLimit-Remaining"] for answer in alone],
        [answer.headers["RateLimit-Remaining"] for answer in together],
    )


def test_an_address_that_is_none_is_named_without_its_password(config, store, memory_nodes):
    """
    What cannot be read is said of the setting, and not quoted.
    """
    with pytest.raises(ConfigError) as caught:
        a_client(config, store, memory_nodes, rate_storage="redis://:geheim@[host:1")

    assert "SKYQUAY_RATE_STORAGE" in str(caught.value)
    assert "geheim" not in str(caught.value)


# Guessing


def test_guessing_is_slowed(config, store, memory_nodes):
    """
    After three wrong keys an address is answered 429, even if the fifth guess is right.
    """
    good = "chosen-by-somebody"
    keys.create(store, name="k", key=good, now=NOON)
    api = a_client(config, store, memory_nodes, failures=3)

    answers = [replace(api, key=key).get("/api/name") for key in ("a", "b", "", "d", good)]

    assert [401, 401, 401, 429, 429] == [answer.status for answer in answers]
    assert "60" == answers[-1].headers["Retry-After"]
    assert ("3", "0") == (
        answers[-1].headers["RateLimit-Limit"],
        answers[-1].headers["RateLimit-Remaining"],
    )


def test_who_was_known_is_not_kept_out(config, store, memory_nodes):
    """
    A key that was good before goes on while somebody else guesses from the same address.
    """
    keys.create(store, name="k", key="chosen-by-somebody", now=NOON)
    api = a_client(config, store, memory_nodes, key="chosen-by-somebody", failures=2)
    before = api.get("/api/name").status
    guesses = [replace(api, key="wrong").get("/api/name").status for _ in range(4)]

    assert (200, [401, 401, 429, 429], 200) == (before, guesses, api.get("/api/name").status)


def test_a_key_that_nobody_guesses_is_not_kept_out(config, store, memory_nodes):
    """
    One of 256 random bits, new here, works while others guess from the same address; a wrong one of
    that form waits.
    """
    api = a_client(config, store, memory_nodes, failures=2)
    for _ in range(4):
        replace(api, key="wrong").get("/api/name")

    statuses = [
        replace(api, key=key).get("/api/name").status for key in (a_key(store), keys.make_key())
    ]

    assert [200, 429] == statuses


def test_who_waits_costs_the_database_nothing_more(store, monkeypatch):
    """
    What is beyond the limit is not counted any more.
    """
    counted = []
    count = store.failures.increment
    monkeypatch.setattr(
        store.failures, "increment", lambda *args, **kw: counted.append(1) or count(*args, **kw)
    )
    lockout = Lockout(store, limit=2)

    for _ in range(9):
        with suppress(Throttled):
            lockout.fail("192.0.2.1", now=NOON)

    assert 3 == len(counted)


def test_who_was_known_elsewhere_is_not_known_here(store):
    """
    A key that was good from another address does not get past the lockout.
    """
    lockout = Lockout(store, limit=1)
    lockout.remember("192.0.2.1", "good")
    lockout.fail("192.0.2.2", now=NOON)

    with pytest.raises(Throttled):
        lockout.fail("192.0.2.2", now=NOON)
    with pytest.raises(Throttled):
        lockout.check("192.0.2.2", "good", now=NOON)


@pytest.mark.parametrize(
    ("addresses", "statuses"),
    [
        (["2001:db8::1", "2001:db8::2", "2001:db8::ffff:3"], [401, 401, 429]),
        (["2001:db8::1", "2001:db8:0:1::1", "2001:db8:0:2::1"], [401, 401, 401]),
        (["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"], [401, 401, 429]),
        (["192.0.2.1", "192.0.2.2", "192.0.2.3"], [401, 401, 401]),
        (["fe80::1%eth0", "fe80::2%eth1", "fe80::3"], [401, 401, 429]),
    ],
)
def test_a_network_of_one_caller_is_one(config, store, memory_nodes, addresses, statuses):
    """
    Whoever has one IPv6 address has a /64 of them, and does not get a new count with each.
    """
    api = a_client(config, store, memory_nodes, failures=2, key="wrong")

    answered = [
        api.send("GET", "/api/name", environ_overrides={"REMOTE_ADDR": address}).status
        for address in addresses
    ]

    assert statuses == answered


def test_guessing_a_configure_key_is_slowed(config, store, memory_nodes):
    """
    That endpoint needs no API key; who guesses there must wait, and has one entry an hour.
    """
    api = a_client(config, store, memory_nodes, failures=2, key=None)
    guess = "/nodes/configure?configureKey=wrong&accessKey=aaaaaaaaaaaaaaaa"

    statuses = [api.post(guess).status for _ in range(6)]

    assert [400, 400, 429, 429, 429, 429] == statuses
    [entry] = store.audit.list_newest({}, since=None, before=None, limit=9)
    assert ("enrolment.configure_node", "refused", 3) == (
        entry["action"],
        entry["outcome"],
        entry["count"],
    )


def test_the_wait_ends(config, store, memory_nodes):
    """
    In the next minute the address may try again.
    """
    clock = [NOON]
    api = a_client(config, store, memory_nodes, failures=1, clock=clock, key="wrong")
    statuses = [api.get("/api/name").status for _ in range(2)]

    clock[0] = NOON + timedelta(seconds=60)

    assert [401, 429, 401] == [*statuses, api.get("/api/name").status]


def test_processes_share_the_count(store):
    """
    What one process counted another heeds at the next failure there.
    """
    one, other = Lockout(store, limit=3), Lockout(store, limit=3)
    for _ in range(3):
        one.fail("192.0.2.1", now=NOON)

    with pytest.raises(Throttled):
        other.fail("192.0.2.1", now=NOON)


def test_a_database_that_is_away_locks_nobody_out_nor_in(store, monkeypatch):
    """
    A process counts alone then, and goes on refusing who guesses.
    """

    def fail(*args, **kwargs):
        raise StoreUnavailable("away")

    monkeypatch.setattr(store.failures, "increment", fail)
    lockout = Lockout(store, limit=2)
    lockout.remember("192.0.2.1", "good")
    for _ in range(2):
        lockout.fail("192.0.2.1", now=NOON)

    with pytest.raises(Throttled):
        lockout.fail("192.0.2.1", now=NOON)
    lockout.check("192.0.2.1", "good", now=NOON)
    lockout.check("192.0.2.2", "any", now=NOON)
    with pytest.raises(Throttled):
        lockout.check("192.0.2.1", "guess", now=NOON)


def test_what_is_kept_of_a_guess_is_no_secret(config, store, memory_nodes, mongo_client):
    """
    The database has neither the key that was tried nor the address, and forgets the count.
    """
    api = a_client(config, store, memory_nodes, failures=9, key="sq_guess")
    api.get("/api/name")

    collection = mongo_client[config.database]["failures"]
    kept = list(collection.find())
    assert kept
    assert "sq_guess" not in str(kept)
    assert "127.0.0.1" not in str(kept)
    assert "expireAfterSeconds" in str(collection.index_information())


# Proxies


@pytest.mark.parametrize(
    ("proxies", "told", "seen"),
    [
        (0, "192.0.2.1", "127.0.0.1"),
        (1, "192.0.2.1", "192.0.2.1"),
        (1, "198.51.100.9, 192.0.2.1", "192.0.2.1"),
        (2, "198.51.100.9, 192.0.2.1", "198.51.100.9"),
        (2, "192.0.2.1", "127.0.0.1"),
        (1, "", "127.0.0.1"),
    ],
)
def test_proxies_are_believed_as_far_as_is_set(config, store, memory_nodes, proxies, told, seen):
    """
    The client's address is what the outermost trusted proxy saw, whatever the client claims.
    """
    _, key = keys.create(store, name="k", grant={"networks": [seen]}, now=NOON)
    api = a_client(config, store, memory_nodes, key=key, trusted_proxies=proxies)

    answer = api.get("/api/name", headers={"X-Forwarded-For": told} if told else {})

    assert 200 == answer.status


# Passwords


def verify(api, **body):
    """Ask whether a password is right."""
    return api.post("/api/auth/verify", {"password": "correct", **body})


def test_a_password_is_checked(api, store):
    """
    By name or e-mail, in any letter case, the right one is valid, and the user is answered.
    """
    user = a_user(store, username="Ada", password="correct")

    for named in ({"username": "ada"}, {"email": user["email"].upper()}):
        right, wrong = verify(api, **named), verify(api, **named, password="wrong")
        assert (200, True, user["_id"]) == (
            right.status,
            right.json["valid"],
            right.json["user"]["userId"],
        )
        assert (200, {"valid": False, "user": None}) == (wrong.status, wrong.json)


def test_an_unknown_user_is_answered_like_a_wrong_password(api):
    """
    The answer does not tell whether there is such a user.
    """
    assert (200, {"valid": False, "user": None}) == (
        verify(api, username="nobody").status,
        verify(api, username="nobody").json,
    )


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "Either this or 'email' is required."),
        ({"username": "a", "email": "a@example.org"}, "Give this or 'email', not both."),
    ],
)
def test_one_of_name_and_address_is_needed(api, body, reason):
    """
    Neither or both is a 400 that names the field.
    """
    answer = verify(api, **body)

    assert (400, {"username": [reason]}) == (answer.status, answer.json["details"])


def test_a_password_that_is_set_during_a_check_stays(store, monkeypatch):
    """
    The check that replaces an old hash does not bring the old password back.
    """
    user = a_user(store, username="ada", password="any")
    theirs = bcrypt.hashpw(b"old", bcrypt.gensalt(4)).decode()
    store.users.set_password_hash(user["_id"], theirs, now=NOON)
    check = users._check_bcrypt

    def check_and_set(hashed, password):
        users.set_password(store, user["_id"], "new", now=NOON)
        return check(hashed, password)

    monkeypatch.setattr(users, "_check_bcrypt", check_and_set)
    users.verify(store, "username", "ada", "old", now=NOON)
    monkeypatch.undo()

    assert users.verify(store, "username", "ada", "old", now=NOON) is None
    assert users.verify(store, "username", "ada", "new", now=NOON) is not None


@pytest.mark.parametrize("broken", ["", "plain", "$2b$x", "$2y$10$" + "a" * 53, "$argon2id$v=19$x"])
def test_a_hash_that_is_none_has_no_password(api, store, broken):
    """
    Whatever another panel stored there is a wrong password, and no 500.
    """
    user = a_user(store, username="ada")
    store.users.set_password_hash(user["_id"], broken, now=NOON)

    answer = verify(api, username="ada", password=broken or "any")

    assert (200, False) == (answer.status, answer.json["valid"])


def test_guessing_a_password_is_slowed(config, store, memory_nodes):
    """
    After three failures for one name even the right password must wait; other names need not.
    """
    a_user(store, username="ada", password="correct")
    a_user(store, username="bob", password="correct")
    api = a_client(config, store, memory_nodes, key=a_key(store), failures=3)

    guesses = [verify(api, username="ada", password=f"guess {n}").status for n in range(4)]
    ada, bob = verify(api, username="ADA"), verify(api, username="bob")

    assert [200, 200, 200, 429] == guesses
    assert (429, True) == (ada.status, bob.json["valid"])


def test_a_user_has_one_count_by_whatever_name(config, store, memory_nodes):
    """
    Wrong passwords by name and by e-mail address, in any letter case, are counted together.
    """
    user = a_user(store, username="ada", password="correct")
    api = a_client(config, store, memory_nodes, key=a_key(store), failures=3)
    names = [{"username": "ada"}, {"email": user["email"]}, {"username": "ADA"},
             {"email": user["email"].upper()}, {"username": "ada"}]  # fmt: skip

    guesses = [verify(api, **named, password="wrong").status for named in names]

    assert [200, 200, 200, 429, 429] == guesses


def test_a_failed_login_is_recorded(api, store):
    """
    A wrong password leaves an entry, a right one none.
    """
    a_user(store, username="ada", password="correct")

    verify(api, username="ada")
    verify(api, username="ada", password="wrong")

    [entry] = api.get("/api/audit").json["entries"]
    assert ("users.verify_password", "refused") == (entry["action"], entry["outcome"])
    assert "wrong" not in str(entry)


def test_checking_takes_the_same_work_for_everybody(store, monkeypatch):
    """
    A check of bcrypt and a hash of argon2 are made for a user, for one with a hash from elsewhere,
    and for nobody.
    """
    import bcrypt

    a_user(store, username="ours", password="correct")
    theirs = a_user(store, username="theirs", password="correct")
    store.users.set_password_hash(
        theirs["_id"], bcrypt.hashpw(b"correct", bcrypt.gensalt(4)).decode(), now=NOON
    )
    done = []
    hasher = users._hasher

    class Counting:
        def verify(self, *args):
            done[-1].append("argon2")
            return hasher.verify(*args)

        def hash(self, *args):
            done[-1].append("argon2")
            return hasher.hash(*args)

        check_needs_rehash = hasher.check_needs_rehash

    check = users._check_bcrypt
    monkeypatch.setattr(users, "_hasher", Counting())
    monkeypatch.setattr(
        users, "_check_bcrypt", lambda *args: done[-1].append("bcrypt") or check(*args)
    )

    for name in ("ours", "theirs", "nobody"):
        done.append([])
        assert users.verify(store, "username", name, "wrong", now=NOON) is None

    assert [["bcrypt", "argon2"]] * 3 == done


def test_few_passwords_are_hashed_at_a_time(store, monkeypatch):
    """
    Each takes much memory, so more logins at once than that wait for their turn.
    """
    a_user(store, username="ada", password="correct")
    one_too_many = threading.Barrier(users.HASHES_AT_A_TIME + 1)
    crowds = []
    hasher = users._hasher

    class Meeting:
        def meet(self):
            with suppress(threading.BrokenBarrierError):  # as for all that come after
                crowds.append(one_too_many.wait(0.5))

        def verify(self, *args):
            self.meet()
            return hasher.verify(*args)

        def hash(self, *args):
            self.meet()
            return hasher.hash(*args)

        check_needs_rehash = hasher.check_needs_rehash

    monkeypatch.setattr(users, "_hasher", Meeting())

    with ThreadPoolExecutor(16) as threads:
        names = ["ada", "nobody"] * 8
        found = threads.map(
            lambda name: users.verify(store, "username", name, "correct", now=NOON), names
        )

    assert ([True, False] * 8, []) == ([user is not None for user in found], crowds)
