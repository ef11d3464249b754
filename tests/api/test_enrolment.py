"""How a skyportd node is enrolled: by its daemon, with a one-time key, and a restart."""

import secrets
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest

from service import probing
from service.admin import doctor
from service.app import create_app, make_drivers, make_store
from service.security.vault import Vault
from tests.fake_skyportd import FakeSkyportd
from tests.support import NODE, NOON, ApiClient, a_key, told

SECRET_KEY = "a secret key of the tests"


@pytest.fixture
def daemon():
    """A daemon with the key that everybody knows."""
    with FakeSkyportd(key="d" * 64) as daemon:
        yield daemon


@pytest.fixture
def clock():
    """A clock that can be moved."""
    return [NOON]


@pytest.fixture
def settings(config):
    """Settings with a secret key."""
    return replace(config, secret_key=SECRET_KEY)


@pytest.fixture
def api(settings, store, clock):
    """A client of an app with the real drivers."""
    app = create_app(settings, store, now=lambda: clock[0])
    return ApiClient(app.test_client(), a_key(store))


@pytest.fixture
def created(api, daemon):
    """The answer to the creation of a node."""
    return api.post("/api/nodes/create", {**NODE, "port": daemon.port}).json


def configure(api, key, access_key, **over):
    """Send what the daemon's own command sends: all in the query, no body, no API key."""
    query = {"authKey": "d" * 64, "configureKey": key, "accessKey": access_key, **over}
    sent = "&".join(f"{name}={value}" for name, value in query.items() if value is not None)
    return ApiClient(api.flask, None).post(f"/nodes/configure?{sent}")


def probe(store, settings, node_id):
    """Probe the node, as a worker does."""
    return probing.probe(store, make_drivers(settings), store.nodes.get(node_id), now=NOON)


def test_a_new_node_answers_with_the_command_to_run(created):
    """The configure key, and what to type on the node."""
    key = created["configureKey"]

    assert ("Unconfigured", f"npm run configure -- --panel http://localhost --key {key}") == (
        created["status"],
        created["configureCommand"],
    )


def test_the_configure_key_is_shown_once(api, created, look):
    """No list has it, and the database has its digest only."""
    key = created["configureKey"]

    assert key not in str(api.get("/api/nodes").json)
    assert key not in str(look())


def test_a_daemon_is_enrolled(api, store, settings, daemon, created):
    """Its answer is JSON, as the daemon needs it; after its restart the node is Online."""
    new_key = secrets.token_hex(32)

    answer = configure(api, created["configureKey"], new_key)
    before = probe(store, settings, created["id"])["status"]
    daemon.key = new_key
    after = probe(store, settings, created["id"])

    assert (200, {"message": "Node configured successfully"}, "Offline", "Online", None) == (
        answer.status,
        answer.json,
        before,
        after["status"],
        after["pending_secret"],
    )


def test_an_enrolled_daemon_is_to_be_restarted(api, store, settings, created):
    """Whoever probes it until then: it enrolled itself, and does not know its key yet."""
    configure(api, created["configureKey"], secrets.token_hex(32))
    before = store.nodes.get(created["id"])["probe_error"]

    after = probe(store, settings, created["id"])["probe_error"]

    assert ("Restart the daemon.", "Restart the daemon.") == (before, after)


def test_an_enrolled_daemon_that_is_down_is_not_to_be_restarted(
    api, store, settings, daemon, created
):
    """What does not answer at all has another reason."""
    configure(api, created["configureKey"], secrets.token_hex(32))
    daemon.die()

    assert "does not answer" in probe(store, settings, created["id"])["probe_error"]


def test_the_doctor_says_to_restart_a_daemon(api, store, settings, created):
    """As the node itself says."""
    configure(api, created["configureKey"], secrets.token_hex(32))
    found = doctor.examine(
        store, make_drivers(settings), Vault(SECRET_KEY), data_dir=settings.data_dir,
        probe_interval_s=60, now=lambda: NOON,
    )  # fmt: skip

    [said] = [finding.found for finding in found if finding.subject == "node helsinki-1"]
    assert said.endswith("Restart the daemon.")


