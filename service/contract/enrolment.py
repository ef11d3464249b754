"""The enrolment of a node's daemon on the wire."""

from collections.abc import Mapping
from typing import Any, TypedDict

import marshmallow as ma

from service.contract import answers, fields
from service.contract.answers import Answer
from service.contract.base import Request
from service.model.orders import Enrolment

CONFIGURE_KEY = "9f2c..."


class OneTimeKey(TypedDict):
    """What an operator needs to enrol a node's daemon."""

    one_time_key: str
    panel_url: str


def print_command(source: Mapping[str, Any]) -> str:
    """Print what an operator runs in the daemon's folder."""
    url, key = source["panel_url"], source["one_time_key"]
    return f"npm run configure -- --panel {url} --key {key}"


EXAMPLE_COMMAND = print_command(
    {"panel_url": "https://skyquay.example.org", "one_time_key": CONFIGURE_KEY}
)


class ConfigureKeyAnswer(Answer[OneTimeKey]):
    """A new way for a daemon to enrol itself."""

    configureKey = answers.text(CONFIGURE_KEY, of="one_time_key", secret=True)
    configureCommand = answers.text(EXAMPLE_COMMAND, of=print_command)


class Configure(Request[Enrolment]):
    """What a daemon's own `configure` command sends, in the query."""

    configure_key = fields.text(
        data_key="configureKey", longest=128, description="The one-time key of the node."
    )
    access_key = ma.fields.String(
        data_key="accessKey",
        required=True,
        validate=ma.validate.Regexp(
            r"[A-Za-z0-9_-]{16,128}$", error="Must have 16 to 128 letters and digits."
        ),
        metadata={"description": "The key that the daemon made for itself."},
    )


class MessageAnswer(Answer[str]):
    """It is done."""

    message = answers.text("Node configured successfully", of=answers.itself)
