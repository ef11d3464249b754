"""Commands for the secret key, which encrypts what nodes are called with and webhooks sign with."""

import click

from service import node_secrets, webhook_secrets
from service.cli.context import command_store, find_secret_key, read_config, report_errors
from service.security.vault import Vault


@click.group("secrets")
def group() -> None:
    """Rotate the secret key."""


@group.command("rotate")
@report_errors
def rotate_secrets() -> None:
    """Encrypt all secrets with the first key of SKYQUAY_SECRET_KEY, so that the others can go.

    Set the new key before the old one, apart by a comma, everywhere; then run this.
    """
    config = read_config()
    with command_store("secrets") as store:
        vault = Vault(find_secret_key(config))
        count = node_secrets.reseal(store, vault) + webhook_secrets.reseal(store, vault)
        click.echo(f"{count} secrets are encrypted with the first key now.")
