"""Commands for the database as a whole: its schema, a backup of it, and back."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import click

from service import node_secrets
from service.app import prepare
from service.cli.context import find_secret_key, raw_store, read_config, recorded, report_errors
from service.security.vault import Vault
from service.serving import embedded_mongod


@click.command()
@click.option("--dry-run", is_flag=True, help="Only report what would be done.")
@report_errors
def migrate(dry_run: bool) -> None:
    """Bring the documents of earlier versions up to date, as every start of Skyquay does."""
    config = read_config()
    with raw_store(config) as store:
        changes = store.plan_migrations() if dry_run else store.migrate()
        if not dry_run:
            prepare(config, store)
    for change in changes:
        click.echo(f"{change.number}  {change.sentence} ({_describe_counts(change.counts)})")
    if not changes:
        click.echo("The database is up to date.")
    elif dry_run:
        click.echo("A dry run: nothing was written.")


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@report_errors
def backup(file: Path) -> None:
    """Write all documents to FILE, as they are at one moment. Skyquay may go on meanwhile.

    The secrets in it are encrypted with the secret key, which is not in it. Neither is what the
    instances keep on their nodes.
    """
    with raw_store(read_config()) as store:
        contents = store.back_up(file)
    click.echo(f"{file} has {_describe_counts(contents.counts)}.")
    click.echo("Keep the secret key as well, elsewhere: its secrets open with no other.", err=True)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--replace", "anew", is_flag=True, help="Delete first what the database has.")
@report_errors
def restore(file: Path, anew: bool) -> None:
    """Read all documents from a backup into an empty database. Stop all of Skyquay first.

    Without SKYQUAY_MONGODB_URI: into the private database, which is started for that.
    """
    config = read_config()
    with ExitStack() as stack:
        there = config
        if not config.mongodb_uri:
            stack.enter_context(embedded_mongod.lock(config.data_dir))
            mongod = stack.enter_context(embedded_mongod.start(config.data_dir))
            there = replace(config, mongodb_uri=mongod.uri)
        store = stack.enter_context(raw_store(there))
        contents = store.restore(file, replace=anew)
        with recorded(config, store, "database", None):
            click.echo(f"Restored {_describe_counts(contents.counts)}.")
        if node_secrets.list_unreadable(store, Vault(find_secret_key(config))):
            click.echo(
                "The secret key of this Skyquay does not open the secrets of its nodes: set "
                "SKYQUAY_SECRET_KEY to the one that belongs to the backup, or put its file "
                f"secret.key into {config.data_dir}.",
                err=True,
            )


def _describe_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "no documents"
