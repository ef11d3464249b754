"""The command that prints the OpenAPI document."""

import json

import click
from flask import Flask

from service.app import create_app
from service.cli.context import report_errors
from service.config import Config


@click.command()
@report_errors
def openapi() -> None:
    """Print the OpenAPI document."""
    click.echo(print_openapi(create_app(Config())), nl=False)


def print_openapi(app: Flask) -> str:
    """Write the app's OpenAPI document as it is checked in."""
    answer = app.test_client().get("/openapi.json")
    return json.dumps(answer.get_json(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
