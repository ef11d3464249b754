"""The command `skyquay`."""

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, replace
from datetime import timedelta
from functools import wraps
from pathlib import Path
from socket import socket
from typing import Any, ParamSpec, TypeVar

import click
import marshmallow as ma
from flask import Flask

from service import (
    audit,
    bootstrap,
    doctor,
    embedded,
    keys,
    logs,
    moving_in,
    nodes,
    skyport_panel,
    users,
)
from service.access import GRANTS, parse_network
from service.api.schemas.nodes import CreateNode, NodeTls
from service.api.schemas.users import CreateUser
from service.app import (
    create_app,
    make_drivers,
    make_store,
    make_worker,
    prepare,
    utc_now,
)
from service.config import Config, ConfigError, describe_settings
from service.documents import Key
from service.drivers import DRIVER_NAMES
from service.embedded import EmbeddedError
from service.errors import ServiceError, StoreFailure
from service.lifecycle import NodeStatus
from service.server import Server, bind, leave_on_signals, name_url, work
from service.store import Store
from service.supervisor import Lifeline, Supervisor, count_cores
from service.vault import Vault

Params = ParamSpec("Params")
Result = TypeVar("Result")


def plainly(command: Callable[Params, Result]) -> Callable[Params, Result]:
    """End a command with one sentence when something is wrong that its user can mend."""

    @wraps(command)
    def call(*args: Params.args, **kwargs: Params.kwargs) -> Result:
        try:
            return command(*args, **kwargs)
        except ServiceError as exc:
            reasons = "".join(f"\n  {name}: {value}" for name, value in exc.details.items())
            raise click.ClickException(exc.message + reasons) from exc
        except ma.ValidationError as exc:
            raise click.ClickException(json.dumps(exc.messages, indent=2)) from exc
        except (ConfigError, EmbeddedError, ValueError) as exc:
            raise click.ClickException(str(exc)) from exc

    return call


def _settings_epilog() -> str:
    lines = [
        f"{variable} ({default or 'unset'}): {meaning}"
        for variable, default, meaning in describe_settings()
    ]
    return "\b\nSettings, from the environment, with their defaults:\n" + "\n".join(lines)


@click.group()
@click.version_option(package_name="skyquay", prog_name="skyquay")
def main() -> None:
    """Manage containers that you host yourself."""


@main.command(epilog=_settings_epilog())
@click.option("--no-worker", is_flag=True, help="Serve only; `skyquay worker` does the work.")
@plainly
def up(no_worker: bool) -> None:
    """Run everything on this machine, with a private database: for one machine, and to try it.

    Makes what is missing: the database, a first API key and user, the starter images and a node
    `local`. Starting it again finds everything as it was.
    """
    leave_on_signals()
    config = _read_config(allow_process=True, allow_loopback_nodes=True)
    with ExitStack() as stack:
        stack.enter_context(embedded.lock(config.data_dir))
        if not config.secret_key:
            config = replace(config, secret_key=bootstrap.keep_secret_key(config.data_dir))
        if not config.mongodb_uri:
            mongod = stack.enter_context(embedded.start(config.data_dir))
            config = replace(config, mongodb_uri=mongod.uri)
        store = stack.enter_context(_usable_store(config))
        drivers = make_drivers(config)
        server = Server(create_app(config, store, drivers), config, bind(config))
        now = utc_now()
        key_file = config.data_dir.resolve() / "api-key"
        # Whatever is no terminal may be a log, which keeps what it gets.
        kept = None if sys.stdout.isatty() else key_file
        key = bootstrap.find_or_make_key(store, keep_in=kept, now=now)
        user_id = bootstrap.find_or_make_user(store, now=now)
        image = bootstrap.find_or_import_images(store, now=now)
        node = bootstrap.find_or_make_node(store, drivers, config, now=now)
        click.echo(f"\nSkyquay serves {server.url}")
        shown, key_for_shell = _show_key(config, key, key_file)
        click.echo(f"  API key      {shown}")
        click.echo(f"  Swagger UI   {server.url}/docs/")
        if node is not None:
            click.echo(f"  Node         {node['name']} ({node['driver']}, {node['status']})")
            port = bootstrap.find_free_port(store, node)
            body = {
                "name": "first",
                "user": user_id,
                "nodeId": node["_id"],
                "image": image["name"],
                "memory": 128,
                "cpu": 1,
                "ports": f"{port}:{port}",
                "primary": port,
            }
            click.echo(
                f"\nDeploy a first instance, which then answers on http://127.0.0.1:{port}\n\n"
                f"curl -X POST {server.url}/api/instances/deploy"
                f' -H "x-api-key: {key_for_shell}"'
                f" -H 'Content-Type: application/json' -d '{json.dumps(body)}'\n"
            )
        sys.stdout.flush()
        server.run(None if no_worker else make_worker(config, store, drivers))
        click.echo("Stopped. What runs on the nodes goes on running.")


