"""Every setting, with its default and its meaning. The only reader of the environment."""

import difflib
import math
import os
import re
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

MIN_API_KEY_LENGTH = 16
MIN_SECRET_KEY_LENGTH = 16
MAX_KEEP_HOURS = 720

REMOVED = {
    "connect_timeout_s": "3 s",
    "read_timeout_s": "60 s",
    "pull_s": "1800 s",
    "lease_s": "30 s",
    "wait_s": "10 s",
    "configure_key_s": "3600 s",
    "operation_days": "30 days",
    "node_operations": "4",
    "failure_rate": "30 a minute",
    "rejection_rate": "60 a minute",
    "child_keys": "100",
    "child_key_rate": "30 a minute",
    "min_password_length": "8 characters",
    "max_body_bytes": "1048576 bytes",
}
"""What settings of before are now, whatever the environment says."""

OF_OTHERS = {
    *("SKYQUAY_IMAGE", "SKYQUAY_PUBLISH", "SKYQUAY_PUBLISH_TLS", "SKYQUAY_SECRETS",
      "SKYQUAY_SUBNET", "SKYQUAY_TLS"),  # docker-compose.yml
    *("SKYQUAY_REQUIRE_DOCKER", "SKYQUAY_REQUIRE_PODMAN"),  # the tests
    *("SKYQUAY_FUZZ_EXAMPLES", "SKYQUAY_FUZZ_SEED"),  # the tests
    *("SKYQUAY_URL", "SKYQUAY_KEY"),  # what commands speak to
    *("SKYQUAY_METRICS_NUMBER", "SKYQUAY_INSTANCE", "SKYQUAY_KEEPER"),  # our own processes
}  # fmt: skip
"""Variables with our prefix that are no settings, and mean something all the same."""

_MAY_BE_ZERO = {
    "key_rate",
    "address_rate",
    "processes",
    "trusted_proxies",
    "metrics_instances",
    "keep_deleted_hours",
}

_PREFIX = "SKYQUAY_"

_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:\d{1,5})?")
"""Whole names only: flask-cors would take a star for a pattern, and match more than is meant."""


_KINDS = {bool: "1 or 0", int: "an integer", float: "a number", Path: "a path"}


class ConfigError(ValueError):
    """A setting has a value that it cannot have. The message names the variable."""


def _setting(default: Any, help_text: str, *, secret: bool = False) -> Any:
    return field(default=default, repr=not secret, metadata={"help": help_text, "secret": secret})


