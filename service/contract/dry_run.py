"""Requests that are only tried, on the wire: what they ask, and what they are answered."""

from typing import Any

import marshmallow as ma

from service.contract import answers, fields, images
from service.contract.answers import Answer
from service.contract.base import ReadyQuery
from service.contract.instances import InstanceOnNode, NodeSummary, find_endpoint, find_node
from service.model.ports import print_map
from service.model.quantities import print_cores

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


class DeployPlanAnswer(Answer[InstanceOnNode]):
    """What a deploy would make now. Its node and its ports are held for nobody."""

    dryRun = answers.flag(True, of=lambda _: True)
    Node = answers.nested(NodeSummary, of=find_node)
    connect = answers.text(
        "play.example.org:25565",
        of=find_endpoint,
        null=True,
        description="What a player would type.",
    )
    Image = answers.text(images.CONTAINER_IMAGE, of="image")
    ImageName = answers.text(fields.IMAGE, of="image_name")
    Memory = answers.integer(128, of="memory_mib", description="MiB.")
    Cpu = answers.number(
        0.5, of=lambda instance: print_cores(instance["cpu_milli"]), description="Cores."
    )
    Ports = answers.text("8080:25565", of=lambda instance: print_map(instance["port_map"]))
    Primary = answers.anything("25565", of="primary", metadata={"type": ["string", "integer"]})


PLANNED: dict[str, Any] = {
    "schema": DeployPlanAnswer,
    "example": fields.make_example(DeployPlanAnswer),
    "description": "With `dryRun`: what would be made now.",
}
"""The answer of status 200 to a deploy that is only tried, for the OpenAPI document."""
