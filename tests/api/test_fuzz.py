"""Random requests: by the document, by schemathesis, and against it, by Hypothesis. Never a 500."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service import keys
from service.app import create_app
from service.model.documents import Key
from tests.serving.test_server import served
from tests.support import (
    DEPLOY,
    NOON,
    SPEC,
    ApiClient,
    a_deploy,
    a_key,
    a_node,
    a_user,
    an_app,
    an_image,
)

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLES = os.environ.get("SKYQUAY_FUZZ_EXAMPLES", "10")
"""How many requests an operation and phase gets. `make fuzz` sends more, by other seeds."""
SEED = os.environ.get("SKYQUAY_FUZZ_SEED", "1")

OF_NODES = {"node_offline", "node_failure", "node_refused", "node_unreachable", "no_secret_key"}
"""The 500s that say the truth: the API's reference has no other status for them."""

PHASES = ("examples,coverage", "fuzzing", "examples,stateful")
"""What schemathesis does side by side. What follows from other requests begins with examples."""

CONFIGURATION = """
[checks.positive_data_acceptance]
# Ids and ports are checked against what exists, which no schema can tell; so is whether an
# Idempotency-Key was sent with another request before, and whether If-Match is an ETag of now.
expected-statuses = ["2xx", 302, 400, 404, 409, 412, 422]
"""


@pytest.fixture
def fuzzed_server(config, store, memory_nodes, worker, mongo_client):
    """The app as a process serves it, and a key with all rights, back when it is revoked."""
    a_user(store)
    a_node(store, memory_nodes)
    an_image(store)
    document, value = keys.create(store, name="fuzz", now=NOON)
    settings = replace(config, key_rate=0, address_rate=0, secret_key="a secret key of the tests")
    app = an_app(settings, store, memory_nodes)
    app.before_request_funcs.setdefault(None, []).insert(
        0, lambda: put_back(mongo_client[config.database]["keys"], document)
    )
    with served(app, settings, max_body_bytes=app.config["MAX_CONTENT_LENGTH"]) as port:
        yield f"http://127.0.0.1:{port}", value


def put_back(collection, document: Key) -> None:
    """See to it that the key is as it was: the fuzzer finds its id, and revokes it."""
    collection.replace_one({"_id": document["_id"]}, document, upsert=True)


