"""What holds for every endpoint: keys, bodies, errors, request ids, and a database that is away."""

import re
import socket
import time
from dataclasses import replace
from datetime import timedelta

import pytest

from service import keys
from service.app import create_app
from service.config import Config
from service.errors import StoreFailure, StoreUnavailable
from service.store import CALL_TIMEOUT_S, Store
from tests.support import NOON, SPEC, ApiClient, a_deploy, a_key, a_node, a_user, an_image, told

CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
AXIOS = "application/json, text/plain, */*"

OPEN_PATHS = ["/", "/docs", "/docs/", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js",
              "/console/", "/openapi.json", "/healthz", "/readyz"]  # fmt: skip


def list_operations():
    """List (method, path, whether it takes a body) of all that needs a key, as it is documented."""
    return [
        (method.upper(), path.replace("{instance_id}", "nothing"), "requestBody" in operation)
        for path, operations in SPEC["paths"].items()
        for method, operation in operations.items()
        if method != "parameters" and operation.get("security") != []
    ]


OPERATIONS = list_operations()
GUARDED = [(method, path) for method, path, _ in OPERATIONS]
WITH_BODY = [(method, path) for method, path, has_body in OPERATIONS if has_body]


class Broken:
    """A store that is ready, and of which every use raises an error."""

    def __init__(self, error):
        self._error = error

    def check_server(self):
        """Find nothing wrong."""

    def prepare(self):
        """Be ready."""

    def __getattr__(self, name):
        raise self._error


