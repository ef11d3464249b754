"""Who sends too much, or guesses, must wait; who does neither never notices."""

from dataclasses import replace
from datetime import timedelta

import pytest

from service import keys
from service.api.throttle import Counters
from service.app import create_app
from service.brake import Brake
from service.errors import StoreUnavailable, Throttled
from tests.support import NOON, ApiClient, a_key, a_user


def a_client(config, store, memory_nodes, *, key=None, clock=None, **settings):
    """Make a client of an app with these settings; its address is 127.0.0.1."""
    clock = clock or [NOON]
    app = create_app(replace(config, **settings), store, memory_nodes, now=lambda: clock[0])
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

    assert (1, 0) == (counters.get("new"), counters.get("old-1"))
    assert counters.reset() < 100


# Guessing


def test_guessing_is_slowed(config, store, memory_nodes):
    """
    After three wrong keys an address is answered 429, even if the fifth guess is right.
    """
    good = a_key(store)
    api = a_client(config, store, memory_nodes, failure_rate=3)

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
    api = a_client(config, store, memory_nodes, key=a_key(store), failure_rate=2)
    before = api.get("/api/name").status
    guesses = [replace(api, key="wrong").get("/api/name").status for _ in range(4)]

    assert (200, [401, 401, 429, 429], 200) == (before, guesses, api.get("/api/name").status)


def test_the_wait_ends(config, store, memory_nodes):
    """
    In the next minute the address may try again.
    """
    clock = [NOON]
    api = a_client(config, store, memory_nodes, failure_rate=1, clock=clock, key="wrong")
    statuses = [api.get("/api/name").status for _ in range(2)]

    clock[0] = NOON + timedelta(seconds=60)

    assert [401, 429, 401] == [*statuses, api.get("/api/name").status]


def test_processes_share_the_count(store):
    """
    What one process counted another heeds at the next failure there.
    """
    one, other = Brake(store, limit=3), Brake(store, limit=3)
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

    monkeypatch.setattr(store.failures, "count_one", fail)
    brake = Brake(store, limit=2)
    brake.remember("192.0.2.1", "good")
    for _ in range(2):
        brake.fail("192.0.2.1", now=NOON)

    with pytest.raises(Throttled):
        brake.fail("192.0.2.1", now=NOON)
    brake.check("192.0.2.1", "good", now=NOON)
    brake.check("192.0.2.2", "any", now=NOON)
    with pytest.raises(Throttled):
        brake.check("192.0.2.1", "guess", now=NOON)


def test_what_is_kept_of_a_guess_is_no_secret(config, store, memory_nodes, mongo_client):
    """
    The database has neither the key that was tried nor the address, and forgets the count.
    """
    api = a_client(config, store, memory_nodes, failure_rate=9, key="sq_guess")
    api.get("/api/name")

    collection = mongo_client[config.database]["failures"]
    [kept] = collection.find()
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


@pytest.mark.parametrize("body", [{}, {"username": "a", "email": "a@example.org"}])
def test_one_of_name_and_address_is_needed(api, body):
    """
    Neither or both is a 400 that names the field.
    """
    answer = verify(api, **body)

    assert (400, ["username"]) == (answer.status, list(answer.json["details"]))


def test_guessing_a_password_is_slowed(config, store, memory_nodes):
    """
    After three failures for one name even the right password must wait; other names need not.
    """
    a_user(store, username="ada", password="correct")
    a_user(store, username="bob", password="correct")
    api = a_client(config, store, memory_nodes, key=a_key(store), failure_rate=3)

    guesses = [verify(api, username="ada", password=f"guess {n}").status for n in range(4)]
    ada, bob = verify(api, username="ADA"), verify(api, username="bob")

    assert [200, 200, 200, 429] == guesses
    assert (429, True) == (ada.status, bob.json["valid"])


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

    from service import users

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
