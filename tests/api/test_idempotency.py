"""Requests that bear an `Idempotency-Key`: they are carried out once, whatever happens."""

import json
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from copy import copy
from dataclasses import replace
from pathlib import Path

import pytest

from service import idempotency, instances
from service.app import make_store
from service.errors import IdempotencyInProgress, StoreUnavailable
from service.model.origin import Origin
from service.security.vault import Vault
from tests.support import (
    DEPLOY,
    NOON,
    ApiClient,
    a_body,
    a_key,
    an_app,
    an_order,
    run_due,
    told,
)

DYING_SERVER = (Path(sys.executable), "-m", "tests.dying_server")
CREATE_USER = "/api/auth/create-user"
ADA = {"username": "ada", "email": "ada@example.org", "password": "correct horse"}
A_KEY = {"name": "bot", "scopes": ["images:read"]}


def send(api, path, body=None, *, key="k-1", **options):
    """Send a POST with an Idempotency-Key."""
    return api.post(path, body, headers={"Idempotency-Key": key}, **options)


def let_lease_run_out(database):
    """Have the time of whoever carries a request out be over."""
    database["idempotency"].update_many(
        {"lease": {"$ne": None}}, [{"$set": {"lease.until": "$created_at"}}]
    )


def cut_off(database):
    """Have all answers lost, as if the processes had died before they gave them."""
    lease = {"token": "gone", "until": "$created_at"}
    database["idempotency"].update_many({}, [{"$set": {"answer": None, "lease": lease}}])


def is_replay(answer):
    """Return whether an answer says that it was given before."""
    return answer.headers.get("Idempotency-Replayed") == "true"


# Repeats


@pytest.mark.parametrize("path", [DEPLOY, CREATE_USER])
def test_a_repeat_gets_the_same_answer(api, place, look, path):
    """
    A repeat is answered like the first, with its status, and changes nothing.
    """
    body = a_body(place) if path == DEPLOY else ADA
    first = send(api, path, body)
    before = look()

    again = send(api, path, body)

    assert (201, first.json) == (again.status, again.json)
    assert (False, True) == (is_replay(first), is_replay(again))
    assert before == look()


def test_a_repeat_may_name_its_fields_in_another_order(api):
    """
    JSON objects have no order, and clients in some languages give them none.
    """
    first = send(api, CREATE_USER, ADA)

    again = send(api, CREATE_USER, dict(reversed(ADA.items())))

    assert first.json == again.json


@pytest.mark.parametrize(
    ("path", "body"), [(CREATE_USER, {**ADA, "password": "battery staple"}), (DEPLOY, ADA)]
)
def test_another_request_with_the_same_key_is_refused(api, database, path, body):
    """
    Another body or path with a known key is a 422, and nothing is done.
    """
    send(api, CREATE_USER, ADA)

    answer = send(api, path, body)

    assert (422, "idempotency_key_reused") == (answer.status, answer.json["code"])
    assert 1 == database["users"].count_documents({})


def test_every_api_key_has_idempotency_keys_of_its_own(api, store, database):
    """
    Two clients that choose the same key do not meet.
    """
    other = replace(api, key=a_key(store))
    send(api, CREATE_USER, ADA)

    answer = send(other, CREATE_USER, {**ADA, "username": "bob", "email": "bob@example.org"})

    assert (201, False) == (answer.status, is_replay(answer))


@pytest.mark.parametrize("key", ["", " ", "a b", "é", "x" * 256, "tab\t"])
def test_a_key_has_1_to_255_visible_characters(api, database, key):
    """
    Anything else is a 400 that names the header, and nothing is done.
    """
    answer = send(api, CREATE_USER, ADA, key=key)

    assert (400, "invalid_input", ["Idempotency-Key"]) == told(answer)
    assert 0 == database["users"].count_documents({})


def test_an_error_releases_the_key(api, database):
    """
    An error did nothing, so the request may be mended, and sent with the same key.
    """
    refused = send(api, CREATE_USER, {**ADA, "password": "short"})

    answer = send(api, CREATE_USER, ADA)

    assert (400, 201, False) == (refused.status, answer.status, is_replay(answer))


def test_what_changes_nothing_is_done_each_time(api, store, database):
    """
    A look-up answers what is true now, and a password that is verified is kept nowhere.
    """
    lookup = {"type": "username", "value": "ada"}
    unknown = send(api, "/api/getUser", lookup)
    send(api, CREATE_USER, ADA, key="k-2")

    found = send(api, "/api/getUser", lookup)

    assert (400, 201) == (unknown.status, found.status)
    assert 1 == database["idempotency"].count_documents({})


def test_a_record_is_kept_for_a_day(api, database):
    """
    The database forgets a record 24 hours after it was made.
    """
    send(api, CREATE_USER, ADA)
    record = database["idempotency"].find_one()

    [ttl] = [
        index
        for index in database["idempotency"].index_information().values()
        if index.get("expireAfterSeconds") == 0
    ]

    assert 24 * 3600 == (record["expires_at"] - record["created_at"]).total_seconds()
    assert [("expires_at", 1)] == ttl["key"]