@pytest.fixture
def away():
    """A store whose database is not there: its port takes no connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        store = Store(f"mongodb://127.0.0.1:{taken.getsockname()[1]}/?directConnection=true", "x")
        yield store
        store.close()


def a_client(store, *, key="sq_any", config=None, **options):
    """Make a client of an app on this store."""
    return ApiClient(create_app(config or Config(), store, **options).test_client(), key)


def read(api, path):
    """Read a path without a key, files to their end; return the status."""
    with api.flask.get(path) as answer:
        return answer.status_code


def is_error(answer):
    """Return whether an answer is an error as all errors are."""
    members = {"type": str, "title": str, "status": int, "detail": str, "instance": str}
    return (
        answer.headers["Content-Type"] == "application/json"
        and {"error": str, "code": str, "details": dict, **members}
        == {name: type(value) for name, value in answer.json.items()}
        and answer.json["type"] == f"/docs/errors#{answer.json['code']}"
        and answer.json["status"] == answer.status
        and re.fullmatch(r"[a-z]+(_[a-z]+)*", answer.json["code"]) is not None
    )


# Keys


def test_everything_else_needs_a_key(api):
    """
    Each documented operation without a key is a JSON 401, and so is an unknown path.
    """
    stranger = replace(api, key=None)

    answers = [stranger.send(method, path) for method, path in [*GUARDED, ("GET", "/api/nope")]]

    assert {(401, "unauthorized", True)} == {
        (answer.status, answer.json["code"], is_error(answer)) for answer in answers
    }


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": ""},
        {"x-api-key": "sq_wrong"},
        {"x-api-key": "clé"},
        {"x-api-key": "x" * 4000},
        {"authorization": "the key"},
        {"api-key": "the key"},
    ],
)
def test_a_wrong_key_is_no_key(api, headers):
    """
    A key that we do not know, or that stands elsewhere, is a 401.
    """
    sent = {name: api.key if value == "the key" else value for name, value in headers.items()}

    answer = replace(api, key=None).get("/api/users", headers=sent)

    assert (401, "unauthorized") == (answer.status, answer.json["code"])


def test_a_key_in_the_query_is_no_key(api):
    """
    A key in the query, where logs would keep it, is a 401.
    """
    answer = replace(api, key=None).get(f"/api/users?key={api.key}&x-api-key={api.key}")

    assert 401 == answer.status


def test_the_header_may_be_in_any_letter_case(api):
    """
    Header names have no letter case.
    """
    answer = replace(api, key=None).get("/api/users", headers={"X-API-Key": api.key})

    assert 200 == answer.status


@pytest.mark.parametrize(("seconds_left", "status"), [(1, 200), (0, 401), (-1, 401)])
def test_a_key_expires(store, seconds_left, status):
    """
    A key is good until its time, and worthless from then on.
    """
    _, key = keys.create(
        store, name="k", now=NOON, grant={"expires_at": NOON + timedelta(seconds=seconds_left)}
    )
    api = a_client(store, key=key, now=lambda: NOON)

    answer = api.get("/api/users")

    assert status == answer.status


def test_a_revoked_key_is_worthless(store):
    """
    From the moment it is revoked, a key is a 401.
    """
    document, key = keys.create(store, name="k", now=NOON)
    api = a_client(store, key=key)
    before = api.get("/api/users")
    keys.revoke(store, document["_id"])

    answer = api.get("/api/users")

    assert (200, 401) == (before.status, answer.status)


def test_the_key_of_the_settings_works_at_once(config):
    """
    A key that the settings ask for exists when the first request is answered.
    """
    key = "a-key-of-the-settings"
    store = Store(config.mongodb_uri, config.database)

    answer = a_client(store, key=key, config=replace(config, api_key=key)).get("/api/users")

    store.close()
    assert 200 == answer.status


@pytest.mark.parametrize("path", OPEN_PATHS)
def test_open_paths_need_no_key(api, path):
    """
    The root endpoint, the documentation and the probes are open to everybody.
    """
    assert 200 == read(api, path)


def test_the_probes_say_how_it_is(api):
    """
    /healthz tells that the process runs, /readyz that the database answers.
    """
    assert ({"status": "ok"}, {"status": "ready"}) == (
        api.get("/healthz").json,
        api.get("/readyz").json,
    )


def test_a_change_is_signed(api, store, memory_nodes):
    """
    An operation tells in which request and with which key it was asked for.
    """
    body = a_deploy(a_user(store), a_node(store, memory_nodes), an_image(store))
    answer = api.post("/api/instances/deploy", body, headers={"X-Request-Id": "req-1"})

    operation = store.operations.get(answer.json["operationId"])

    assert (store.keys.all()[0]["_id"], "req-1") == (
        operation["requested_by"],
        operation["request_id"],
    )


# Paths and methods


@pytest.mark.parametrize(
    "path", ["/nope", "/api", "/api/", "/api/user", "/api/instances/x/y", "/%00"]
)
def test_an_unknown_path_is_a_404(api, path):
    """
    With a key, a path that does not exist is a JSON 404.
    """
    answer = api.get(path)

    assert (404, "not_found", True) == (answer.status, answer.json["code"], is_error(answer))
    assert "There is no such path." == answer.json["error"]


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_a_wrong_method_is_a_405(api, method, path):
    """
    A method that a path does not have is a JSON 405, which names those that it has.
    """
    other = next(each for each in ("PATCH", "PUT", "TRACE") if (each, path) not in GUARDED)

    answer = api.send(other, path)

    assert (405, "method_not_allowed", True) == (
        answer.status,
        answer.json["code"],
        is_error(answer),
    )
    assert method in answer.headers["Allow"].split(", ")
    assert answer.json["error"].startswith("This path takes ")
    assert method in answer.json["error"]


def test_a_wrong_method_is_told_the_right_ones(api):
    """
    In the order of the alphabet, and without those that no client means.
    """
    assert "This path takes GET, POST." == api.send("PUT", "/api/keys").json["error"]


def test_a_slash_at_the_end_does_not_matter(api):
    """
    A path with a slash at its end is the same path.
    """
    answer = api.get("/api/users/")

    assert (200, []) == (answer.status, answer.json)


# Bodies


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"{'id': 1}",
        b'{"id": "x",}',
        b'{"id": NaN}',
        b'{"id": Infinity}',
        b'{"id": 1e999}',
        b'{"id": "\\ud800"}',
        b'{"id": "\xff"}',
        b"\xff\xfe{}",
        b'\xef\xbb\xbf{"id": "x"}',
        b"{} {}",
        b"\0",
        b"[" * 100_000,
        b'{"id":' * 100_000,
        b'{"id":' * 30 + b"1" + b"}" * 30,
        b'{"id":' + b"[" * 30 + b"]" * 30 + b"}",
        b"null",
        b"true",
        b"7",
        b'"x"',
        b"[]",
        b'[{"id": "x"}]',
    ],
    ids=lambda body: body[:20],
)
@pytest.mark.parametrize(("method", "path"), [WITH_BODY[0], ("DELETE", "/api/nodes/delete")])
def test_a_body_that_is_no_json_object_is_a_400(api, method, path, body):
    """
    What is no JSON object, or one of abysmal depth, is a 400 that names the body.
    """
    answer = api.send(method, path, data=body)

    assert (400, "invalid_input", ["body"], True) == (
        answer.status,
        answer.json["code"],
        list(answer.json["details"]),
        is_error(answer),
    )


@pytest.mark.parametrize(("method", "path"), WITH_BODY)
def test_every_body_is_read_with_care(api, method, path):
    """
    Wherever a body is taken, malformed JSON is a 400, too large a one 413, and other types 415.
    """
    json = {"Content-Type": "application/json"}

    answers = [
        api.send(method, path, data=b"{", headers=json),
        api.send(method, path, data=b" " * (1024 * 1024 + 1), headers=json),
        api.send(method, path, data=b"id=x", headers={"Content-Type": "text/plain"}),
    ]

    assert [(400, True), (413, True), (415, True)] == [
        (answer.status, is_error(answer)) for answer in answers
    ]


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
     "application/xml", "text/html", "application/jsonp", "application/octet-stream"],
)  # fmt: skip
def test_other_content_types_are_a_415(api, content_type):
    """
    A body that says it is something else than JSON is not read, even where it looks like JSON.
    """
    answer = api.send(
        "POST",
        "/api/getUser",
        data=b'{"type": "id", "value": "x"}',
        headers={"Content-Type": content_type},
    )

    assert (415, "unsupported_media_type") == (answer.status, answer.json["code"])


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "application/json"},
        {"Content-Type": "application/json; charset=utf-8"},
        {"Content-Type": "APPLICATION/JSON"},
        {"Content-Type": "application/vnd.api+json"},
    ],
    ids=str,
)
def test_json_is_read(api, store, headers):
    """
    A body of a JSON type is read, and so is one of no type at all.
    """
    a_user(store, user_id="u-1")

    answer = api.send(
        "POST", "/api/getUser", data=b'{"type": "id", "value": "u-1"}', headers=headers
    )

    assert (201, "u-1") == (answer.status, answer.json["userId"])


def test_a_body_of_exactly_the_limit_is_read(config, store):
    """
    The largest body that is allowed is no error.
    """
    api = a_client(store, key=a_key(store), config=config)
    api.flask.application.config["MAX_CONTENT_LENGTH"] = 100

    fits, exceeds = (
        api.send("POST", "/api/getInstance", data=b'{"id": "x"}'.ljust(size)) for size in (100, 101)
    )

    assert (400, 413) == (fits.status, exceeds.status)
    assert "The body is larger than 100 bytes." == exceeds.json["error"]


def test_delete_has_a_body(api, store, memory_nodes):
    """
    A DELETE is told in its body what to delete, as the older panel's clients do.
    """
    node = a_node(store, memory_nodes)

    answer = api.send(
        "DELETE",
        "/api/nodes/delete",
        data=b'{"nodeId": "%s"}' % node["_id"].encode(),
        headers={"Content-Type": "application/json"},
    )

    assert 201 == answer.status


# The root endpoint


@pytest.mark.parametrize("accept", [None, "", "*/*", AXIOS, "application/json", "text/plain"])
def test_programs_are_greeted_in_json(api, accept):
    """
    curl, axios and whoever does not ask for HTML gets 200 and JSON, without a key.
    """
    headers = {} if accept is None else {"Accept": accept}

    answer = replace(api, key=None).get("/", headers=headers)

    assert (200, "application/json", "Skyquay") == (
        answer.status,
        answer.headers["Content-Type"],
        answer.json["name"],
    )


def test_the_front_endpoint_shows_the_way(api):
    """
    Every link of the root endpoint leads somewhere.
    """
    links = api.get("/").json["links"]

    assert {200} == {read(api, link) for link in links.values()}


@pytest.mark.parametrize("accept", [CHROME, FIREFOX, "text/html"])
def test_browsers_are_sent_to_the_console(api, accept):
    """
    Who prefers HTML is redirected to the console.
    """
    answer = replace(api, key=None).get("/", headers={"Accept": accept})

    assert (302, "/console/") == (answer.status, answer.headers["Location"])


def test_the_panel_has_a_name(config, store):
    """
    GET /api/name answers the name of the settings.
    """
    api = a_client(store, key=a_key(store), config=replace(config, name="My panel"))

    answer = api.get("/api/name")

    assert (200, {"name": "My panel"}) == (answer.status, answer.json)


# Request ids


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/api/users"), ("GET", "/nope"), ("PUT", "/api/users"),
     ("POST", "/api/getUser")],
)  # fmt: skip
def test_a_request_id_is_echoed(api, method, path):
    """
    An answer bears the id that its request bore, whatever the answer is.
    """
    answer = api.send(method, path, headers={"X-Request-Id": "abc-1.2_3"})

    assert "abc-1.2_3" == answer.headers["X-Request-Id"]


@pytest.mark.parametrize("sent", [None, "", "a b", "x" * 65, "é", "<script>", "a;b"])
def test_a_request_id_is_made(api, sent):
    """
    A request without an id, or with one that is not fit for a log, gets one.
    """
    headers = {} if sent is None else {"X-Request-Id": sent}

    answer = api.get("/api/users", headers=headers)

    assert re.fullmatch("[0-9a-f]{16}", answer.headers["X-Request-Id"])


def test_request_ids_differ(api):
    """
    Each request has an id of its own.
    """
    seen = {api.get("/healthz").headers["X-Request-Id"] for _ in range(10)}

    assert 10 == len(seen)


# What goes wrong on our side


@pytest.mark.heavy
def test_what_nobody_foresaw_is_a_500_without_details(caplog):
    """
    The client learns nothing but the request's id, with which the log tells everything.
    """
    api = a_client(Broken(ZeroDivisionError("a secret")))

    answers = [
        api.send(method, path, headers={"X-Request-Id": "req-1"}) for method, path in GUARDED
    ]

    assert {(500, "internal_error", "{}", True)} == {
        (answer.status, answer.json["code"], str(answer.json["details"]), is_error(answer))
        for answer in answers
    }
    assert not [answer for answer in answers if "secret" in str(answer.json)]
    assert "a secret" in caplog.text


@pytest.mark.parametrize(
    ("error", "status", "code", "retry_after"),
    [
        (StoreUnavailable("Away."), 503, "database_unavailable", "2"),
        (StoreFailure("No."), 500, "database_error", None),
    ],
)
def test_every_endpoint_tells_how_the_database_is(error, status, code, retry_after):
    """
    A database without an answer is a 503 with Retry-After at every endpoint; one that says no, 500.
    """
    api = a_client(Broken(error))

    answers = [api.send(method, path) for method, path in GUARDED]

    assert {(status, code, retry_after, True)} == {
        (answer.status, answer.json["code"], answer.headers.get("Retry-After"), is_error(answer))
        for answer in answers
    }


@pytest.mark.slow
def test_a_database_that_is_away_is_a_503_in_time(away):
    """
    The answer comes within the limit of a call, tells when to come back and bears the request's id.
    """
    api = a_client(away)
    started = time.monotonic()

    answer = api.get("/api/users", headers={"X-Request-Id": "req-1"})

    assert (503, "database_unavailable", "2", "req-1", True) == (
        answer.status,
        answer.json["code"],
        answer.headers["Retry-After"],
        answer.headers["X-Request-Id"],
        is_error(answer),
    )
    assert 2 * CALL_TIMEOUT_S > time.monotonic() - started


def test_readyz_makes_ready(config):
    """
    A process whose first request it is makes the indexes, since nothing else may come before.
    """
    store = Store(config.mongodb_uri, config.database)

    answer = a_client(store, config=config).get("/readyz")

    assert (200, []) == (answer.status, store.list_missing_indexes())
    store.close()


@pytest.mark.heavy
@pytest.mark.fresh_database
@pytest.mark.parametrize("over", [{}, {"secret_key": ""}])
def test_readyz_tells_what_is_missing(config, store, mongo_client, over):
    """
    Without indexes or a secret key it is a 503 that names them.
    """
    api = a_client(store, config=replace(config, **over))
    api.get("/readyz")
    mongo_client[config.database]["users"].drop_indexes()

    answer = api.get("/readyz")

    assert (503, "not_ready", ["indexes", *(["secretKey"] if over else [])]) == (
        answer.status,
        answer.json["code"],
        sorted(answer.json["details"]),
    )


@pytest.mark.heavy
@pytest.mark.fresh_database
def test_readyz_tells_of_a_validator_in_the_way(api, mongo_client, config):
    """
    One of another version, which this process could not replace, may refuse every deploy.
    """
    api.get("/readyz")
    mongo_client[config.database].command("collMod", "operations", validator={"kind": "deploy"})

    answer = api.get("/readyz")

    assert (503, "not_ready", ["validators"]) == told(answer)
    assert "operations" in answer.json["details"]["validators"][0]


def test_readyz_tells_that_the_database_is_away(away):
    """
    /readyz is a 503 with Retry-After within seconds; /healthz is not concerned. Other calls look
    five seconds for a primary.
    """
    api = a_client(away)
    started = time.monotonic()

    ready, healthy = api.get("/readyz"), api.get("/healthz")

    assert (503, "2", 200) == (ready.status, ready.headers["Retry-After"], healthy.status)
    assert 5 > time.monotonic() - started


def test_the_documentation_needs_no_database(away):
    """
    What tells how the API works is there while the database is not.
    """
    api = a_client(away, key=None)

    statuses = {path: read(api, path) for path in OPEN_PATHS if path != "/readyz"}

    assert {200} == set(statuses.values())


def test_a_database_that_comes_back_is_used(config, store):
    """
    An app that began while its database was away answers when it is there.
    """
    key = a_key(store)
    broken = Broken(StoreUnavailable("Away."))
    broken.prepare = lambda: broken.anything
    app = create_app(config, broken)
    api = ApiClient(app.test_client(), key)
    before = api.get("/api/users")
    broken.__dict__.update(
        keys=store.keys,
        users=store.users,
        prepare=store.prepare,
        bounded=store.bounded,
        ping=store.ping,
    )

    answer = api.get("/api/users")

    assert (503, 200) == (before.status, answer.status)


def test_no_body_has_no_wrong_type(api):
    """
    Clients that send nothing may say that it is a form: a suspension needs no body at all.
    """
    answer = api.send(
        "POST",
        "/api/instances/suspend/inothing",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )

    assert (400, "instance_not_found") == (answer.status, answer.json["code"])


def test_caches_keep_the_two_front_endpoints_apart(api):
    """
    What `/` answers depends on what the client accepts, and says so.
    """
    assert "Accept" in api.get("/").headers["Vary"]
