"""Webhooks over the API: who has which, where they may lead, and what is shown once."""

from dataclasses import replace

import pytest

from service import keys, webhooks
from service.errors import TooManyWebhooks
from service.model.webhooks import LOOPBACK, parse_secret
from service.security.vault import Vault
from tests.receivers import a_webhook, an_event, make_deliveries
from tests.support import NOON, SECRET_KEY, ApiClient, a_user, an_app, told

PATH = "/api/webhooks"
URL = "http://192.0.2.1/hook"


def a_client(api, store, **grant):
    """A client with another key, and that key's id."""
    key, value = keys.create(store, name="other", grant={"scopes": ["*"], **grant}, now=NOON)
    return ApiClient(api.flask, value), key["_id"]


def add(api, **body):
    """Add a webhook that exists then."""
    answer = api.post(PATH, {"url": URL, **body})
    assert 201 == answer.status, answer.json
    return answer.json


def patch(api, webhook_id, **body):
    """Change one."""
    return api.send("PATCH", f"{PATH}/{webhook_id}", json=body)


def test_a_webhook_is_made(api):
    """It has an address, and says whose it is and what it is told of."""
    answer = api.post(PATH, {"url": URL, "types": ["instance.ready"], "nodeId": "n"})
    made = api.get(answer.headers["Location"]).json

    assert 201 == answer.status
    assert {**made, "secret": answer.json["secret"]} == answer.json
    assert (URL, ["instance.ready"], "n", True, None) == tuple(
        made[name] for name in ("url", "types", "nodeId", "enabled", "disabled")
    )


def test_the_secret_is_shown_once(api, database):
    """Nothing that is answered later has it, and the database has it encrypted."""
    made = add(api)
    secret = made["secret"]

    shown = [api.get(f"{PATH}/{made['id']}").json, api.get(PATH).json,
             patch(api, made["id"], types=None).json]  # fmt: skip
    stored = database["webhooks"].find_one()
    assert 32 == len(parse_secret(secret))
    assert secret not in str([*shown, stored])
    assert secret == Vault(SECRET_KEY).open(stored["secret"])


def test_a_secret_of_ones_own(api):
    """A client may bring the secret that its receiver has already."""
    secret = webhooks.make_secret()

    assert secret == add(api, secret=secret)["secret"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("url", url) for url in (
            None, 7, "", "hook", "ftp://example.org/", "https://", "https://a b/", "//example.org",
            "https://user:pw@example.org/", "https://user@example.org/", "https://example.org/#x",
            "https://example.org:0/", "https://example.org:99999/", "https://exämple.org/",
            "http://2130706433/", "http://[::1%25lo]/", "http://x\r\ny/", "http://[::1/",
            "https://example.org/" + "x" * 3000,
        )),
        *(("types", types) for types in ([], "instance.ready", [7], ["instance.redy"],
                                         ["webhook.test"])),
        *(("secret", secret) for secret in ("", "whsec_", "whsec_AAAA", "AAAA" * 10,
                                            "whsec_" + "A" * 200)),
        ("instanceId", ""), ("userId", 7), ("nodeId", "x" * 99), ("enabled", True),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(api, store, field, value):
    """A 400 names the field, and nothing is stored."""
    body = {"url": URL, field: value}

    assert (400, "invalid_input", [field]) == told(api.post(PATH, body))
    assert [] == store.webhooks.all()


def test_a_type_that_is_meant_is_suggested(api):
    """One letter is wrong, and it is said which type there is."""
    answer = api.post(PATH, {"url": URL, "types": ["instance.redy"]})

    assert "Did you mean 'instance.ready'?" in str(answer.json["details"])


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "169.254.169.254", "169.254.7.7",
     "[fe80::1]", "[fd00:ec2::254]", "[::ffff:127.0.0.1]", "100.100.100.200", "224.0.0.1",
     "0x7f000001", "[64:ff9b::a9fe:a9fe]"],
)  # fmt: skip
def test_an_address_that_is_refused(api, host):
    """This machine, a cloud's metadata and what is link-local, however they are written."""
    answer = api.post(PATH, {"url": f"http://{host}/hook"})

    assert (400, ["url"]) == (answer.status, list(answer.json["details"]))


def test_loopback_needs_a_setting(config, store, memory_nodes):
    """With it keys that are not limited have webhooks there; no limited key has."""
    config = replace(config, allow_loopback_webhooks=True)
    api = ApiClient(an_app(config, store, memory_nodes).test_client(), None)
    full, _ = a_client(api, store)
    limited, _ = a_client(api, store, user_id=a_user(store)["_id"])
    body = {"url": "http://127.0.0.1/"}

    assert 201 == full.post(PATH, body).status
    assert (400, ["url"]) == (
        limited.post(PATH, body).status,
        list(told(limited.post(PATH, body))[2]),
    )