def _show_key(config: Config, key: str | None, key_file: Path) -> tuple[str, str]:
    """Say where the first API key is, and how a shell gets it."""
    if config.api_key:
        return "yours, from SKYQUAY_API_KEY", "$SKYQUAY_API_KEY"
    if key_file.exists():
        return f"in {key_file}", f"$(cat {shlex.quote(str(key_file))})"
    if key is not None:
        return key, key
    return (
        "made at the first start; `skyquay keys create` makes another (put it in SKYQUAY_API_KEY)",
        "$SKYQUAY_API_KEY",
    )


@main.command(epilog=_settings_epilog())
@click.option("--no-worker", is_flag=True, help="Serve only; `skyquay worker` does the work.")
@click.option(
    "--processes",
    type=click.IntRange(0),
    help="Processes that answer; 0: one for each core. Default: SKYQUAY_PROCESSES.",
)
# For children of a `serve` that may be of an older version: these two stay as they are.
@click.option("--listener", type=int, hidden=True)
@click.option("--lifeline", type=Lifeline, hidden=True)
@plainly
def serve(
    no_worker: bool, processes: int | None, listener: int | None, lifeline: Lifeline | None
) -> None:
    """Serve the API on your own MongoDB (SKYQUAY_MONGODB_URI). Makes nothing but indexes.

    With several processes one more does the work, what dies is replaced, and SIGHUP replaces them
    all, one after the other, without a request being refused.
    """
    leave_on_signals(is_child=lifeline is not None)
    config = _read_production_config()
    works = bool(config.secret_key) and not no_worker
    with _usable_store(config) as store:
        if lifeline is not None:
            server = Server(create_app(config, store), config, socket(fileno=listener))
            lifeline.tell_ready()
            server.run(None, is_child=True)
            return
        bound = bind(config)
        click.echo(f"Skyquay serves {name_url(config, bound)}")
        if not config.secret_key:
            click.echo(f"It does no work on nodes: {WITHOUT_KEY}", err=True)
        sys.stdout.flush()
        count = (config.processes if processes is None else processes) or count_cores()
        if count == 1:
            drivers = make_drivers(config)
            server = Server(create_app(config, store, drivers), config, bound)
            server.run(make_worker(config, store, drivers) if works else None)
            return
    # Only now: this process needs the database no more.
    Supervisor(bound, processes=count, works=works).run()


@main.command(epilog=_settings_epilog())
@click.option("--lifeline", type=Lifeline, hidden=True)
@plainly
def worker(lifeline: Lifeline | None) -> None:
    """Carry out operations and probe nodes, without serving."""
    leave_on_signals(is_child=lifeline is not None)
    config = _read_production_config()
    if not config.secret_key:
        raise ConfigError(WITHOUT_KEY)
    with _usable_store(config) as store:
        if lifeline is None:
            click.echo("Skyquay works.")
            sys.stdout.flush()
        else:
            lifeline.tell_ready()
        work(make_worker(config, store, make_drivers(config)))


@main.group("keys")
def keys_group() -> None:
    """Make, list and revoke API keys."""


