"""Commands for the server that the others speak with."""

import click

from service.cli import login_file
from service.cli.api_commands import speaks_with_api
from service.cli.connection import Connection
from service.cli.connection_options import connection_options, pop_options
from service.cli.failures import Exit, Failure
from service.cli.login_file import Login
from service.cli.output import Output
from service.cli.over_http import TIMEOUT_S, HttpTransport, parse_key, parse_url
from service.cli.target import read_key, warn_if_exposed


@click.command()
@click.argument("server", metavar="[URL]", required=False)
@connection_options(hidden=True)
def login(server: str | None, **options: object) -> None:
    """Have commands speak with the server at URL from now on, with an API key.

    The key is asked for, or read from standard input. Both are kept in a file that only you can
    read, in your configuration folder, once the server has accepted the key.
    """
    chosen = pop_options(options)
    given = server or chosen["url"] or click.prompt("URL of the server", err=True)
    url, key = parse_url(given), chosen["key"]
    warn_if_exposed(url)
    key = parse_key(key) if key not in (None, "-") else read_key(url)
    transport = HttpTransport(url, key, ca=chosen["ca"], timeout_s=chosen["timeout_s"] or TIMEOUT_S)
    me = Connection(transport, is_verbose=bool(chosen["is_verbose"])).call("getMe").json
    if not isinstance(me, dict) or "version" not in me:
        raise Failure(f"What answers at {url} is not Skyquay.", Exit.UNREACHABLE)
    login_file.write(Login(url, key))
    click.echo(f"Logged in to {url} (Skyquay {me['version']}) with the key {me['key']['name']}.")


@click.command()
def logout() -> None:
    """Forget the server and the key of `skyquay login`. The key itself stays valid."""
    kept = login_file.remove()
    click.echo("Nobody was logged in." if kept is None else f"Logged out of {kept.url}.")


@click.command("me")
@speaks_with_api
def show_me(api: Connection, out: Output) -> None:
    """Show the API key that commands use, what it may do, and the version of the server."""
    answer = api.call("getMe")
    out.show_one(answer)
