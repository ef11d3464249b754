"""What commands need: the settings, the database that is meant, and errors as one sentence."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import click
import marshmallow as ma

from service import audit, node_secrets
from service.app import make_store, prepare, utc_now
from service.config import Config, ConfigError, no_color
from service.errors import ServiceError, StoreFailure, StoreUnavailable
from service.model.error_lines import list_details
from service.security.vault import Vault
from service.serving import embedded_mongod, first_start
from service.serving.embedded_mongod.program import EmbeddedError
from service.store import Store
from service.store.admin.backup import BackupError
from service.telemetry import logs

_TARGET = f"{__name__}.target"

Params = ParamSpec("Params")
Result = TypeVar("Result")


def report_errors(command: Callable[Params, Result]) -> Callable[Params, Result]:
    """End a command with one sentence when something is wrong that its user can mend."""

    @wraps(command)
    def call(*args: Params.args, **kwargs: Params.kwargs) -> Result:
        try:
            return command(*args, **kwargs)
        except ServiceError as exc:
            raise click.ClickException(_describe(exc.message, exc.details)) from exc
        except ma.ValidationError as exc:
            raise click.ClickException(_describe("That is not valid.", exc.messages)) from exc
        except (ConfigError, EmbeddedError, BackupError) as exc:
            raise click.ClickException(str(exc)) from exc

    return call


def _describe(message: str, details: object) -> str:
    """Put the details below the message, a line for each field and sentence."""
    return "\n  ".join([message, *list_details(details)])


def read_config(listen: str | None = None, **defaults: Any) -> Config:
    """Read the settings, and log as they say. Raises ConfigError for one that is wrong.

    `listen` takes the place of SKYQUAY_LISTEN.
    """
    config = Config.from_env(os.environ, listen=listen, **defaults)
    logs.set_up(config, colors=sys.stderr.isatty() and not no_color())
    logs.report_ignored()
    return config


def read_production_config(listen: str | None = None) -> Config:
    """Read the settings, of which one must name a database. Raises ConfigError."""
    config = read_config(listen)
    config.require_mongodb()
    return config


def find_secret_key(config: Config) -> str:
    """Find the secret key of the database that commands use: the settings', or that of `up`."""
    if config.secret_key or config.mongodb_uri:
        return config.secret_key
    return first_start.keep_secret_key(config.data_dir)


@contextmanager
def prepared_store(config: Config) -> Iterator[Store]:
    """Open the database and make it ready."""
    with _named(config), closing(make_store(config)) as store:
        prepare(config, store)
        _check_secrets(config, store)
        yield store


@contextmanager
def raw_store(config: Config) -> Iterator[Store]:
    """Open the database that commands use, as it is: nothing is made ready."""
    there = find_database(config)
    with _named(there), closing(make_store(there)) as store:
        if problem := store.check_server():
            raise StoreFailure(problem)
        yield store


@contextmanager
def _named(config: Config) -> Iterator[None]:
    """Add to what goes wrong with the database where that is, and what the driver said."""
    try:
        yield
    except (StoreUnavailable, StoreFailure) as exc:
        # The driver adds its settings, its view of the whole set, or the answer as it came.
        cause = re.sub(r" \(configured timeouts: [^)]*\)", "", str(exc.__cause__ or ""))
        cause = re.split(r",? (?:Timeout|Topology Description|full error):", cause)[0]
        facts = [fact for fact in (config.database_hosts(), cause) if fact]
        raise type(exc)(exc.message, **exc.details, database=facts) from exc


def find_database(config: Config) -> Config:
    """Fill in the private database of a Skyquay that runs now, where none is configured."""
    if config.mongodb_uri:
        return config
    mongod = embedded_mongod.find_running(config.data_dir)
    if mongod is None:
        raise ConfigError(
            "SKYQUAY_MONGODB_URI is not set, and no `skyquay up` runs on "
            f"{config.data_dir.resolve()} (SKYQUAY_DATA_DIR)."
        )
    return replace(config, mongodb_uri=mongod.uri)


@contextmanager
def command_store(changes: str | None = None, target_id: str | None = None) -> Iterator[Store]:
    """Open the configured database, or the private one of a Skyquay that runs now.

    That the command changes something of the kind `changes` is recorded.
    """
    config = find_database(read_config())
    with prepared_store(config) as store, ExitStack() as stack:
        if changes is not None:
            stack.enter_context(recorded(config, store, changes, target_id))
        yield store


@contextmanager
def recorded(config: Config, store: Store, kind: str, target_id: str | None) -> Iterator[None]:
    """Write into the audit log what a command tries, and how that ends."""
    path = click.get_current_context().command_path.split()
    click.get_current_context().meta.pop(_TARGET, None)
    entry = audit.begin(
        store,
        action=".".join(["cli", *path[1:]]),
        target_kind=kind,
        target_id=target_id,
        keep_s=config.audit_days * 86400,
        now=utc_now(),
    )
    status: int = 500
    code: str | None = "internal_error"
    try:
        yield
        status, code = 200, None
    except ServiceError as exc:
        status, code = exc.status, exc.code
        raise
    except (ma.ValidationError, click.ClickException, click.Abort):
        status, code = 400, "invalid_input"
        raise
    finally:
        made = click.get_current_context().meta.get(_TARGET)
        audit.finish(store, entry, status=status, code=code, target_id=made)


def name_target(target_id: str) -> None:
    """Return the audit log the id of what the command has made."""
    click.get_current_context().meta[_TARGET] = target_id


def _check_secrets(config: Config, store: Store) -> None:
    """Raise ConfigError when there is a secret key that is not the database's."""
    vault = Vault(config.secret_key)
    if config.secret_key and (unreadable := node_secrets.list_unreadable(store, vault)):
        raise ConfigError(
            "SKYQUAY_SECRET_KEY does not open the secrets of the nodes "
            f"{', '.join(node['name'] for node in unreadable)}: set the key that encrypted them, "
            "also behind a new one, apart by a comma."
        )