@keys_group.command("create")
@click.option("--name", default="cli", show_default=True, help="What you call it.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(GRANTS),
    metavar="SCOPE",
    help="What it may do, again for more; everything if absent.",
)
@click.option("--user", "user_id", help="Limit it to this user and the user's instances.")
@click.option("--instance", "instance_ids", multiple=True, help="Limit it to these instances.")
@click.option("--node", "node_ids", multiple=True, help="Limit it to these nodes.")
@click.option("--network", "networks", multiple=True, help="Limit where it may be used from.")
@click.option("--days", type=click.FloatRange(0, 36500, min_open=True), help="Days it works for.")
@click.option(
    "--compatibility",
    type=click.Choice(keys.COMPATIBILITIES),
    help="Answer it as that version of the older panel did, where it differs from its reference.",
)
@plainly
def keys_create(name: str, days: float | None, compatibility: str | None, **options: Any) -> None:
    """Make an API key, by default with all rights. It is printed now and never again."""
    limits: Any = {option: list(value) if isinstance(value, tuple) else value
              for option, value in options.items() if value}  # fmt: skip
    for network in limits.get("networks", ()):
        parse_network(network)
    if days:
        limits["expires_at"] = utc_now() + timedelta(days=days)
    with _any_store("key") as store:
        document, key = keys.create(
            store, name=name, grant=limits, compatibility=compatibility, now=utc_now()
        )
        click.echo(key)
        click.echo(f"To revoke it: skyquay keys revoke {document['_id']}", err=True)


@keys_group.command("list")
@plainly
def keys_list() -> None:
    """List the API keys: id, name, how it begins, what it may do, when it was made and used."""
    with _any_store() as store:
        for key in store.keys.list():
            used = key["last_used_at"]
            click.echo(
                f"{key['_id']}  {key['name']:20}  {key['prefix']:9}  {_describe_access(key)}"
                f"  made {key['created_at']:%Y-%m-%d %H:%M}"
                f"  used {used.strftime('%Y-%m-%d %H:%M') if used else 'never'}"
            )


def _describe_access(key: Key) -> str:
    """Say in one column what a key may do, on what and until when."""
    limits = {
        "user": key["user_id"] and [key["user_id"]],
        "instances": key["instance_ids"],
        "nodes": key["node_ids"],
        "from": key["networks"],
        "until": key["expires_at"] and [f"{key['expires_at']:%Y-%m-%d %H:%M}"],
    }
    told = (f"{name} {','.join(values)}" for name, values in limits.items() if values)
    return "; ".join([",".join(key["scopes"]), *told])


@keys_group.command("rotate")
@click.argument("key_id")
@click.option(
    "--overlap",
    default=3600.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Seconds for which the old value works beside the new one.",
)
@plainly
def keys_rotate(key_id: str, overlap: float) -> None:
    """Give an API key a new value. It is printed now and never again."""
    with _any_store("key", key_id) as store:
        _, value = keys.rotate(store, store.keys.get(key_id), overlap_s=overlap, now=utc_now())
        click.echo(value)


@keys_group.command("revoke")
@click.argument("key_id")
@plainly
def keys_revoke(key_id: str) -> None:
    """Make an API key worthless at once."""
    with _any_store("key", key_id) as store:
        if not keys.revoke(store, key_id):
            raise click.ClickException(f"There is no key {key_id!r}.")
        click.echo("Revoked.")


@main.group("users")
def users_group() -> None:
    """Make and delete users, and set their passwords."""


@users_group.command("create")
@click.argument("username")
@click.argument("email")
@click.option("--id", "user_id", help="The user's id; made up when absent.")
@click.option("--admin", is_flag=True)
@click.password_option(help="Asked for when absent.")
@plainly
def users_create(username: str, email: str, password: str, **options: Any) -> None:
    """Add a user and print the id."""
    fields = {"username": username, "email": email, "password": password,
              "userId": options["user_id"], "admin": options["admin"]}  # fmt: skip
    with _any_store("user") as store:
        click.echo(users.create(store, **CreateUser().load(fields), now=utc_now())["_id"])


@users_group.command("delete")
@click.argument("user_id")
@plainly
def users_delete(user_id: str) -> None:
    """Delete a user who owns no instances."""
    with _any_store("user", user_id) as store:
        users.delete(store, user_id)
        click.echo("Deleted.")


@users_group.command("set-password")
@click.argument("user_id")
@click.password_option(help="Asked for when absent.")
@plainly
def users_set_password(user_id: str, password: str) -> None:
    """Replace a user's password."""
    with _any_store("user", user_id) as store:
        users.set_password(store, user_id, password, now=utc_now())
        click.echo("The password is set.")


@main.group("images")
def images_group() -> None:
    """Import and list images."""


@images_group.command("import")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@plainly
def images_import(path: Path) -> None:
    """Import an image document, or every *.json of a folder. One of the same name is replaced.

    A document that says `"process": true` may run as a process of a machine: read it first.
    """
    with _any_store("image") as store:
        for image in bootstrap.import_images(store, path, now=utc_now()):
            click.echo(f"{image['_id']}  {image['name']}")