@pytest.mark.parametrize(
    "host",
    ["10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1", "[fd12::1]", "[::ffff:10.0.0.1]",
     "[64:ff9b::a00:1]"],
)  # fmt: skip
def test_a_limited_key_reaches_no_private_address(api, store, host):
    """Where the operator's own programs are."""
    limited, _ = a_client(api, store, user_id=a_user(store)["_id"])
    body = {"url": f"http://{host}/"}

    assert 201 == api.post(PATH, body).status
    assert (400, "invalid_input", ["url"]) == told(limited.post(PATH, body))
    assert 201 == limited.post(PATH, {"url": "http://8.8.8.8/"}).status


def test_all_that_is_wrong_is_named_at_once(api):
    """Also what is well formed, and refused."""
    body = {"url": "http://169.254.169.254/", "types": ["x"], "urk": 1}

    assert {"url", "types", "urk"} == set(api.post(PATH, body).json["details"])


def test_the_message_names_the_setting(api):
    """So an operator knows what to do."""
    assert [LOOPBACK] == api.post(PATH, {"url": "http://127.0.0.1/"}).json["details"]["url"]


def test_types_that_the_key_may_not_know_of(api, store):
    """403, as for events themselves."""
    client, _ = a_client(api, store, scopes=["webhooks:*", "instances:read"])

    answer = client.post(PATH, {"url": URL, "types": ["node.offline"]})

    assert (403, "forbidden") == told(answer)[:2]


def test_a_key_has_its_own_webhooks(api, store):
    """Another key's are as if there were none, unless it may do everything."""
    client, key_id = a_client(api, store, scopes=["webhooks:*", "instances:read"])
    own, other = add(client), add(api)

    assert [own["id"]] == [each["id"] for each in client.get(PATH).json]
    assert key_id == own["key"]
    assert {own["id"], other["id"]} == {each["id"] for each in api.get(PATH).json}
    for answer in (
        client.get(f"{PATH}/{other['id']}"), patch(client, other["id"], url=URL),
        client.delete(f"{PATH}/{other['id']}"), client.post(f"{PATH}/{other['id']}/rotate"),
        client.post(f"{PATH}/{other['id']}/test"), client.get(f"{PATH}/{other['id']}/deliveries"),
        client.get(f"{PATH}/{other['id']}/deliveries/x"),
        client.post(f"{PATH}/{other['id']}/deliveries/x/redeliver"),
    ):  # fmt: skip
        assert (404, "webhook_not_found") == told(answer)[:2]


def test_those_of_users_for_whom_a_key_acts_are_apart(api, store):
    """A key that acts for a user finds that user's webhooks, and no other's."""
    users = [a_user(store)["_id"], a_user(store)["_id"]]
    made = [
        api.post(PATH, {"url": "http://8.8.8.8/"}, headers={"Act-As": user}).json for user in users
    ]

    found = api.get(PATH, headers={"Act-As": users[0]}).json
    assert [made[0]["id"]] == [each["id"] for each in found]
    assert users[0] == found[0]["actsFor"]


def test_a_change(api):
    """What is absent stays, and null takes a filter away."""
    made = add(api, types=["node.offline"], instanceId="i", nodeId="n")

    changed = patch(api, made["id"], url="http://192.0.2.2/", nodeId=None).json

    assert ("http://192.0.2.2/", ["node.offline"], "i", None) == tuple(
        changed[name] for name in ("url", "types", "instanceId", "nodeId")
    )


def test_a_change_of_what_was_changed_meanwhile(api):
    """`If-Match` is heeded."""
    path = f"{PATH}/{add(api)['id']}"
    old = {"If-Match": api.get(path).headers["ETag"]}
    assert 200 == api.send("PATCH", path, json={"enabled": False}, headers=old).status

    for answer in (
        api.send("PATCH", path, json={"enabled": True}, headers=old),
        api.post(f"{path}/rotate", headers=old),
        api.delete(path, headers=old),
    ):
        assert (412, "precondition_failed") == told(answer)[:2]


def test_disabling_and_enabling(api):
    """A client may do both, and nothing is sent in between."""
    webhook_id = add(api)["id"]

    disabled = patch(api, webhook_id, enabled=False).json
    test = api.post(f"{PATH}/{webhook_id}/test")
    enabled = patch(api, webhook_id, enabled=True).json

    assert (False, "requested") == (disabled["enabled"], disabled["disabled"]["reason"])
    assert (409, "webhook_disabled") == told(test)[:2]
    assert (True, None) == (enabled["enabled"], enabled["disabled"])


def test_one_whose_key_is_gone_stays_disabled(api, store):
    """It would see what nobody may see any more."""
    client, key_id = a_client(api, store)
    webhook_id = add(client)["id"]
    keys.revoke(store, key_id)

    assert (409, "webhook_disabled", ["enabled"]) == told(patch(api, webhook_id, enabled=True))