@dataclass(frozen=True, slots=True)
class Config:
    """How this Skyquay runs. The field `data_dir` is the variable SKYQUAY_DATA_DIR, and so on."""

    listen: str = _setting("127.0.0.1:8000", "Address and port to serve on.")
    metrics_listen: str = _setting(
        "",
        "Address and port where `skyquay worker` exposes Prometheus metrics, without "
        "authentication; off if unset.",
    )
    metrics_instances: int = _setting(
        500,
        "Instances that have series of their own in the metrics; the others are summed up by node.",
    )
    data_dir: Path = _setting(
        Path(".skyquay"),
        "Folder of the embedded database, the secret key and process instances.",
    )
    mongodb_uri: str = _setting(
        "",
        "Your own MongoDB, a replica set or sharded cluster. `up` starts a private one if unset.",
        secret=True,
    )
    database: str = _setting("skyquay", "Name of the database.")
    api_key: str = _setting(
        "",
        f"At start, a key of this value with all rights exists. {MIN_API_KEY_LENGTH}+ characters.",
        secret=True,
    )
    secret_key: str = _setting(
        "",
        "Encrypts the secrets of nodes at rest. Comma-separated; the first encrypts, all decrypt. "
        "`up` keeps one in the data folder if unset.",
        secret=True,
    )
    name: str = _setting("Skyquay", "What GET /api/name answers.")
    local_node: str = _setting(
        "auto", "The node that `up` registers: docker, process, none, or auto to find out."
    )
    allow_process: bool = _setting(
        False, "Allow nodes of the driver `process`, which run images marked `process`. `up`: 1."
    )
    allow_plain_docker: bool = _setting(
        False,
        "Allow `docker` nodes by address without TLS: anyone who can reach that port "
        "has root on the host.",
    )
    allow_loopback_nodes: bool = _setting(
        False, "Allow that the API adds nodes on this machine: loopback, `unix:///`. `up`: 1."
    )
    allow_loopback_webhooks: bool = _setting(
        False, "Allow webhooks to this machine, of keys that are not limited."
    )
    allow_any_image: bool = _setting(
        False, "Allow deploys of container images that are not in the catalogue."
    )
    processes: int = _setting(0, "Processes of `serve` that answer; 0: one for each core.")
    threads: int = _setting(16, "Threads of each process that answer requests.")
    worker_threads: int = _setting(
        16, "Operations that one worker carries out at a time; not those that wait for their node."
    )
    probe_interval_s: float = _setting(30.0, "Seconds between two probes of a node.")
    key_rate: int = _setting(30_000, "Requests a minute that one key may send; 0: any number.")
    address_rate: int = _setting(60_000, "The same for one address.")
    rate_storage: str = _setting(
        "",
        "Where requests are counted, a Redis like redis://HOST:6379; "
        "each process counts its own if unset.",
        secret=True,
    )
    trusted_proxies: int = _setting(
        0, "Proxies in front whose X-Forwarded-For and X-Forwarded-Proto are believed."
    )
    cors_origins: str = _setting(
        "", "Origins of web pages that may call the API from browsers, separated by spaces."
    )
    audit_days: float = _setting(365.0, "Days for which the audit log is kept.")
    events_days: float = _setting(7.0, "Days for which events are kept.")
    keep_deleted_hours: float = _setting(
        0.0,
        "Hours for which deleted instances can be restored, where a request does not say it; at "
        f"most {MAX_KEEP_HOURS}; 0: they are removed at once.",
    )
    log_level: str = _setting("INFO", "DEBUG, INFO, WARNING or ERROR.")
    log_format: str = _setting(
        "auto", "json, text, or auto: text on a terminal, else a JSON object a line."
    )

    def __post_init__(self) -> None:
        if self.api_key and len(self.api_key) < MIN_API_KEY_LENGTH:
            raise ConfigError(f"SKYQUAY_API_KEY needs at least {MIN_API_KEY_LENGTH} characters.")
        if any(
            len(key.strip()) < MIN_SECRET_KEY_LENGTH for key in self.secret_key.split(",") if key
        ):
            raise ConfigError(
                f"SKYQUAY_SECRET_KEY needs at least {MIN_SECRET_KEY_LENGTH} characters a key."
            )
        if self.rate_storage and not re.match(r"rediss?(\+[a-z]+)?://", self.rate_storage):
            raise ConfigError("SKYQUAY_RATE_STORAGE must be like redis://HOST:PORT.")
        _check_choice("SKYQUAY_LOCAL_NODE", self.local_node, ("auto", "docker", "process", "none"))
        _check_choice("SKYQUAY_LOG_LEVEL", self.log_level, ("DEBUG", "INFO", "WARNING", "ERROR"))
        _check_choice("SKYQUAY_LOG_FORMAT", self.log_format, ("auto", "json", "text"))
        for origin in self.cors_origins.split():
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ConfigError(
                    f"SKYQUAY_CORS_ORIGINS: {origin!r} is no origin like https://panel.example.org."
                )
        for setting in fields(self):
            value = getattr(self, setting.name)
            if isinstance(value, (int, float)) and not 0 <= value < math.inf:  # NaN fails too
                raise ConfigError(f"{variable(setting.name)} must be a number, and not negative.")
            if value == 0 and not isinstance(value, bool) and setting.name not in _MAY_BE_ZERO:
                raise ConfigError(f"{variable(setting.name)} must be more than 0.")
        if self.keep_deleted_hours > MAX_KEEP_HOURS:
            raise ConfigError(
                f"SKYQUAY_KEEP_DELETED_HOURS must be {MAX_KEEP_HOURS} or less: 30 days."
            )
        self.listen_address()
        self.metrics_address()

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str], *, listen: str | None = None, **defaults: Any
    ) -> "Config":
        """Read the settings; what is unset or empty is as in `defaults`, else as declared above.

        `listen`, if it is given, takes the place of SKYQUAY_LISTEN. A secret may stand in a file,
        which SKYQUAY_<NAME>_FILE names. Raises ConfigError with the variable's name for a value
        that cannot be read.
        """
        if listen is not None:
            environ = {**environ, variable("listen"): listen}
        values = dict(defaults)
        for setting in fields(cls):
            name = variable(setting.name)
            text = environ.get(name, "").strip()
            path = environ.get(f"{name}_FILE", "").strip()
            if path and setting.metadata["secret"]:
                if text:
                    raise ConfigError(f"Set {name} or {name}_FILE, not both.")
                text = _read_file(f"{name}_FILE", path)
            if text:
                values[setting.name] = _read(setting, text)
        return cls(**values)

    def require_mongodb(self) -> None:
        """Raise ConfigError unless there is a MongoDB to use."""
        if not self.mongodb_uri:
            raise ConfigError(
                "SKYQUAY_MONGODB_URI is not set. `skyquay up` runs with a private database instead."
            )

    def database_hosts(self) -> str:
        """Name the hosts of the database, without the user and the password."""
        return re.split("[/?]", self.mongodb_uri.partition("://")[2].rpartition("@")[2])[0]

    def listen_address(self) -> tuple[str, int]:
        """Split `listen` into host and port."""
        return _split_address("listen", self.listen)

    def metrics_address(self) -> tuple[str, int] | None:
        """Split `metrics_listen` in the same way; None where it is unset."""
        text = self.metrics_listen
        return _split_address("metrics_listen", text) if text else None