@images_group.command("list")
@plainly
def images_list() -> None:
    """List the images: id, name, container image."""
    with _any_store() as store:
        for image in store.images.list():
            click.echo(f"{image['_id']}  {image['name']}  ({image['image']})")


@main.group("nodes")
def nodes_group() -> None:
    """Add nodes."""


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
    return {part: file.read() for part, file in files.items() if file is not None}


@nodes_group.command("add")
@click.argument("name")
@click.option("--driver", type=click.Choice(DRIVER_NAMES), default="docker", show_default=True)
@click.option(
    "--address", help="Host name, address or unix:///path. Default for docker: its socket."
)
@click.option("--port", help="For docker 2376, without TLS 2375; for skyportd 3002.")
@click.option("--ram", help="GB, or with a unit; what the node may give away.")
@click.option("--disk", help="GB.")
@click.option("--processor")
@click.option("--tags")
@click.option("--tls", is_flag=True, help="Call a skyportd node over HTTPS; implied by --tls-ca.")
@tls_options
@click.option("--panel", default=None, help="Where a skyportd node finds Skyquay, to enrol itself.")
@plainly
def nodes_add(name: str, panel: str | None, tls: bool, **options: Any) -> None:
    """Add a node, probe it, and print its id and status.

    For a skyportd node: and the command that enrols it, to be run in the daemon's folder. A Docker
    Engine by address needs all three --tls files. Here, unlike in the API, any address is allowed.
    """
    given = _read_tls(options)
    if tls or given:
        options["tls"] = given
    if options["driver"] == "docker" and options["address"] is None:
        options["address"] = f"unix://{bootstrap.DOCKER_SOCKET}"
    order = CreateNode().load({"name": name, **options})
    config = _read_config()
    with _any_store("node") as store:
        node = nodes.create(
            store,
            make_drivers(config),
            order,
            allow_process=config.allow_process,
            allow_plain_docker=config.allow_plain_docker,
            trusted_address=True,
            vault=Vault(_find_secret_key(config)),
            now=utc_now(),
        )
        click.echo(f"{node['_id']}  {node['status']}")
        if node["status"] == NodeStatus.UNCONFIGURED:
            _, key = nodes.issue_configure_key(
                store, node["_id"], lifetime_s=config.configure_key_s, now=utc_now()
            )
            panel = panel or f"http://{config.listen}"
            click.echo(f"npm run configure -- --panel {panel} --key {key}")
        if node["probe_error"]:
            click.echo(node["probe_error"], err=True)


@nodes_group.command("set-tls")
@click.argument("node_id")
@tls_options
@plainly
def nodes_set_tls(node_id: str, **options: Any) -> None:
    """Replace the certificates that a node is called with. It is asked with the new ones first.

    Those before stay unless it answers. A skyportd node without any file is trusted as the system
    trusts others.
    """
    tls = NodeTls().load(_read_tls(options))
    config = _read_config()
    secret_key = _find_secret_key(config)
    with _any_store("node", node_id) as store:
        drivers = make_drivers(replace(config, secret_key=secret_key))
        nodes.set_tls(store, drivers, Vault(secret_key), node_id, tls, now=utc_now())
        click.echo("The node is called with these from now on.")


@main.group("secrets")
def secrets_group() -> None:
    """Rotate the secret key."""


@secrets_group.command("rotate")
@plainly
def secrets_rotate() -> None:
    """Encrypt all secrets with the first key of SKYQUAY_SECRET_KEY, so that the others can go.

    Set the new key before the old one, apart by a comma, everywhere; then run this.
    """
    config = _read_config()
    with _any_store("secrets") as store:
        count = nodes.reseal(store, Vault(_find_secret_key(config)))
        click.echo(f"{count} secrets are encrypted with the first key now.")