def test_rotation_shows_the_new_secret_once(api):
    """And until when the old one signs."""
    made = add(api)

    rotated = api.post(f"{PATH}/{made['id']}/rotate", {"overlap": 60})

    assert (201, True) == (rotated.status, rotated.json["secret"] != made["secret"])
    assert rotated.json["oldSecretExpiresAt"]
    assert "secret" not in api.get(f"{PATH}/{made['id']}").json


def test_a_webhook_that_is_deleted_is_gone(api, store, database):
    """With what waited for it."""
    made = add(api)
    make_deliveries(store, database, an_event(1))

    assert 204 == api.delete(f"{PATH}/{made['id']}").status
    assert 404 == api.get(f"{PATH}/{made['id']}").status
    assert [] == store.deliveries.all()


def test_deliveries_are_paged(api, store, database):
    """The newest first, and each once."""
    made = add(api)
    make_deliveries(store, database, *(an_event(number) for number in range(1, 8)))
    path, found = f"{PATH}/{made['id']}/deliveries?limit=3", []
    while path:
        answer = api.get(path)
        found += [int(each["eventId"]) for each in answer.json]
        path = answer.headers.get("Link", "").partition(">")[0].removeprefix("<")

    assert [7, 6, 5, 4, 3, 2, 1] == found


def test_deliveries_by_status(api, store, database):
    """Those that wait, or failed."""
    made = add(api)
    make_deliveries(store, database, an_event(1), an_event(2))
    database["deliveries"].update_one({"event_id": 1}, {"$set": {"status": "failed"}})

    found = api.get(f"{PATH}/{made['id']}/deliveries?status=failed").json

    assert ["1"] == [each["eventId"] for each in found]
    assert 400 == api.get(f"{PATH}/{made['id']}/deliveries?status=x").status


def test_one_delivery(api, store, database):
    """By its address; another webhook's is not found there."""
    made, other = add(api), add(api)
    make_deliveries(store, database, an_event(1))
    path = f"/deliveries/msg_{made['id']}_1"

    assert "1" == api.get(f"{PATH}/{made['id']}{path}").json["eventId"]
    assert (404, "delivery_not_found") == told(api.get(f"{PATH}/{other['id']}{path}"))[:2]
    again = api.post(f"{PATH}/{other['id']}{path}/redeliver")
    assert (404, "delivery_not_found") == told(again)[:2]


def test_a_test_has_an_address(api):
    """Whose delivery waits."""
    made = add(api)

    answer = api.post(f"{PATH}/{made['id']}/test")

    assert (201, "webhook.test", None) == (
        answer.status, answer.json["type"], answer.json["eventId"]
    )  # fmt: skip
    assert answer.json == api.get(answer.headers["Location"]).json


def test_a_test_that_is_repeated_is_one(api, store):
    """With the same Idempotency-Key."""
    made, headers = add(api), {"Idempotency-Key": "k"}
    first, again = (api.post(f"{PATH}/{made['id']}/test", headers=headers) for _ in range(2))

    assert first.json == again.json
    assert 1 == len(store.deliveries.all())


def test_a_webhook_that_is_repeated_is_one(api, store):
    """Its secret cannot be shown again."""
    headers = {"Idempotency-Key": "k"}
    first, again = (api.post(PATH, {"url": URL}, headers=headers) for _ in range(2))

    assert (201, (409, "already_done")) == (first.status, told(again)[:2])
    assert first.json["id"] == again.json["details"]["webhookId"]


def test_there_are_bounds(store, monkeypatch):
    """Of a key and those it made, and of all."""
    monkeypatch.setattr(webhooks, "MOST_OF_KEY", 2)
    monkeypatch.setattr(webhooks, "MOST", 3)
    one, two = (keys.create(store, name="k", now=NOON)[0] for _ in range(2))
    for key in (one, one, two):
        a_webhook(store, URL, key=key)

    for key in (one, two):
        with pytest.raises(TooManyWebhooks):
            a_webhook(store, URL, key=key)
    assert 3 == len(store.webhooks.all())


def test_changes_are_in_the_audit_log_without_the_secret(api, store):
    """Who made it, and what was changed."""
    made = add(api)
    patch(api, made["id"], enabled=False)
    api.post(f"{PATH}/{made['id']}/rotate")
    api.delete(f"{PATH}/{made['id']}")

    found = api.get(f"/api/audit?target={made['id']}").json["entries"]
    assert [
        "webhooks.remove_webhook", "webhooks.rotate_webhook", "webhooks.edit_webhook",
        "webhooks.add_webhook",
    ] == [each["action"] for each in found]  # fmt: skip
    assert "whsec_" not in str(found)