def variable(name: str) -> str:
    """Name the environment variable of a field of Config."""
    return f"{_PREFIX}{name.upper()}"


def list_ignored(environ: Mapping[str, str]) -> dict[str, str]:
    """List the variables that look like settings and have no effect, each with why.

    They are no errors: Kubernetes puts SKYQUAY_PORT and others beside a service named `skyquay`.
    """
    settings = [variable(setting.name) for setting in fields(Config)]
    files = [f"{variable(f.name)}_FILE" for f in fields(Config) if f.metadata["secret"]]
    removed = {variable(name): value for name, value in REMOVED.items()}
    ignored = {}
    for name in sorted(environ):
        if not name.startswith(_PREFIX) or name in {*settings, *files, *OF_OTHERS}:
            continue
        if name in removed:
            ignored[name] = f"{name} is no longer a setting: it is {removed[name]}."
        else:
            alike = difflib.get_close_matches(name, [*settings, *files], n=1, cutoff=0.8)
            hint = f"; did you mean {alike[0]}?" if alike else "."
            ignored[name] = f"{name} is not a setting{hint}"
    return ignored


def pop_ignored() -> list[str]:
    """Remove what `list_ignored` lists from the environment, and return why.

    So neither a second look nor a process that this one starts finds it again.
    """
    ignored = list_ignored(os.environ)
    for name in ignored:
        del os.environ[name]
    return list(ignored.values())


def describe_settings() -> list[tuple[str, str, str]]:
    """List (variable, default, meaning) of every setting, for help texts and the README."""
    return [
        (variable(f.name), _print_default(f.default), f.metadata["help"]) for f in fields(Config)
    ]


def _split_address(name: str, text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    digits = re.fullmatch(r"[0-9]{1,5}", port)
    if not colon or not host or not digits or int(port) > 65535:
        raise ConfigError(f"{variable(name)} must be HOST:PORT, not {text!r}.")
    return host.strip("[]"), int(port)


def _print_default(default: object) -> str:
    return str(int(default)) if isinstance(default, bool) else str(default)


def no_color() -> bool:
    """Return whether the user wants no colors anywhere: see https://no-color.org."""
    return bool(os.environ.get("NO_COLOR"))


def find_client_login() -> tuple[str | None, str | None]:
    """Return SKYQUAY_URL and SKYQUAY_KEY: the server that commands speak to, and their API key."""
    return os.environ.get("SKYQUAY_URL") or None, os.environ.get("SKYQUAY_KEY") or None


def environ_of_others() -> dict[str, str]:
    """Give the environment for a program that is not Skyquay: ours without the settings.

    Secrets are among them, which everything has that a program inherits.
    """
    return {name: text for name, text in os.environ.items() if not name.startswith(_PREFIX)}


def _read_file(name: str, path: str) -> str:
    try:
        text = Path(path).read_text("utf-8").strip()
    except (OSError, ValueError) as exc:  # ValueError: bytes that are no text, or a path with NUL
        reason = exc.strerror if isinstance(exc, OSError) else "it is no text"
        raise ConfigError(f"{name} names {path!r}, which cannot be read: {reason}.") from exc
    if not text:
        raise ConfigError(f"{name} names {path!r}, which is empty.")
    return text


def _read(setting: "Field[Any]", text: str) -> Any:
    kind: type[Any] = type(setting.default)
    try:
        if kind is bool:
            return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[
                text.lower()
            ]
        return kind(text)
    except (ValueError, KeyError):
        raise ConfigError(
            f"{variable(setting.name)} must be {_KINDS[kind]}, not {text!r}."
        ) from None


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(choices)}, not {value!r}.")