@main.command("import-skyport")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--apply", is_flag=True, help="Do it; without, only tell what would be done.")
@click.option("--report", type=click.Path(path_type=Path), help="Write a report as JSON here.")
@click.option(
    "--compatibility",
    type=click.Choice(keys.COMPATIBILITIES),
    help="What the imported API keys' clients were written for; the API's reference if absent.",
)
@plainly
def import_skyport(file: Path, apply: bool, report: Path | None, compatibility: str | None) -> None:
    """Bring users, nodes, images, instances and API keys from a Skyport panel's database.

    Nothing is redeployed and nothing is stopped. It can be repeated: what is there already is left
    as it is.
    """
    config = _read_config()
    try:
        panel = skyport_panel.read(file)
    except skyport_panel.NoPanel as exc:
        raise click.ClickException(str(exc)) from exc
    with _any_store("panel" if apply else None) as store:
        mover = moving_in.Mover(
            store,
            Vault(_find_secret_key(config)),
            apply=apply,
            compatibility=compatibility,
            now=utc_now(),
        )
        total = moving_in.count(panel)
        with click.progressbar(length=total, label="Looking", file=sys.stderr) as bar:
            for _ in mover.move(panel):
                bar.update(1)
    _print_report(mover.report)
    if report is not None:
        report.write_text(json.dumps(asdict(mover.report), indent=2) + "\n")


def _print_report(report: moving_in.Report) -> None:
    click.echo("Done." if report.applied else "A dry run: nothing was written. --apply does it.")
    for kind in moving_in.KINDS:
        new, there = len(report.new[kind]), len(report.there_already[kind])
        click.echo(f"  {kind:<10} {new} new, {there} there already")
    for title, entries in (("conflict", report.conflicts), ("damaged", report.damaged)):
        for entry in entries:
            click.echo(f"  {title}: {entry['what']}: {entry['why']}")
    for instance_id in report.left_behind:
        click.echo(f"  left behind by a deletion, not brought: instance {instance_id}")
    for name in report.not_moved:
        click.echo(f"  not brought: {name}")


@main.command()
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
@plainly
def migrate(dry_run: bool) -> None:
    """Bring the documents of earlier versions up to date, as every start of Skyquay does."""
    config = _read_config()
    with _opened_store(config) as store:
        changes = store.plan_migrations() if dry_run else store.migrate()
        if not dry_run:
            prepare(config, store)
    for change in changes:
        click.echo(f"{change.number}  {change.sentence} ({_describe_counts(change.counts)})")
    if not changes:
        click.echo("The database is up to date.")
    elif dry_run:
        click.echo("A dry run: nothing was written.")


@main.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@plainly
def backup(file: Path) -> None:
    """Write all documents to FILE, as they are at one moment. Skyquay may go on meanwhile.

    The secrets in it are encrypted with the secret key, which is not in it. Neither is what the
    instances keep on their nodes.
    """
    with _opened_store(_read_config()) as store:
        contents = store.back_up(file)
    click.echo(f"{file} has {_describe_counts(contents.counts)}.")
    click.echo("Keep the secret key as well, elsewhere: its secrets open with no other.", err=True)


@main.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--replace", "anew", is_flag=True, help="Delete first what the database has.")
@plainly
def restore(file: Path, anew: bool) -> None:
    """Read all documents from a backup into an empty database. Stop all of Skyquay first.

    Without SKYQUAY_MONGODB_URI: into the private database, which is started for that.
    """
    config = _read_config()
    with ExitStack() as stack:
        there = config
        if not config.mongodb_uri:
            stack.enter_context(embedded.lock(config.data_dir))
            mongod = stack.enter_context(embedded.start(config.data_dir))
            there = replace(config, mongodb_uri=mongod.uri)
        store = stack.enter_context(_opened_store(there))
        contents = store.restore(file, replace=anew)
        with _recorded(config, store, "database", None):
            click.echo(f"Restored {_describe_counts(contents.counts)}.")
        if nodes.list_unreadable(store, Vault(_find_secret_key(config))):
            click.echo(
                "The secret key of this Skyquay does not open the secrets of its nodes: set "
                "SKYQUAY_SECRET_KEY to the one that belongs to the backup, or put its file "
                f"secret.key into {config.data_dir}.",
                err=True,
            )


def _describe_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "no documents"


@main.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@plainly
def examine(as_json: bool) -> None:
    """Look for what is wrong, and say what to do about it. Ends with 1 when something fails."""
    findings = list(_examine(_read_config()))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            said = " ".join(filter(None, (finding.found, finding.remedy)))
            click.echo(f"{finding.level:<5} {finding.subject}: {said}")
    if any(finding.level == doctor.Level.FAIL for finding in findings):
        click.get_current_context().exit(1)