def test_an_expired_record_counts_no_more(api, database):
    """
    What the database has not removed yet does not answer.
    """
    send(api, CREATE_USER, ADA)
    database["idempotency"].update_one({}, [{"$set": {"expires_at": "$created_at"}}])

    answer = send(api, CREATE_USER, ADA)

    assert (409, "conflict") == (answer.status, answer.json["code"])


# Secrets


def a_secret_maker(name, api, place):
    """Make (path, body, field with the id) of a request whose answer has a secret."""
    if name == "a new key":
        return "/api/keys", A_KEY, "keyId"
    if name == "a key with a new value":
        key_id = api.post("/api/keys", A_KEY).json["id"]
        return f"/api/keys/{key_id}/rotate", None, "keyId"
    node = {"name": "n", "tags": "eu", "ram": "1", "disk": "1", "processor": "1",
            "address": "203.0.113.9", "port": 3002}  # fmt: skip
    if name == "a new node":
        return "/api/nodes/create", node, "nodeId"
    node_id = api.post("/api/nodes/create", node).json["id"]
    return f"/api/nodes/{node_id}/configure-key", None, "nodeId"


SECRET_MAKERS = ["a new key", "a key with a new value", "a new node", "a configure key"]


@pytest.mark.parametrize("name", SECRET_MAKERS)
def test_a_secret_is_answered_once(api, place, database, name):
    """
    The repeat is a 409 with the id of what was made, and no record has the secret.
    """
    path, body, field = a_secret_maker(name, api, place)
    first = send(api, path, body)
    secret = first.json.get("key") or first.json["configureKey"]

    again = send(api, path, body)

    assert 201 == first.status
    assert (409, "already_done", [field]) == told(again)
    assert again.json["details"][field] in {first.json.get("id"), *path.split("/")}
    assert secret not in str(list(database["idempotency"].find()))


def test_a_password_is_not_kept(api, database):
    """
    A record has a keyed digest of the body, from which nobody can find out what was in it.
    """
    send(api, CREATE_USER, ADA)

    assert ADA["password"] not in str(list(database["idempotency"].find()))


def test_a_new_secret_key_forgets_nothing(config, store, memory_nodes, api):
    """
    A repeat is known while the secret key is being replaced.
    """
    first = send(api, CREATE_USER, ADA)
    keys = f"another secret key that is new,{config.secret_key}"
    app = an_app(replace(config, secret_key=keys), store, memory_nodes)

    again = send(ApiClient(app.test_client(), api.key), CREATE_USER, ADA)

    assert (201, first.json) == (again.status, again.json)


def test_without_a_secret_key_nothing_is_done(config, store, memory_nodes, api, database):
    """
    A request that bears an Idempotency-Key is a 500 that says what is missing.
    """
    app = an_app(replace(config, secret_key=""), store, memory_nodes)

    answer = send(ApiClient(app.test_client(), api.key), CREATE_USER, ADA)

    assert (500, "no_secret_key") == (answer.status, answer.json["code"])
    assert 0 == database["users"].count_documents({})


# What is cut off


def test_a_request_that_is_carried_out_is_not_repeated(api, database):
    """
    While the first is carried out its repeat is a 409 that says when to come back.
    """
    send(api, CREATE_USER, ADA)
    lease = {"token": "another", "until": {"$add": ["$$NOW", 20_000]}}
    database["idempotency"].update_one({}, [{"$set": {"answer": None, "lease": lease}}])

    answer = send(api, CREATE_USER, ADA)

    assert (409, "idempotency_in_progress") == (answer.status, answer.json["code"])
    assert "1" == answer.headers["Retry-After"]


def test_what_was_cut_off_before_its_change_is_done_by_a_repeat(api, database):
    """
    A record that is not marked is of a request that changed nothing.
    """
    send(api, CREATE_USER, ADA)
    database["users"].delete_many({})
    database["idempotency"].update_one({}, {"$set": {"made": None}})
    cut_off(database)

    answer = send(api, CREATE_USER, ADA)

    assert (201, False) == (answer.status, is_replay(answer))
    assert 1 == database["users"].count_documents({})


def test_a_deploy_that_was_cut_off_is_answered_by_its_repeat(api, place, database, look):
    """
    The repeat gets the very answer that was lost, and no second instance is made.
    """
    first = send(api, DEPLOY, a_body(place))
    before = look()
    cut_off(database)

    again = send(api, DEPLOY, a_body(place))

    assert (201, first.json, True) == (again.status, again.json, is_replay(again))
    assert before == look()


@pytest.mark.parametrize("action", ["suspend", "unsuspend", "start", "stop", "restart", "kill"])
def test_a_power_action_that_was_cut_off_is_not_done_twice(api, ready, database, action):
    """
    The repeat answers the operation of the first.
    """
    path = f"/api/instances/{ready}/{action}"
    if action.endswith("suspend"):
        path = f"/api/instances/{action}/{ready}"
    first = send(api, path)
    cut_off(database)

    again = send(api, path)

    assert (200, first.json["operationId"]) == (again.status, again.json["operationId"])
    assert 2 == database["operations"].count_documents({})  # the deploy is the other


