"""What answers say to browsers and caches, and which web pages may call."""

import json
from dataclasses import replace

import pytest

from service.api.body_parser import MAX_DEPTH, MAX_VALUES
from service.app import create_app
from tests.support import ApiClient, a_key, told


def test_answers_are_not_kept(api):
    """
    No answer may be stored by anybody, errors included, but for what has an ETag.
    """
    answers = [api.get(path) for path in ("/api/audit", "/", "/nope", "/openapi.json")]

    assert {"no-store"} == {answer.headers["Cache-Control"] for answer in answers}


def test_what_has_an_etag_is_kept_by_its_client_alone(api):
    """
    It asks with its key before each use; no cache that several clients share keeps it.
    """
    first = api.get("/api/users")
    second = api.get("/api/users", headers={"If-None-Match": first.headers["ETag"]})

    kept = [(each.headers["Cache-Control"], each.headers["Vary"]) for each in (first, second)]
    assert 304 == second.status
    vary = "x-api-key, Authorization, Act-As, Accept-Encoding"
    assert [("private, no-cache", vary)] * 2 == kept


@pytest.mark.parametrize(
    "path", ["/api/users", "/nope", "/docs/", "/docs/swagger-ui.css", "/console/"]
)
def test_every_answer_is_guarded(api, path):
    """
    Types are not guessed, nobody frames us, and nobody learns what serves.
    """
    with api.flask.get(path, headers={"x-api-key": api.key}) as answer:
        headers = answer.headers

    assert "nosniff" == headers["X-Content-Type-Options"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "Server" not in headers


def test_no_page_of_others_may_call(api):
    """
    Without origins in the settings no answer has a header of CORS, to a preflight neither.
    """
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}

    answers = [
        api.get("/api/users", headers=asked),
        api.send("OPTIONS", "/api/users", headers=asked),
    ]

    assert [] == [
        name
        for answer in answers
        for name, _ in answer.headers
        if name.startswith("Access-Control")
    ]


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [("https://panel.example", True), ("https://evil.example", False),
     ("https://panel.example.evil", False), ("http://panel.example", False)],
)  # fmt: skip
def test_pages_of_set_origins_may_call(config, store, memory_nodes, origin, allowed):
    """
    A preflight from an origin of the settings needs no key, and allows the key's header.
    """
    app = create_app(
        replace(config, cors_origins="https://panel.example https://b.example"),
        store,
        memory_nodes,
    )
    api = ApiClient(app.test_client(), a_key(store))

    preflight = replace(api, key=None).send(
        "OPTIONS",
        "/api/users",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "x-api-key",
        },
    )
    answer = api.get("/api/users", headers={"Origin": origin})

    expected = origin if allowed else None
    assert expected == preflight.headers.get("Access-Control-Allow-Origin")
    assert expected == answer.headers.get("Access-Control-Allow-Origin")
    assert allowed == ("x-api-key" in preflight.headers.get("Access-Control-Allow-Headers", ""))
    assert "Access-Control-Allow-Credentials" not in answer.headers


def nest(depth):
    """Make a body that is nested so deeply."""
    value = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (nest(MAX_DEPTH + 1), "Is nested too deeply."),
        ({str(number): 1 for number in range(MAX_VALUES + 1)}, "Has too many values."),
        ({"a": [[1] * 100] * (MAX_VALUES // 100)}, "Has too many values."),
        ([], "Must be a JSON object."),
    ],
)
def test_a_body_has_bounds(api, body, reason):
    """
    What is nested too deeply, or has too many values, is a 400.
    """
    answer = api.post("/api/getInstance", body)

    assert (400, "invalid_input", ["body"]) == told(answer)
    assert [reason] == answer.json["details"]["body"]


@pytest.mark.parametrize(
    "body",
    [b'{"id": NaN}', b'{"id": Infinity}', b"{'id': 1}", b'{"id": "\\ud800"}', b'\xff{"id": 1}',
     b'{"id": 1,}', b'{"id": 1} {}', b"\x00", b'{"id": 1e999}'],
)  # fmt: skip
def test_json_is_strict(api, body):
    """
    What is nearly JSON is a 400.
    """
    answer = api.send(
        "POST", "/api/getInstance", data=body, headers={"Content-Type": "application/json"}
    )

    assert (400, "invalid_input") == (answer.status, answer.json["code"])


def test_the_bounds_allow_what_is_sensible(api):
    """
    A body at the bounds gets as far as its fields.
    """
    body = {"id": "nothing", "rest": nest(MAX_DEPTH - 1), "more": [1] * (MAX_VALUES // 2)}

    answer = api.send("POST", "/api/getInstance", data=json.dumps(body))

    assert "instance_not_found" == answer.json["code"]