def _examine(config: Config) -> Iterator[doctor.Finding]:
    try:
        there = _find_database(config)
    except ConfigError as exc:
        yield doctor.Finding(doctor.Level.FAIL, "settings", str(exc), "Set it, or start `up`.")
        return
    if not config.mongodb_uri:
        there = replace(there, allow_process=True, allow_loopback_nodes=True)  # as `up` has it
    secret_key = _find_secret_key(config)
    with closing(make_store(there)) as store:
        yield from doctor.examine(
            store,
            make_drivers(replace(there, secret_key=secret_key)),
            Vault(secret_key),
            data_dir=config.data_dir,
            now=utc_now,
        )


@main.command()
@plainly
def openapi() -> None:
    """Print the OpenAPI document."""
    click.echo(print_openapi(create_app(Config())), nl=False)


def print_openapi(app: Flask) -> str:
    """Write the app's OpenAPI document as it is checked in."""
    answer = app.test_client().get("/openapi.json")
    return json.dumps(answer.get_json(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _find_secret_key(config: Config) -> str:
    """Find the secret key of the database that commands use: the settings', or that of `up`."""
    if config.secret_key or config.mongodb_uri:
        return config.secret_key
    return bootstrap.keep_secret_key(config.data_dir)


WITHOUT_KEY = (
    "SKYQUAY_SECRET_KEY is not set, which encrypts the secrets of nodes: make one with "
    "`openssl rand -base64 32`, and keep a copy."
)


def _check_secrets(config: Config, store: Store) -> None:
    """Raise ConfigError when there is a secret key that is not the database's."""
    vault = Vault(config.secret_key)
    if config.secret_key and (unreadable := nodes.list_unreadable(store, vault)):
        raise ConfigError(
            "SKYQUAY_SECRET_KEY does not open the secrets of the nodes "
            f"{', '.join(node['name'] for node in unreadable)}: set the key that encrypted them, "
            "also behind a new one, apart by a comma."
        )


def _read_config(**defaults: Any) -> Config:
    config = Config.from_env(os.environ, **defaults)
    logs.set_up(config)
    return config


def _read_production_config() -> Config:
    config = _read_config()
    config.require_mongodb()
    return config


@contextmanager
def _usable_store(config: Config) -> Iterator[Store]:
    """Open the database and make it ready."""
    store = make_store(config)
    try:
        prepare(config, store)
        _check_secrets(config, store)
        yield store
    finally:
        store.close()


@contextmanager
def _opened_store(config: Config) -> Iterator[Store]:
    """Open the database that commands use, as it is: nothing is made ready."""
    store = make_store(_find_database(config))
    try:
        if problem := store.check_server():
            raise StoreFailure(problem)
        yield store
    finally:
        store.close()


def _find_database(config: Config) -> Config:
    """Fill in the private database of a Skyquay that runs now, where none is configured."""
    if config.mongodb_uri:
        return config
    mongod = embedded.find_running(config.data_dir)
    if mongod is None:
        raise ConfigError(
            "SKYQUAY_MONGODB_URI is not set, and no `skyquay up` runs on "
            f"{config.data_dir.resolve()} (SKYQUAY_DATA_DIR)."
        )
    return replace(config, mongodb_uri=mongod.uri)


@contextmanager
def _any_store(changes: str | None = None, target_id: str | None = None) -> Iterator[Store]:
    """Open the configured database, or the private one of a Skyquay that runs now.

    That the command changes something of the kind `changes` is recorded.
    """
    config = _find_database(_read_config())
    with _usable_store(config) as store, ExitStack() as stack:
        if changes is not None:
            stack.enter_context(_recorded(config, store, changes, target_id))
        yield store


@contextmanager
def _recorded(config: Config, store: Store, kind: str, target_id: str | None) -> Iterator[None]:
    """Write into the record of changes what a command tries, and how that ends."""
    path = click.get_current_context().command_path.split()
    entry = audit.begin(
        store,
        action=".".join(["cli", *path[1:]]),
        target_kind=kind,
        target_id=target_id,
        keep_s=config.audit_days * 86400,
        now=utc_now(),
    )
    try:
        yield
    except ServiceError as exc:
        audit.finish(store, entry, status=exc.status, code=exc.code)
        raise
    audit.finish(store, entry, status=200)
