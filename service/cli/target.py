"""Which Skyquay a command speaks with: a server, or the database of this machine."""

import sys

import click

from service.cli import login_file
from service.cli.connection import Transport
from service.cli.login_file import Login
from service.cli.over_http import TIMEOUT_S, HttpTransport, is_exposed, parse_key, parse_url
from service.config import find_client_login, no_color

_HOW_TO_LOG_IN = "Run `skyquay login`, set SKYQUAY_KEY, or give --key."


def open_target(
    *, url: str | None, key: str | None, is_local: bool, ca: str | None, timeout_s: float | None
) -> Transport:
    """Open what the options, the environment or the login name: the first of them that does.

    Where none does, or the options say so, that is the database of this machine, until the command
    ends. On a terminal it says which. Raises UsageError.
    """
    if is_local and (url or key):
        raise click.UsageError("--local goes with neither --url nor --key.")
    login = None if is_local else find_login(url, key)
    if login is None:
        from service.cli.local import open_local

        _say("On the database of this machine.")
        return open_local()
    _say(f"At {login.url}")
    warn_if_exposed(login.url)
    return HttpTransport(login.url, login.key, ca=ca, timeout_s=timeout_s or TIMEOUT_S)


def find_login(url: str | None, key: str | None) -> Login | None:
    """Find the server that is meant, and its key; None where there is none.

    A key that was kept or set for one server is never sent to another. Raises UsageError.
    """
    set_url, set_key = find_client_login()
    kept = login_file.read()
    named = url or set_url or (kept.url if kept is not None else None)
    if named is None:
        if key is not None:
            raise click.UsageError("--key needs --url, or SKYQUAY_URL.")
        return None
    server = parse_url(named)
    if key is None and set_key and server == parse_url(set_url or named):
        key = set_key
    if key is None and kept is not None and kept.url == server:
        key = kept.key
    if key is None and not sys.stdin.isatty():
        # Standard input may be anything here, and never end.
        raise click.UsageError(f"There is no API key for {server}. {_HOW_TO_LOG_IN}")
    return Login(server, read_key(server) if key in (None, "-") else parse_key(key))


def read_key(url: str) -> str:
    """Ask for the key, or read it from standard input. Raises UsageError when there is none."""
    if sys.stdin.isatty():
        return parse_key(click.prompt(f"API key of {url}", hide_input=True, err=True))
    return parse_key(sys.stdin.readline())


def warn_if_exposed(url: str) -> None:
    """Warn of a server whose key others on the way can read."""
    if is_exposed(url):
        click.echo(f"Warning: {url} is not encrypted: others may read the API key.", err=True)


def _say(sentence: str) -> None:
    if sys.stderr.isatty():
        click.secho(sentence, dim=not no_color(), err=True)
