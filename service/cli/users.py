"""Commands for users."""

from typing import Any

import click

from service import users
from service.app import utc_now
from service.cli.context import command_store, name_target, report_errors
from service.contract.users import CreateUser


@click.group("users")
def group() -> None:
    """Make and delete users, and set their passwords."""


@group.command("create")
@click.argument("username")
@click.argument("email")
@click.option("--id", "user_id", help="The user's id; made up when absent.")
@click.option("--admin", is_flag=True, help="Say that the user is an administrator.")
@click.password_option(help="Asked for when absent.")
@report_errors
def create_user(username: str, email: str, password: str, **options: Any) -> None:
    """Add a user and print the id."""
    fields = {"username": username, "email": email, "password": password,
              "userId": options["user_id"], "admin": options["admin"]}  # fmt: skip
    with command_store("user") as store:
        user = users.create(
            store,
            **CreateUser().load(fields),
            min_password_length=users.MIN_PASSWORD_LENGTH,
            now=utc_now(),
        )
        name_target(user["_id"])
        click.echo(user["_id"])


@group.command("delete")
@click.argument("user_id")
@report_errors
def delete_user(user_id: str) -> None:
    """Delete a user who owns no instances."""
    with command_store("user", user_id) as store:
        revoked = users.delete(store, user_id)
        click.echo(f"Deleted, with {revoked} API keys." if revoked else "Deleted.")


@group.command("set-password")
@click.argument("user_id")
@click.option("--password", help="Asked for when absent.")
@report_errors
def set_password(user_id: str, password: str | None) -> None:
    """Replace a user's password."""
    with command_store("user", user_id) as store:
        store.users.get(user_id, field="userId")
        if password is None:
            password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
        users.set_password(
            store,
            user_id,
            password,
            min_password_length=users.MIN_PASSWORD_LENGTH,
            now=utc_now(),
        )
        click.echo("The password is set.")