def test_the_old_key_is_used_until_the_new_one_answers(api, store, settings, daemon, created):
    """A daemon that is enrolled anew and not yet restarted is Online all the time."""
    first, second = secrets.token_hex(32), secrets.token_hex(32)
    configure(api, created["configureKey"], first)
    daemon.key = first
    probe(store, settings, created["id"])
    again = api.post(f"/api/nodes/{created['id']}/configure-key").json["configureKey"]
    configure(api, again, second)

    statuses = [probe(store, settings, created["id"])["status"]]
    daemon.key = second
    statuses.append(probe(store, settings, created["id"])["status"])

    assert ["Online", "Online"] == statuses


def test_keys_are_encrypted(api, look, created):
    """Neither the pending key nor the one in use stands in the database."""
    new_key = secrets.token_hex(32)
    configure(api, created["configureKey"], new_key)

    assert new_key not in str(look())


def test_a_configure_key_works_once(api, created):
    """The second who comes with it is refused."""
    configure(api, created["configureKey"], "a" * 64)

    answer = configure(api, created["configureKey"], "b" * 64)

    assert (400, "invalid_input", ["configureKey"]) == told(answer)


def test_a_configure_key_expires(api, created, clock):
    """After an hour it is worthless."""
    clock[0] = NOON + timedelta(seconds=3601)

    answer = configure(api, created["configureKey"], "a" * 64)

    assert (400, "invalid_input", ["configureKey"]) == told(answer)


def test_a_new_configure_key_ends_the_one_before(api, created):
    """There is one at a time."""
    api.post(f"/api/nodes/{created['id']}/configure-key")

    answer = configure(api, created["configureKey"], "a" * 64)

    assert (400, "invalid_input", ["configureKey"]) == told(answer)


@pytest.mark.parametrize(
    ("over", "field"),
    [
        ({"configureKey": None}, "configureKey"),
        ({"accessKey": None}, "accessKey"),
        ({"accessKey": "short"}, "accessKey"),
        ({"configureKey": "wrong"}, "configureKey"),
    ],
)
def test_what_is_wrong_is_named(api, created, over, field):
    """A daemon that sends something else is told what is wrong, and nothing changes."""
    answer = configure(api, created["configureKey"], "a" * 64, **over)

    assert (400, [field]) == (answer.status, list(answer.json["details"]))


def test_no_key_is_logged(api, created, caplog):
    """The query has three secrets: it stands in no log line, whatever the outcome."""
    caplog.set_level("DEBUG")
    configure(api, created["configureKey"], "a" * 64)
    configure(api, created["configureKey"], "b" * 64)

    keys = (created["configureKey"], "a" * 64, "b" * 64)
    assert [] == [key for key in keys if key in caplog.text]


def test_a_node_may_bring_its_key(api, daemon):
    """A daemon that is enrolled already is Online at once, and nothing needs to be run."""
    created = api.post(
        "/api/nodes/create", {**NODE, "port": daemon.port, "apiKey": daemon.key}
    ).json

    assert ("Online", False) == (created["status"], "configureKey" in created)


def test_a_key_needs_a_secret_key(store, config, daemon):
    """Where nothing can be encrypted, no key is taken."""
    app = create_app(replace(config, secret_key=""), store)
    plain = ApiClient(app.test_client(), a_key(store))

    answer = plain.post("/api/nodes/create", {**NODE, "port": daemon.port, "apiKey": "k" * 64})

    assert (500, "no_secret_key", []) == told(answer)


@pytest.mark.parametrize("driver", ["docker", "process"])
def test_only_daemons_are_enrolled(api, driver):
    """A node of another driver has no configure key, and brings none."""
    body = {"name": "n", "driver": driver, "address": "unix:///x", "apiKey": "k" * 64}
    assert (400, "invalid_input", ["apiKey"]) == told(api.post("/api/nodes/create", body))
    node = api.post("/api/nodes/create", {**body, "apiKey": None}).json

    answer = api.post(f"/api/nodes/{node['id']}/configure-key")

    assert (400, "invalid_input", ["nodeId"]) == told(answer)


@pytest.mark.heavy
@pytest.mark.fresh_database
def test_the_database_is_made_ready_for_an_enrolment(settings, memory_nodes):
    """
    It may be the first that a process is asked, and writes what the indexes are for.
    """
    with closing(make_store(settings)) as store:
        app = create_app(settings, store, memory_nodes)
        before = store.list_missing_indexes()

        configure(ApiClient(app.test_client(), None), "wrong", "a" * 32)

        assert (True, []) == (before != [], store.list_missing_indexes())
