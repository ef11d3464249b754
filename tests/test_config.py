"""Settings: defaults, what the environment says, and values that are refused by name."""

from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import app, enrolment, keys, store, users
from service.api import context
from service.config import (
    OF_OTHERS,
    REMOVED,
    Config,
    ConfigError,
    describe_settings,
    list_ignored,
    variable,
)
from service.drivers import bounds
from service.drivers.docker import engine
from service.worker import loop

NUMBERS = [setting.name for setting in fields(Config) if type(setting.default) in (int, float)]
MAY_BE_ZERO = {
    "key_rate", "address_rate", "processes", "trusted_proxies", "metrics_instances",
    "keep_deleted_hours",
}  # fmt: skip
SECRETS = [setting.name for setting in fields(Config) if setting.metadata["secret"]]
POSITIVE = [name for name in NUMBERS if name not in MAY_BE_ZERO]


def test_nothing_set_is_the_defaults():
    """
    An empty environment gives what the class declares.
    """
    assert Config() == Config.from_env({})


def test_settings_are_read_from_the_environment():
    """
    Each kind of setting, text, path, integer, float and switch, is read as its kind.
    """
    environ = {
        "SKYQUAY_NAME": " The Quay ",
        "SKYQUAY_DATA_DIR": "/var/lib/skyquay",
        "SKYQUAY_THREADS": "4",
        "SKYQUAY_PROBE_INTERVAL_S": "0.5",
        "SKYQUAY_ALLOW_PROCESS": "1",
    }

    config = Config.from_env(environ)

    expected = Config(
        name="The Quay",
        data_dir=Path("/var/lib/skyquay"),
        threads=4,
        probe_interval_s=0.5,
        allow_process=True,
    )
    assert expected == config


@pytest.mark.parametrize("text", ["", " ", "\t"])
def test_an_empty_variable_is_unset(text):
    """
    An empty variable, as Compose passes one that is missing, leaves the default.
    """
    config = Config.from_env({"SKYQUAY_THREADS": text, "SKYQUAY_NAME": text})

    assert Config() == config


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_may_stand_in_a_file(tmp_path, name):
    """
    SKYQUAY_<NAME>_FILE names a file with the value, whose last line end does not count.
    """
    file = tmp_path / "secret"
    file.write_text("redis://a-secret-of-some-length\n")

    config = Config.from_env({f"{variable(name)}_FILE": str(file)})

    assert "redis://a-secret-of-some-length" == getattr(config, name)


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe"])
@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_file_without_a_secret_is_refused_by_name(tmp_path, name, content):
    """
    A file that is missing, empty or no text is an error: without it Skyquay would run unprotected.
    """
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(ConfigError, match=f"{variable(name)}_FILE"):
        Config.from_env({f"{variable(name)}_FILE": str(file)})


def test_requests_are_counted_in_a_redis_or_here():
    """
    Another address is refused by name, and not quoted.
    """
    with pytest.raises(ConfigError, match=r"SKYQUAY_RATE_STORAGE.*redis://") as caught:
        Config(rate_storage="memcached://geheim")

    assert "geheim" not in str(caught.value)


def test_a_secret_stands_in_one_place(tmp_path):
    """
    A value and a file for the same secret are refused: one of them must be out of date.
    """
    environ = {"SKYQUAY_API_KEY": "k" * 16, "SKYQUAY_API_KEY_FILE": str(tmp_path / "secret")}

    with pytest.raises(ConfigError, match="not both"):
        Config.from_env(environ)


def test_only_secrets_stand_in_files():
    """
    What is no secret has one variable, and one ending in _FILE is not ours.
    """
    assert Config() == Config.from_env({"SKYQUAY_NAME_FILE": "/nowhere"})


def test_a_command_has_defaults_of_its_own():
    """
    What a command passes as default counts where the environment says nothing.
    """
    config = Config.from_env({"SKYQUAY_THREADS": "4"}, threads=8, allow_process=True)

    assert (4, True) == (config.threads, config.allow_process)


