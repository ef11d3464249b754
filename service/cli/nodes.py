"""Commands for nodes, and for the secret key that keeps what they are called with."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar

import click

from service import enrolment, node_secrets, nodes
from service.app import make_drivers, make_node_policy, utc_now
from service.cli.context import (
    command_store,
    find_secret_key,
    name_target,
    read_config,
    report_errors,
)
from service.contract.node_orders import CreateNode
from service.contract.tls import NodeTls
from service.model.driver_traits import DOCKER, OFFERED, traits_of
from service.model.lifecycle import NodeStatus
from service.security.vault import Vault

Params = ParamSpec("Params")
Result = TypeVar("Result")


@click.group("nodes")
def group() -> None:
    """Add nodes, and replace what they are called with."""


def tls_options(command: Callable[Params, Result]) -> Callable[Params, Result]:
    """Give a command the options that name the files of certificates."""
    for part, text in (
        ("key", "Its private key, PEM."),
        ("cert", "Our certificate for the node, PEM."),
        ("ca", "Who signed the node's certificate, PEM."),
    ):
        command = click.option(f"--tls-{part}", type=click.File(), help=text)(command)
    return command


def _read_tls(options: dict[str, Any]) -> dict[str, str]:
    """Take the files out of the options, and read them."""
    files = {part: options.pop(f"tls_{part}") for part in ("ca", "cert", "key")}
    try:
        return {part: file.read() for part, file in files.items() if file is not None}
    except UnicodeDecodeError as exc:
        raise click.ClickException("A file of certificates must be PEM, which is text.") from exc


@group.command("add")
@click.argument("name")
@click.option(
    "--driver",
    type=click.Choice(OFFERED),
    default=DOCKER.name,
    show_default=True,
    help="How it is talked to.",
)
@click.option(
    "--address", help="Host name, address or unix:///path. Default for docker: its socket."
)
@click.option("--port", help="For docker 2376, without TLS 2375; for skyportd 3002.")
@click.option(
    "--ram",
    help="GB, or with a unit; what the node may give away. Default for docker and process: "
    "what the engine has.",
)
@click.option(
    "--public-address",
    "publicAddress",
    help="Host name or address that players connect to. Default: --address, if that is public.",
)
@click.option("--disk", help="GB.")
@click.option("--processor", help="Its processor, as you call it.")
@click.option(
    "--same-engine",
    "allowSameEngine",
    is_flag=True,
    help="Add it although another node is of the same engine.",
)
@click.option("--tags", help="What you call it by, apart by commas.")
@click.option("--tls", is_flag=True, help="Call a skyportd node over HTTPS; implied by --tls-ca.")
@tls_options
@click.option("--panel", default=None, help="Where a skyportd node finds Skyquay, to enrol itself.")
@report_errors
def add_node(name: str, panel: str | None, tls: bool, **options: Any) -> None:
    """Add a node, probe it, and print its id and status.

    For a skyportd node: and the command that enrols it, to be run in the daemon's folder. A Docker
    Engine by address needs all three --tls files. Here, unlike in the API, any address is allowed.
    """
    given = _read_tls(options)
    if tls or given:
        options["tls"] = given
    if options["address"] is None:
        options["address"] = traits_of(options["driver"]).local_address or None
    order = CreateNode().load({"name": name, **options})
    config = read_config()
    with command_store("node") as store:
        node = nodes.create(
            store,
            make_drivers(config, store),
            order,
            policy=make_node_policy(config),
            trusted_address=True,
            vault=Vault(find_secret_key(config)),
            now=utc_now(),
        )
        name_target(node["_id"])
        click.echo(f"{node['_id']}  {node['status']}")
        if node["status"] == NodeStatus.UNCONFIGURED:
            _, key = enrolment.issue_configure_key(store, node["_id"], now=utc_now())
            panel = panel or f"http://{config.listen}"
            click.echo(f"npm run configure -- --panel {panel} --key {key}")
        if node["probe_error"]:
            click.echo(node["probe_error"], err=True)


@group.command("set-tls")
@click.argument("node_id")
@tls_options
@report_errors
def set_tls(node_id: str, **options: Any) -> None:
    """Replace the certificates that a node is called with. It is asked with the new ones first.

    Those before stay unless it answers. A skyportd node without any file is trusted as the system
    trusts others.
    """
    tls = NodeTls().load(_read_tls(options))
    config = read_config()
    secret_key = find_secret_key(config)
    with command_store("node", node_id) as store:
        open_driver = make_drivers(replace(config, secret_key=secret_key), store)
        nodes.set_tls(store, open_driver, Vault(secret_key), node_id, tls, now=utc_now())
        click.echo("The node is called with these from now on.")


@click.group("secrets")
def secrets_group() -> None:
    """Rotate the secret key."""


@secrets_group.command("rotate")
@report_errors
def rotate_secrets() -> None:
    """Encrypt all secrets with the first key of SKYQUAY_SECRET_KEY, so that the others can go.

    Set the new key before the old one, apart by a comma, everywhere; then run this.
    """
    config = read_config()
    with command_store("secrets") as store:
        count = node_secrets.reseal(store, Vault(find_secret_key(config)))
        click.echo(f"{count} secrets are encrypted with the first key now.")
