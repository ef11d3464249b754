"""Instances on the wire."""

from typing import Any

import marshmallow as ma

from service.contract import fields
from service.contract.base import Answer, Request


class InstanceRef(Request):
    """Which instance is meant."""

    id = fields.text(longest=128, description="The instance's id, or its container's.")


class InstancePathRef(Request):
    """May repeat the id of the path, and must agree with it then."""

    id = fields.text(
        required=False, load_default=None, longest=128, description="The id in the path."
    )


class Delete(InstanceRef):
    """Which instance goes."""

    force = ma.fields.Boolean(
        load_default=False,
        allow_none=True,
        metadata={
            "description": "Forget it at once, for a node that may never return. What is left on "
            "the node is removed if that ever answers again."
        },
    )


class LogsQuery(Request):
    """How much of the output."""

    tail = fields.count(
        longest=1000, load_default=100, metadata={"description": "Lines, from the end."}
    )


class UserRef(Request):
    """Which user is meant."""

    user_id = fields.text(data_key="userId", longest=64, description="The user's id.")


class Deploy(Request):
    """An instance to deploy."""

    image = fields.text(
        longest=512, description="An image's `Id`, its `Name`, or the container image it runs."
    )
    image_name = fields.text(
        data_key="imagename",
        required=False,
        load_default=None,
        shortest=0,
        description="Tells images apart that run one container image.",
    )
    memory_mib = fields.memory(
        data_key="memory",
        required=True,
        metadata={"description": 'MiB, or with a unit: 512, "512", "512M", "2G".'},
    )
    cpu_milli = fields.cpu(
        data_key="cpu", required=True, metadata={"description": 'Cores: 1, "1", "0.5".'}
    )
    disk_gb = fields.Disk(
        data_key="disk",
        load_default=None,
        allow_none=True,
        metadata={"description": "GB, as a number or text. Shown, not enforced."},
    )
    ports = fields.port_map(
        required=True,
        metadata={"description": "`container:host[,container:host...]`, each for TCP and UDP."},
    )
    primary = fields.primary(
        required=True,
        metadata={"description": "One of the host ports, or one of the pairs, of `ports`."},
    )
    node_id = fields.text(data_key="nodeId", longest=64, description="The node to deploy on.")
    name = fields.text(description="What the owner calls it.")
    user_id = fields.text(data_key="user", longest=64, description="The owner's `userId`.")
    variables = fields.Variables(
        load_default=dict,
        allow_none=True,
        metadata={
            "type": ["object", "string", "array"],
            "description": "Values for the image's variables: an object, or JSON text of one.",
        },
    )
    queue = ma.fields.Boolean(
        load_default=False,
        allow_none=True,
        metadata={"description": "Take it on even when the node is Offline, and do it later."},
    )

    @ma.post_load
    def fill_in(self, loaded: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Take null for no variables, and for no."""
        return {
            **loaded,
            "variables": loaded["variables"] or {},
            "queue": bool(loaded["queue"]),
        }


class NodeSummary(Answer):
    """The node of an instance."""

    id = ma.fields.String(required=True)
    name = ma.fields.String(required=True)
    address = ma.fields.String(required=True)
    port = ma.fields.Integer(required=True, allow_none=True)
    status = ma.fields.String(required=True)


class InstanceAnswer(Answer):
    """An instance: what is wanted, and what was seen."""

    Id = ma.fields.String(required=True)
    VolumeId = ma.fields.String(required=True, metadata={"description": "The same as `Id`."})
    ContainerId = ma.fields.String(
        required=True, allow_none=True, metadata={"description": "Once there is a container."}
    )
    Name = ma.fields.String(required=True)
    User = ma.fields.String(required=True, metadata={"description": "The owner's `userId`."})
    Node = ma.fields.Nested(NodeSummary, required=True)
    Image = ma.fields.String(required=True, metadata={"description": "The container image."})
    ImageName = ma.fields.String(required=True)
    AltImages = ma.fields.List(ma.fields.String(), required=True)
    StopCommand = ma.fields.String(required=True, allow_none=True)
    Memory = ma.fields.Integer(required=True, metadata={"description": "MiB."})
    Cpu = ma.fields.Float(required=True, metadata={"description": "Cores."})
    Disk = ma.fields.Float(metadata={"description": "GB, where it was sent."})
    Ports = ma.fields.String(required=True, metadata={"description": "As in a deploy."})
    Primary = ma.fields.Raw(
        required=True,
        metadata={"type": ["string", "integer"], "description": "As it was sent."},
    )
    ExposedPorts = ma.fields.Dict(required=True)
    PortBindings = ma.fields.Dict(required=True)
    Env = ma.fields.List(ma.fields.String(), required=True)
    Variables = ma.fields.Dict(
        required=True, metadata={"description": "Without those that the image calls secret."}
    )
    secretVariables = ma.fields.List(
        ma.fields.String(),
        required=True,
        metadata={"description": "The names of those whose values are never answered."},
    )
    InternalState = ma.fields.String(
        required=True,
        validate=ma.validate.OneOf(["INSTALLING", "READY", "FAILED", "DELETING"]),
    )
    suspended = ma.fields.Boolean(
        required=True, metadata={"description": "Whether it is kept from running."}
    )
    power = ma.fields.String(
        required=True,
        validate=ma.validate.OneOf(["running", "stopped", "unknown"]),
        metadata={"description": "What was last seen, at most a probe's interval ago."},
    )
    error = ma.fields.String(
        required=True, allow_none=True, metadata={"description": "Why it failed or waits."}
    )
    createdAt = ma.fields.DateTime(required=True)
    updatedAt = ma.fields.DateTime(required=True)
    operationId = ma.fields.String(
        metadata={"description": "In answers to what changes the instance: what carries it out."}
    )


class DeployedAnswer(Answer):
    """The instance is taken on, and durable. Its container follows."""

    message = ma.fields.String(required=True)
    Message = ma.fields.String(required=True)
    Id = ma.fields.String(required=True)
    volumeId = ma.fields.String(required=True)
    VolumeId = ma.fields.String(required=True)
    ContainerId = ma.fields.String(required=True, allow_none=True)
    state = ma.fields.String(required=True)
    error = ma.fields.String(
        required=True, allow_none=True, metadata={"description": "Why it failed or waits."}
    )
    operationId = ma.fields.String(required=True)


class LogsAnswer(Answer):
    """What an instance's program printed."""

    Id = ma.fields.String(required=True)
    lines = ma.fields.List(ma.fields.String(), required=True)


class DeletedAnswer(Answer):
    """The instance is gone, or (`state` DELETING) goes as soon as its node answers."""

    message = ma.fields.String(required=True)
    Id = ma.fields.String(required=True)
    state = ma.fields.String(required=True, validate=ma.validate.OneOf(["DELETED", "DELETING"]))
    operationId = ma.fields.String(required=True)