def fuzz_by_document(server, folder, phases, examples):
    """Have schemathesis send what it makes of the document, and check all answers by it."""
    url, key = server
    configuration = folder / "schemathesis.toml"
    configuration.write_text(CONFIGURATION)
    fuzzing = subprocess.run(
        [
            *(Path(sys.executable).with_name("st"), "--config-file", configuration, "run"),
            *(f"{url}/openapi.json", "--header", f"x-api-key: {key}", "--no-color"),
            *("--phases", phases, "--max-examples", examples),
            *("--seed", SEED, "--continue-on-failure"),
            # How long answers take is not looked at: the machine may do more.
            *("--wait-for-schema", "120", "--request-timeout", "120"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=3600,
        check=False,
    )
    assert 0 == fuzzing.returncode, fuzzing.stdout + fuzzing.stderr
    assert "failed" not in fuzzing.stdout
    sys.stdout.write(fuzzing.stdout)


@pytest.mark.spawns
@pytest.mark.timeout(900)  # ten seconds where nothing else runs
def test_each_endpoint_answers_a_few_requests_by_the_document(fuzzed_server, tmp_path):
    """
    What the document has as examples, and a request or two more, is answered as documented.
    """
    fuzz_by_document(fuzzed_server, tmp_path, "examples,fuzzing", "1")


@pytest.mark.slow
@pytest.mark.spawns
@pytest.mark.timeout(900)  # half a minute where nothing else runs
@pytest.mark.parametrize("phases", PHASES)
def test_requests_by_the_document_are_answered_by_it(fuzzed_server, tmp_path, phases):
    """
    Whatever schemathesis makes of the document, with all its checks, is answered as documented.
    """
    fuzz_by_document(fuzzed_server, tmp_path, phases, EXAMPLES)


# Against the document

MARK = "sesame-of-the-fuzzer"
NASTY = st.sampled_from(
    [
        {"$gt": MARK}, {"$ne": MARK}, {"$where": f"'{MARK}'"}, {"$regex": MARK}, [{"$gt": MARK}],
        {"$set": {"admin": True}}, {"a.b": 1}, {"": 1}, {"__proto__": {}}, "$where", "a\0b", "\0",
        "\ud800", "\U0010ffff", "ﷺ" * 200, "x" * 5000, "../../etc/passwd", "-1", "1e400", "NaN",
        10**400, -(10**400), 2**63, -(2**63), 2**31, 1e308, 5e-324, -0.0, 0, True, None, "", [],
        {}, [[[]]], "00000000-0000-0000-0000-000000000000", "65536:1", "80:80,80:80", "٣:٣",
    ]
)  # fmt: skip
JSON = st.recursive(
    NASTY | st.text(max_size=30) | st.integers() | st.floats() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)


def list_endpoints():
    """List (method, path, names of its body's fields, names of its parameters in the query)."""
    endpoints = []
    for path, operations in SPEC["paths"].items():
        for method, operation in operations.items():
            if method == "parameters":
                continue
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            schema = body.get("schema", {}).get("$ref", "").rpartition("/")[2]
            fields = sorted(SPEC["components"]["schemas"].get(schema, {}).get("properties", {}))
            query = sorted(
                p["name"] for p in operation.get("parameters", []) if p.get("in") == "query"
            )
            endpoints.append((method.upper(), path, fields, query))
    return endpoints


ENDPOINTS = list_endpoints()


@st.composite
def requests(draw):
    """Make a request for one of the endpoints, with anything where something is expected."""
    method, path, fields, query = draw(st.sampled_from(ENDPOINTS))
    for name in ("instance_id", "image_id", "node_id", "operation_id", "key_id"):
        odd = draw(
            st.sampled_from(["nothing", "$ne", "%00", "..", "{}", "%F0%9F%92%A9", "a" * 300])
        )
        path = path.replace(f"{{{name}}}", odd)
    if fields and draw(st.booleans()):
        body = draw(st.dictionaries(st.sampled_from(fields), JSON, max_size=len(fields)))
    else:
        body = draw(JSON)
    texts = st.text(max_size=20) | st.sampled_from(["$ne", "\0", "-1", "1e400", "NaN", "9" * 400])
    names = st.sampled_from([*query, *(f"{name}[$ne]" for name in query), "x"])
    return method, path, body, draw(st.dictionaries(names, texts, max_size=3))


FUZZED = settings(
    max_examples=60 * int(EXAMPLES),
    suppress_health_check=list(HealthCheck),
)


def check(answer):
    """Check that an answer is no unforeseen error, and an error as all are."""
    if answer.status >= 400:
        assert {"error", "code", "details", "type"} <= answer.json.keys()
    assert answer.status < 500 or answer.json["code"] in OF_NODES, answer


def send(api, method, path, body, query):
    """Send a body as JSON text, however odd; numbers that JSON does not have go as they are."""
    text = json.dumps(body)
    headers = {"Content-Type": "application/json"}
    return api.send(method, path, data=text, query_string=query, headers=headers)


@pytest.mark.slow
@pytest.mark.fresh_database
def test_requests_against_the_document_are_refused(
    config, store, memory_nodes, place, mongo_client
):
    """
    Anything at all is answered, with an error that is shaped as all are; and no operator that was
    sent gets into a query, by the database's own record of what it was asked.
    """
    database = mongo_client[config.database]
    database.create_collection("system.profile", capped=True, size=256 * 2**20)
    database.command("profile", 2)
    api = ApiClient(create_app(config, store, memory_nodes).test_client(), a_key(store))
    mine = store.keys.find_by_digest(keys.digest(api.key))
    sent = []

    @FUZZED
    @given(requests())
    def fuzz(request):
        put_back(database["keys"], mine)
        sent.append(request)
        check(send(api, *request))

    fuzz()

    database.command("profile", 0)
    asked = database["system.profile"].find({"op": {"$ne": "insert"}})
    assert [] == [entry["command"] for entry in asked if MARK in str(entry["command"])]
    assert len(sent) >= 60
    sys.stdout.write(f"{len(sent)} requests\n")


@FUZZED
@given(st.data())
def fuzz_deploys(api, place, taken, data):
    """Send a good deploy in which some fields are anything."""
    body = a_deploy(*place, ports=f"80:{next(taken)}", primary=None)
    body["primary"] = body["ports"].partition(":")[2]
    wrong = data.draw(st.dictionaries(st.sampled_from(sorted(body)), JSON, max_size=2))
    check(send(api, "POST", DEPLOY, {**body, **wrong}, {}))


@pytest.mark.slow
def test_deploys_that_are_nearly_good_leave_nothing_half_done(
    config, store, memory_nodes, place, api
):
    """
    With anything in some of its fields a deploy is done or refused: each instance has its
    operation, and the node's counters are the sums.
    """
    fuzz_deploys(api, place, iter(range(1024, 60_000)))

    instances = store.instances.all()
    operations = store.operations.all()
    node = store.nodes.get(place[1]["_id"])
    assert sorted(each["_id"] for each in instances) == sorted(o["instance_id"] for o in operations)
    assert (
        len(instances),
        sum(each["memory_mib"] for each in instances),
        sum(each["cpu_milli"] for each in instances),
    ) == tuple(node["allocated"][name] for name in ("instances", "memory_mib", "cpu_milli"))
    assert instances


@pytest.mark.parametrize("value", [{"$gt": ""}, {"$ne": None}, ["x"], {"$regex": ".*"}])
@pytest.mark.parametrize(
    ("method", "path", "field", "rest"),
    [
        ("POST", "/api/getUser", "value", {"type": "id"}),
        ("POST", "/api/getUser", "type", {"value": "x"}),
        ("POST", "/api/getInstance", "id", {}),
        ("POST", "/api/getUserInstance", "userId", {}),
        ("DELETE", "/api/instance/delete", "id", {}),
        ("DELETE", "/api/nodes/delete", "nodeId", {}),
        ("POST", "/api/auth/verify", "username", {"password": "x"}),
        ("POST", "/api/auth/verify", "password", {"username": "x"}),
    ],
)
def test_an_object_is_no_id(api, place, method, path, field, rest, value):
    """
    An operator of the database in place of an id is a 400 that names the field.
    """
    answer = api.send(method, path, json={**rest, field: value})

    assert (400, "invalid_input", True) == (
        answer.status,
        answer.json["code"],
        field in answer.json["details"],
    )
