"""Requests that are only tried, on the wire: what they ask, and what they are answered."""

from typing import Any

import marshmallow as ma

from service.contract.answers import Answer
from service.contract.base import ReadyQuery
from service.contract.deploys import PLANNED, DeployedAnswer
from service.contract.fields import make_example
from service.contract.instances import InstanceAnswer
from service.model.lifecycle import InstanceState, Power

NAME = "dryRun"


class DryRunQuery(ReadyQuery):
    """How long the answer may take, and whether the request is only tried."""

    dry_run = ma.fields.Boolean(
        data_key=NAME,
        load_default=False,
        metadata={
            "description": "Check all, and answer what would become of it. Nothing is stored."
        },
    )


def is_dry(value: str | None) -> bool:
    """Return whether this value of the parameter means that the request is only tried."""
    return value in ma.fields.Boolean.truthy


def _document(schema: type[Answer[Any]], **example: object) -> dict[str, Any]:
    """Document an answer of status 200 that has the schema of what is done.

    So clients that are made of the document have one type for both.
    """
    return {
        "schema": schema,
        "example": make_example(schema, dryRun=True, **example),
        "description": "With `dryRun`: what would be made now, with empty ids.",
    }


PLANNED_INSTANCE = _document(
    InstanceAnswer,
    Id="",
    VolumeId="",
    ContainerId=None,
    InternalState=InstanceState.INSTALLING,
    power=Power.UNKNOWN,
    exitCode=None,
    oomKilled=None,
    restarts=None,
    startedAt=None,
    phase=None,
    readyAt=None,
)
"""The answer to a deploy that is only tried, for the OpenAPI document."""

PLANNED_DEPLOY = _document(
    DeployedAnswer,
    message=PLANNED,
    Message=PLANNED,
    Id="",
    volumeId="",
    VolumeId="",
    operationId="",
    plan=PLANNED_INSTANCE["example"],
)
"""The same of the reference's endpoint."""
