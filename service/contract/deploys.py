"""Deployments on the wire."""

from functools import partial
from operator import methodcaller
from typing import Any

import marshmallow as ma

from service.contract import answers, fields, placement, program_fields
from service.contract.answers import Answer
from service.contract.base import Request, StrictRequest
from service.contract.container_settings import ContainerFields
from service.contract.instances import InstanceAnswer, InstancePlan, dry_run
from service.model.documents import Instance
from service.model.lifecycle import InstanceState
from service.model.orders import Order
from service.model.placement import is_auto

_PORTS = (
    "`container:host[,container:host...]`, each for TCP and UDP. With `auto` as the host port a "
    "free one is found; `25565-25567:auto` gets three that follow each other."
)


class Deploy(Request[Order]):
    """An instance to deploy, as the reference says it."""

    image = fields.text(
        longest=512,
        description="An image's `Id`, its `Name`, or the container image it runs.",
        sample=fields.IMAGE,
    )
    image_name = fields.text(
        data_key="imagename",
        required=False,
        load_default=None,
        shortest=0,
        description="Distinguishes images that run the same container image.",
    )
    memory_mib = fields.memory(
        data_key="memory",
        required=True,
        metadata={"description": 'MiB, or with a unit: 512, "512", "512M", "2G".', "sample": 128},
    )
    cpu_milli = fields.cpu(
        data_key="cpu",
        required=True,
        metadata={"description": 'Cores: 1, "1", "0.5".', "sample": "0.5"},
    )
    disk_gb = fields.Disk(
        data_key="disk",
        load_default=None,
        allow_none=True,
        metadata={"description": "GB, as a number or text. Shown, not enforced."},
    )
    ports = fields.port_map(
        required=True,
        metadata={
            "description": _PORTS,
            "sample": "8080:25565",
        },
    )
    primary = fields.primary(
        required=True,
        metadata={
            "description": "One of the host ports, or one of the pairs, of `ports`.",
            "sample": "25565",
        },
    )
    node_id = fields.text(
        data_key="nodeId",
        longest=64,
        description="The node to deploy on, or `auto` for whichever fits.",
        sample=fields.NODE,
    )
    placement = placement.placement()
    name = fields.text(description="What the owner calls it.", sample="my first")
    user_id = fields.text(
        data_key="user",
        longest=64,
        description="The owner's `userId`.",
        sample=fields.USER,
    )
    variables = program_fields.Variables(
        load_default=dict,
        allow_none=True,
        metadata={
            "description": "Values for the image's variables, which become text. Null and an empty "
            "list are no values.",
            "anyOf": program_fields.VARIABLES,
        },
    )
    queue = ma.fields.Boolean(
        load_default=False,
        allow_none=True,
        metadata={"description": "Accept it while the node is Offline, and carry it out later."},
    )

    @ma.pre_load
    def pass_over_placement(self, sent: Any, **kwargs: Any) -> Any:
        """Ignore the placement of a node that is named, as what is not known is ignored."""
        if not isinstance(sent, dict) or is_auto(sent.get("nodeId")):
            return sent
        return {name: value for name, value in sent.items() if name != "placement"}

    @ma.post_load
    def complete(self, loaded: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Take null for no variables, and for no."""
        empty: dict[str, Any] = {"variables": {}, "queue": False}
        nulls = {name: value for name, value in empty.items() if loaded.get(name, 0) is None}
        return placement.complete({**loaded, **nulls})


class AddInstance(StrictRequest[Order], Deploy, ContainerFields):
    """An instance to deploy."""

    node_id = fields.text(
        required=False,
        load_default=None,
        data_key="nodeId",
        longest=64,
        description="The node to deploy on, by id or by name; `auto`, or absent, for whichever "
        "fits.",
        sample=fields.NODE,
    )
    ports = fields.port_map(
        load_default=(),
        metadata={
            "description": f"{_PORTS} Those that the image declares if absent.",
            "sample": "8080:25565",
        },
    )
    primary = fields.primary(
        load_default=None,
        allow_none=True,
        metadata={
            "description": "One of the host ports, or one of the pairs, of `ports`; the first of "
            "them if absent.",
            "sample": "25565",
        },
    )
    external_id = fields.external_id()
    labels = fields.labels()

    @ma.pre_load
    def pass_over_placement(self, sent: Any, **kwargs: Any) -> Any:
        """Ignore nothing."""
        return sent

    @ma.validates_schema(skip_on_field_errors=False)
    def refuse_placement(self, loaded: dict[str, Any], **kwargs: Any) -> None:
        """Refuse to choose a node that is named."""
        node_id = loaded.get("node_id")
        if loaded.get("placement") is not None and node_id and not is_auto(node_id):
            raise ma.ValidationError({"placement": ["Only with the `nodeId` `auto`."]})

    @ma.post_load
    def complete(self, loaded: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Take null for no variables, for no, and for what it is when nothing is said."""
        completed: dict[str, Any] = ContainerFields.complete(self, Deploy.complete(self, loaded))
        return completed


class TakenOn(Instance):
    """An instance with the operation that deploys it."""

    operation_id: str


class DeployPlan(TakenOn):
    """What would be taken on."""

    dry_run: bool
    plan: InstancePlan


_DEPLOYING = "The instance is being deployed."

PLANNED = "The instance would be deployed."


def _explain_deployment(instance: TakenOn) -> str:
    if instance.get("dry_run"):
        return PLANNED
    match instance["state"]:
        case InstanceState.READY:
            return "The instance is deployed."
        case InstanceState.FAILED:
            return "The deployment failed."
    return _DEPLOYING


class DeployedAnswer(Answer[TakenOn]):
    """The instance is stored. Its container follows."""

    message = answers.text(_DEPLOYING, of=_explain_deployment)
    Message = answers.text(_DEPLOYING, of=_explain_deployment)
    Id = answers.text(
        fields.INSTANCE_ID, of="_id", description="Empty, like all ids here, with `dryRun`."
    )
    volumeId = answers.text(fields.INSTANCE_ID, of="_id")
    VolumeId = answers.text(fields.INSTANCE_ID, of="_id")
    ContainerId = answers.text(None, of="container_id", null=True)
    state = answers.choice(InstanceState, "INSTALLING")
    error = answers.text(None, null=True, description="Why it failed or waits.")
    operationId = answers.text(fields.OPERATION_ID, of="operation_id")
    dryRun = dry_run()
    plan = answers.field(
        partial(ma.fields.Nested, InstanceAnswer),
        of=methodcaller("get", "plan"),
        optional=True,
        description="With `dryRun`: the instance as it would be.",
    )