def test_other_variables_are_ignored():
    """
    The environment is full of variables that are not ours, and of ones of newer versions.
    """
    assert Config() == Config.from_env({"PATH": "/bin", "SKYQUAY_NEWER": "x", "threads": "4"})


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", True), ("true", True), ("YES", True), ("0", False), ("False", False), ("no", False)],
)
def test_a_switch_is_on_or_off(text, value):
    """
    A switch takes 1, true and yes, or 0, false and no, in any case.
    """
    assert value is Config.from_env({"SKYQUAY_ALLOW_PROCESS": text}).allow_process


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *[(variable(name), text) for name in NUMBERS for text in ("x", "-1", "1,5", "\x00", "²")],
        *[(variable(name), text) for name in POSITIVE for text in ("0", "-0")],
        ("SKYQUAY_THREADS", "4.5"),
        ("SKYQUAY_THREADS", "1e3"),
        ("SKYQUAY_THREADS", "9" * 5000),
        ("SKYQUAY_ALLOW_PROCESS", "maybe"),
        ("SKYQUAY_ALLOW_ANY_IMAGE", "2"),
        ("SKYQUAY_API_KEY", "short"),
        ("SKYQUAY_LOCAL_NODE", "kubernetes"),
        ("SKYQUAY_LOG_LEVEL", "info"),
        ("SKYQUAY_LISTEN", "8000"),
        ("SKYQUAY_LISTEN", ":8000"),
        ("SKYQUAY_LISTEN", "localhost"),
        ("SKYQUAY_LISTEN", "localhost:"),
        ("SKYQUAY_LISTEN", "localhost:http"),
        ("SKYQUAY_LISTEN", "localhost:65536"),
        ("SKYQUAY_LISTEN", "localhost:-1"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(name, text):
    """
    The error is a ConfigError, and its message names the variable to correct.
    """
    with pytest.raises(ConfigError, match=name):
        Config.from_env({name: text})


def test_what_is_no_setting_any_more_says_what_it_is():
    """
    Each setting that became a constant is named with the constant's value.
    """
    expected = {
        "connect_timeout_s": f"{bounds.CONNECT_TIMEOUT_S:g} s",
        "read_timeout_s": f"{bounds.READ_TIMEOUT_S:g} s",
        "pull_s": f"{engine.PULL_TIMEOUT_S:g} s",
        "lease_s": f"{loop.LEASE_S:g} s",
        "wait_s": f"{context.WAIT_S:g} s",
        "configure_key_s": f"{enrolment.CONFIGURE_KEY_LIFETIME.total_seconds():g} s",
        "operation_days": f"{store.KEEP_OPERATIONS_S / 86400:g} days",
        "node_operations": f"{loop.NODE_OPERATIONS}",
        "failure_rate": f"{app.FAILURES_A_MINUTE} a minute",
        "rejection_rate": f"{app.REJECTIONS_A_MINUTE} a minute",
        "child_keys": f"{keys.MAX_CHILD_KEYS}",
        "child_key_rate": f"{app.CHILD_KEYS_A_MINUTE} a minute",
        "min_password_length": f"{users.MIN_PASSWORD_LENGTH} characters",
        "max_body_bytes": f"{app.MAX_BODY_BYTES} bytes",
    }

    assert expected == REMOVED


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("SKYQUAY_LEASE_S", "SKYQUAY_LEASE_S is no longer a setting: it is 30 s."),
        ("SKYQUAY_THREAD", "SKYQUAY_THREAD is not a setting; did you mean SKYQUAY_THREADS?"),
        ("SKYQUAY_PORT", "SKYQUAY_PORT is not a setting."),
        ("SKYQUAY_NAME_FILE", "SKYQUAY_NAME_FILE is not a setting"),
    ],
)
def test_what_has_no_effect_is_named(name, sentence):
    """
    A variable with our prefix that is no setting does not silently do nothing.
    """
    [(named, why)] = list_ignored({name: "x"}).items()

    assert (name, sentence) == (named, why[: len(sentence)])


@pytest.mark.parametrize(
    "name",
    [
        "PATH",
        "SKYQUAY",
        *[variable(setting.name) for setting in fields(Config)],
        *[f"{variable(name)}_FILE" for name in SECRETS],
        *sorted(OF_OTHERS),
    ],
)
def test_what_has_an_effect_is_not_named(name):
    """
    Settings, files of secrets, and what Compose, the tests and our own processes read.
    """
    assert {} == list_ignored({name: "x"})


