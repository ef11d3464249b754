"""Commands for webhooks, on the database of this machine."""

import json

import pytest
from click.testing import CliRunner

from service import cli
from service.security.vault import Vault
from tests.receivers import a_webhook, an_event, make_deliveries
from tests.support import SECRET_KEY

URL = "http://192.0.2.1/hook"


@pytest.fixture
def skyquay(config, store, monkeypatch):
    """Run the command on the test's database."""
    monkeypatch.setenv("SKYQUAY_MONGODB_URI", config.mongodb_uri)
    monkeypatch.setenv("SKYQUAY_DATABASE", config.database)
    monkeypatch.setenv("SKYQUAY_DATA_DIR", str(config.data_dir))
    monkeypatch.setenv("SKYQUAY_SECRET_KEY", SECRET_KEY)
    return lambda *words: CliRunner().invoke(cli.main, ["webhooks", *words])


@pytest.mark.heavy
def test_the_commands(skyquay, store, database):
    """What there is, what was sent, another secret, and what it is told of."""
    webhook, secret = a_webhook(store, URL)
    webhook_id = webhook["_id"]
    [delivery] = make_deliveries(store, database, an_event(1))

    assert URL in skyquay("list").output
    assert delivery["_id"] in skyquay("deliveries", webhook_id).output
    assert "image.updated" in skyquay("delivery", webhook_id, delivery["_id"]).output
    assert 0 == skyquay("redeliver", webhook_id, delivery["_id"]).exit_code
    assert skyquay("test", webhook_id).stdout.startswith("msg_")
    rotated = skyquay("rotate", webhook_id, "--overlap", "5").stdout.strip()
    assert (True, False) == (rotated.startswith("whsec_"), rotated == secret)
    edited = skyquay("edit", webhook_id, "--type", "node.offline", "--to", f"{URL}2", "--json")
    assert (["node.offline"], f"{URL}2") == tuple(
        json.loads(edited.stdout)[name] for name in ("types", "url")
    )
    assert 0 == skyquay("delete", webhook_id, "--yes").exit_code
    assert [] == store.webhooks.all()


def test_one_is_made_with_a_key(skyquay, store):
    """A command that has none says so, and makes nothing."""
    outcome = skyquay("create", "--to", URL)

    assert 0 != outcome.exit_code
    assert "belongs to an API key" in outcome.output
    assert [] == store.webhooks.all()


@pytest.mark.heavy
def test_secrets_are_encrypted_anew(skyquay, store, monkeypatch):
    """After `secrets rotate` the old secret key may go."""
    webhook, secret = a_webhook(store, URL)
    skyquay("rotate", webhook["_id"])
    monkeypatch.setenv("SKYQUAY_SECRET_KEY", f"another secret key,{SECRET_KEY}")

    assert 0 == CliRunner().invoke(cli.main, ["secrets", "rotate"]).exit_code

    stored = store.webhooks.get(webhook["_id"])
    vault = Vault("another secret key")
    assert secret == vault.open(stored["retiring"]["secret"])
    assert vault.open(stored["secret"]).startswith("whsec_")