@pytest.mark.parametrize("name", SECRET_MAKERS[:3])
def test_a_secret_that_was_cut_off_is_lost(api, place, database, name):
    """
    Nobody saw it and nobody will; the repeat says what was made, and makes nothing.
    """
    path, body, field = a_secret_maker(name, api, place)
    send(api, path, body)
    cut_off(database)
    before = [list(database[name].find({}, {"last_used_at": 0})) for name in ("keys", "nodes")]

    again = send(api, path, body)

    assert (409, "already_done", [field]) == told(again)
    assert before == [
        list(database[name].find({}, {"last_used_at": 0})) for name in ("keys", "nodes")
    ]


def test_what_is_gone_is_already_done(api, place, store, memory_nodes, database):
    """
    A repeat whose answer was lost, of an instance that was deleted since, makes no other.
    """
    made = send(api, DEPLOY, a_body(place)).json["Id"]
    run_due(store, memory_nodes)
    api.delete("/api/instance/delete", {"id": made})
    run_due(store, memory_nodes)
    cut_off(database)

    again = send(api, DEPLOY, a_body(place))

    assert (409, "already_done") == (again.status, again.json["code"])
    assert made == again.json["details"]["instanceId"]


def test_retries_and_cancellations_are_done_once(api, place, database):
    """
    Repeats of a cancellation and of a retry answer what the first ones did.
    """
    operation_id = send(api, DEPLOY, a_body(place)).json["operationId"]
    paths = [f"/api/operations/{operation_id}/{what}" for what in ("cancel", "retry")]
    first = []
    again = []
    for path in paths:
        first.append(send(api, path, key=path))
        cut_off(database)
        again.append(send(api, path, key=path))

    assert [200] * 4 == [answer.status for answer in first + again]
    assert [one.json["id"] for one in first] == [one.json["id"] for one in again]
    assert 2 == database["operations"].count_documents({})


def test_who_is_overtaken_changes_nothing(store, place, database):
    """
    A process that comes back after its lease has run out, and a repeat took its place, is refused.
    """
    vault = Vault("a secret key of the tests")
    order = an_order(*place)
    wanted = {"key_id": "k", "idempotency_key": "1", "request": b"deploy"}
    slow = idempotency.begin(store, vault, **wanted, lease_s=-1)
    fast = idempotency.begin(store, vault, **wanted)

    with pytest.raises(IdempotencyInProgress):
        instances.deploy(store, order, origin=Origin(NOON, claim=slow))
    instances.deploy(store, order, origin=Origin(NOON, claim=fast))

    assert 1 == database["instances"].count_documents({})


def test_an_answer_that_cannot_be_kept_is_given(api, place, store, monkeypatch, database):
    """
    A database that goes away after the change loses no answer, and a repeat finds what was made.
    """
    records = copy(store.idempotency)

    def fail(*_):
        raise StoreUnavailable("The database does not answer.")

    monkeypatch.setattr(store.idempotency, "keep", fail)
    first = send(api, DEPLOY, a_body(place))
    monkeypatch.setattr(store.idempotency, "keep", records.keep)
    busy = send(api, DEPLOY, a_body(place))
    let_lease_run_out(database)

    again = send(api, DEPLOY, a_body(place))

    assert (201, 409, 201) == (first.status, busy.status, again.status)
    assert first.json == again.json


# Several at once


@pytest.mark.heavy
def test_of_many_repeats_at_once_one_is_carried_out(config, api, place, memory_nodes, database):
    """
    Twenty threads in two apps on one database send one request: one instance is made, and the
    others are told to wait, or what it was.
    """
    together = threading.Barrier(20)

    def deploy(app):
        together.wait()
        return send(ApiClient(app.test_client(), api.key), DEPLOY, a_body(place))

    with closing(make_store(config)) as one, closing(make_store(config)) as two:
        apps = [an_app(config, store, memory_nodes) for store in (one, two)]
        with ThreadPoolExecutor(20) as threads:
            answers = list(threads.map(deploy, apps * 10))

    made = {answer.json["Id"] for answer in answers if answer.status == 201}
    others = {answer.json["code"] for answer in answers if answer.status != 201}
    assert [*made] == [document["_id"] for document in database["instances"].find()]
    assert others <= {"idempotency_in_progress"}
    assert 1 == sum(answer.status == 201 and not is_replay(answer) for answer in answers)


@pytest.mark.spawns
def test_a_process_that_is_killed_before_its_answer_leaves_one_instance(
    api, place, database, programs
):
    """
    After the transaction a process is killed; a repeat gets the instance, and there is only one.
    """
    body = a_body(place)
    process = programs(*DYING_SERVER, api.key, "k-1", DEPLOY, json.dumps(body))
    assert -signal.SIGKILL == process.wait(60)

    early = send(api, DEPLOY, body)
    let_lease_run_out(database)
    late = send(api, DEPLOY, body)

    [instance] = database["instances"].find()
    assert (409, "idempotency_in_progress") == (early.status, early.json["code"])
    assert (201, instance["_id"], True) == (late.status, late.json["Id"], is_replay(late))