@given(
    name=st.sampled_from([variable(setting.name) for setting in fields(Config)]),
    text=st.one_of(st.text(), st.text(alphabet="0123456789.:-+eE_ ", max_size=12)),
)
def test_no_text_breaks_from_env(name, text):
    """
    Any value of any variable is taken, or refused with a ConfigError that names it.
    """
    try:
        Config.from_env({name: text})
    except ConfigError as refusal:
        named = name in str(refusal)
    else:
        named = True

    assert named


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:8000", ("127.0.0.1", 8000)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:65535", ("::1", 65535)),
    ],
)
def test_listen_is_split_into_host_and_port(listen, address):
    """
    A name, an IPv4 and a bracketed IPv6 address are taken; port 0 lets the system choose.
    """
    assert address == Config(listen=listen).listen_address()
    assert address == Config(metrics_listen=listen).metrics_address()


def test_the_metrics_of_a_worker_are_off_at_first():
    """
    Without a setting no address is listened on; one that cannot be is refused by name.
    """
    assert Config().metrics_address() is None
    with pytest.raises(ConfigError, match="SKYQUAY_METRICS_LISTEN"):
        Config(metrics_listen="9464")


def test_a_key_of_the_least_length_is_taken():
    """
    The limit itself is allowed.
    """
    assert "k" * 16 == Config.from_env({"SKYQUAY_API_KEY": "k" * 16}).api_key


def test_a_refused_key_is_not_repeated():
    """
    The error of a key that is too short does not show the key.
    """
    with pytest.raises(ConfigError) as refusal:
        Config(api_key="hunter2")

    assert "hunter2" not in str(refusal.value)


def test_settings_stay_as_they_are():
    """
    A Config is read by many threads, so none of them can change it.
    """
    config = Config()

    with pytest.raises(FrozenInstanceError):
        config.threads = 1


def test_every_setting_is_described():
    """
    Each field stands in the description with its variable, its default and a sentence.
    """
    described = describe_settings()

    assert [variable(setting.name) for setting in fields(Config)] == [row[0] for row in described]
    assert [] == [row for row in described if not row[2].strip()]


def test_described_defaults_are_read_back():
    """
    Setting every variable to the default that is described changes nothing.
    """
    environ = {name: default for name, default, _ in describe_settings()}

    assert Config() == Config.from_env(environ)


@pytest.mark.parametrize("text", ["nan", "inf", "1e999"])
@pytest.mark.parametrize(
    "name", [name for name in NUMBERS if isinstance(getattr(Config(), name), float)]
)
def test_a_time_that_is_no_number_is_refused(name, text):
    """
    A time that is not finite would never pass, or always, so it is refused by name.
    """
    with pytest.raises(ConfigError, match=variable(name)):
        Config.from_env({variable(name): text})


@pytest.mark.parametrize("port", ["9" * 5000, "٨٠"], ids=["huge", "Arabic digits"])
def test_a_port_of_strange_digits_is_refused(port):
    """
    A port is at most five plain digits; what int() makes of others does not count.
    """
    with pytest.raises(ConfigError, match="SKYQUAY_LISTEN"):
        Config.from_env({"SKYQUAY_LISTEN": f"localhost:{port}"})


@pytest.mark.parametrize(
    "origins", ["https://*.example.com", "panel.example", "https://a.example/path", "* https://?"]
)
def test_an_origin_is_a_whole_one(origins):
    """
    A pattern would let pages call that nobody meant.
    """
    with pytest.raises(ConfigError, match="SKYQUAY_CORS_ORIGINS"):
        Config(cors_origins=origins)


def test_secrets_are_not_printed():
    """
    A Config that ends in a log or a traceback shows neither keys nor the database's password.
    """
    config = Config(
        api_key="key-of-sixteen-chars",
        secret_key="the-secret-key-of-tests",
        mongodb_uri="mongodb://skyquay:the-password@db/",
    )

    shown = repr(config)

    assert [] == [word for word in ("key-of-s", "the-secret", "the-pass") if word in shown]


@pytest.mark.parametrize(
    ("uri", "hosts"),
    [
        ("mongodb://db", "db"),
        ("mongodb://u:p@a:1,b:2/?replicaSet=rs0", "a:1,b:2"),
        ("mongodb+srv://u:p@db.example.org", "db.example.org"),
        ("mongodb://u:p/q?r@db?w=1", "db"),
    ],
)
def test_the_database_is_named_without_its_password(uri, hosts):
    """
    The hosts can be told to anybody.
    """
    assert hosts == Config(mongodb_uri=uri).database_hosts()
