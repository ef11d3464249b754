"""Commands for users."""

from typing import Any

import click

from service.cli.api_commands import confirm, speaks_with_api, yes_option
from service.cli.connection import REFERENCE, Connection
from service.cli.output import Column, Output, print_time
from service.cli.quotas import set_quota, show_usage
from service.cli.schema_options import body_options, if_match_option, query_options
from service.contract.list_queries import UsersQuery
from service.contract.users import AddUser, EditUser

COLUMNS = (
    Column("ID", "userId"),
    Column("NAME", "username"),
    Column("EMAIL", "email"),
    Column("ADMIN", "admin"),
    Column("SUSPENDED", "suspended", is_wide=True),
    Column("EXTERNAL ID", "externalId", is_wide=True),
    Column("LABELS", "labels", is_wide=True),
    Column("CREATED", print_time("createdAt"), is_wide=True),
)

_reference = click.argument("user_id", metavar="USER", type=REFERENCE)


@click.group("users")
def group() -> None:
    """Manage users, and set their passwords. USER is an id."""


@group.command("list")
@speaks_with_api
@query_options("listUsers", UsersQuery)
def list_users(api: Connection, out: Output, query: dict[str, Any]) -> None:
    """List users."""
    out.show_list(api.call("listUsers", query=query), COLUMNS, query)


@group.command("show")
@speaks_with_api
@_reference
def show_user(api: Connection, out: Output, user_id: str) -> None:
    """Show a user."""
    out.show_one(api.call("getUser", user_id=user_id))


@group.command("create")
@speaks_with_api
@click.argument("username")
@click.argument("email")
@body_options("addUser", AddUser, leave_out=("username", "email", "password"), userId="--id")
@click.password_option(help="Asked for when absent.")
def create_user(
    api: Connection, out: Output, username: str, email: str, password: str, body: dict[str, Any]
) -> None:
    """Add a user and print the id."""
    order = {"username": username, "email": email, "password": password, **body}
    answer = api.call("addUser", body=order)
    out.show_done(answer, answer.json["userId"])


@group.command("edit")
@speaks_with_api
@_reference
@body_options("editUser", EditUser, leave_out=("password",))
@if_match_option("editUser")
def edit_user(api: Connection, out: Output, user_id: str, body: dict[str, Any]) -> None:
    """Change a user. What is not given stays; `set-password` replaces the password."""
    if not body:
        raise click.UsageError("Say what to change.")
    out.show_one(api.call("editUser", user_id=user_id, body=body))


@group.command("delete")
@speaks_with_api
@_reference
@yes_option
@if_match_option("removeUser")
def delete_user(api: Connection, out: Output, user_id: str, yes: bool) -> None:
    """Delete a user who owns no instances, with the user's API keys.

    On the database of this machine it does not ask first.
    """
    confirm(f"Delete the user {user_id}?", yes=yes or api.is_local)
    out.show_done(api.call("removeUser", user_id=user_id), "Deleted.")


@group.command("suspend")
@speaks_with_api
@_reference
@if_match_option("suspendUser")
def suspend_user(api: Connection, out: Output, user_id: str) -> None:
    """Stop all instances of a user, and have none deployed or started."""
    out.show_done(api.call("suspendUser", user_id=user_id), "Suspended.")


@group.command("unsuspend")
@speaks_with_api
@_reference
@if_match_option("unsuspendUser")
def unsuspend_user(api: Connection, out: Output, user_id: str) -> None:
    """Let a suspended user's instances run again."""
    out.show_done(api.call("unsuspendUser", user_id=user_id), "Unsuspended.")


@group.command("set-password")
@speaks_with_api
@_reference
@click.option("--password", help="Asked for when absent.")
def set_password(api: Connection, out: Output, user_id: str, password: str | None) -> None:
    """Replace a user's password."""
    api.call("getUser", user_id=user_id)
    if password is None:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    out.show_done(
        api.call("editUser", user_id=user_id, body={"password": password}), "The password is set."
    )


group.add_command(set_quota)
group.add_command(show_usage)
