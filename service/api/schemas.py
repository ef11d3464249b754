"""The wire contract, in and out.

What comes in is loaded by a `Request`, which ignores unknown fields, because real clients send
some. What goes out is documented here and shaped in `service/api/wire.py`; a test proves that the
two agree.
"""

import re
from typing import Any

import marshmallow as ma

from service.api import fields
from service.drivers import DRIVER_NAMES

_ADDRESS = re.compile(r"[A-Za-z0-9_.:\[\]-]{1,255}|unix:///[^\s\0]{1,200}", re.ASCII)


class Request(ma.Schema):
    """What a client sends. Unknown fields are ignored."""

    class Meta:
        unknown = ma.EXCLUDE


class Answer(ma.Schema):
    """What a client gets. Documents; never loads and never dumps."""

    class Meta:
        unknown = ma.EXCLUDE  # so that the OpenAPI document lets us add fields


class ErrorAnswer(Answer):
    """What went wrong: a sentence for people, a code for programs, and the facts."""

    error = ma.fields.String(required=True)
    code = ma.fields.String(required=True)
    details = ma.fields.Dict(
        required=True, metadata={"description": "For a 400: the reasons, by the field's name."}
    )


# Users


class LookUpUser(Request):
    """Which user is meant."""

    type = ma.fields.String(
        required=True,
        validate=ma.validate.OneOf(["email", "username", "id"]),
        metadata={"description": "What `value` is."},
    )
    value = fields.text(longest=320, description="The e-mail address, name or id, in full.")


class CreateUser(Request):
    """A user to add."""

    username = fields.text(longest=64, description="Unique in any letter case.")
    email = ma.fields.Email(
        required=True,
        validate=ma.validate.Length(max=320),
        metadata={"description": "Unique in any letter case."},
    )
    password = fields.text(longest=1024, description="Stored as an argon2id hash only.")
    user_id = fields.text(
        data_key="userId",
        required=False,
        load_default=None,
        longest=64,
        description="Kept as it is; made up when absent.",
    )
    admin = ma.fields.Boolean(load_default=False, allow_none=True, truthy={True}, falsy={False})

    @ma.post_load
    def fill_in(self, loaded: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Take null for no."""
        return {**loaded, "admin": bool(loaded["admin"])}


class UserAnswer(Answer):
    """A user. Never with a password, hashed or not."""

    userId = ma.fields.String(required=True)
    username = ma.fields.String(required=True)
    email = ma.fields.String(required=True)
    admin = ma.fields.Boolean(required=True)
    accessTo = ma.fields.List(ma.fields.String(), required=True)
    createdAt = ma.fields.DateTime(required=True)


class CreatedUserAnswer(Answer):
    """The user that was added."""

    userId = ma.fields.String(required=True)
    username = ma.fields.String(required=True)
    email = ma.fields.String(required=True)
    admin = ma.fields.Boolean(required=True)


# Instances


class InstanceRef(Request):
    """Which instance is meant."""

    id = fields.text(longest=128, description="The instance's id, or its container's.")


class InstancePathRef(Request):
    """May repeat the id of the path, and must agree with it then."""

    id = fields.text(
        required=False, load_default=None, longest=128, description="The id in the path."
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

    @ma.post_load
    def fill_in(self, loaded: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Take null for no variables."""
        return {**loaded, "variables": loaded["variables"] or {}}


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
    Variables = ma.fields.Dict(required=True)
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
        metadata={"description": "What was last seen."},
    )
    error = ma.fields.String(
        required=True, allow_none=True, metadata={"description": "Why it failed or waits."}
    )
    createdAt = ma.fields.DateTime(required=True)
    updatedAt = ma.fields.DateTime(required=True)
    operationId = ma.fields.String(
        metadata={"description": "In answers to suspend and unsuspend: what carries it out."}
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
    operationId = ma.fields.String(required=True)


class DeletedAnswer(Answer):
    """The instance is gone, or (`state` DELETING) goes as soon as its node answers."""

    message = ma.fields.String(required=True)
    Id = ma.fields.String(required=True)
    state = ma.fields.String(required=True, validate=ma.validate.OneOf(["DELETED", "DELETING"]))
    operationId = ma.fields.String(required=True)


# Images


class ImageAnswer(Answer):
    """An image of the catalogue."""

    Id = ma.fields.String(required=True)
    Name = ma.fields.String(required=True)
    Image = ma.fields.String(required=True, metadata={"description": "The container image."})
    AltImages = ma.fields.List(ma.fields.String(), required=True)
    Env = ma.fields.List(ma.fields.String(), required=True)
    Cmd = ma.fields.Raw(
        required=True,
        metadata={
            "type": ["array", "string", "null"],
            "items": {"type": "string"},
            "description": "A list is executed as it is, a string through `sh -c`.",
        },
    )
    Scripts = ma.fields.Dict(required=True)
    Variables = ma.fields.Dict(
        required=True, metadata={"description": "By name: `{type, default, required}`."}
    )
    StopCommand = ma.fields.String(required=True, allow_none=True)
    Description = ma.fields.String(required=True)
    Author = ma.fields.String(required=True)
    AuthorName = ma.fields.String(required=True)
    meta = ma.fields.Dict(required=True, data_key="Meta")
    features = ma.fields.List(ma.fields.String(), required=True)
    process = ma.fields.Boolean(
        required=True, metadata={"description": "Whether it runs on nodes of that driver."}
    )


# Nodes


class CreateNode(Request):
    """A node to add. A skyportd node needs all seven fields, the others a name (and an address)."""

    name = fields.text(description="What operators call it.")
    tags = ma.fields.Raw(
        allow_none=True,
        load_default=None,
        metadata={
            "type": ["string", "array"],
            "items": {"type": "string"},
            "description": "Comes back as it was sent.",
        },
    )
    ram = fields.as_text(
        allow_none=True,
        load_default=None,
        metadata={"description": "GB, or with a unit. Not limited where it cannot be read."},
    )
    disk = fields.as_text(allow_none=True, load_default=None, metadata={"description": "GB."})
    processor = fields.as_text(allow_none=True, load_default=None)
    address = fields.text(
        required=False,
        load_default=None,
        description="Host name or address; for `docker` also `unix:///path`.",
    )
    port = fields.port(allow_none=True, load_default=None)
    driver = ma.fields.String(
        load_default="skyportd",
        validate=ma.validate.OneOf(DRIVER_NAMES),
        metadata={"description": "How the node is talked to."},
    )

    @ma.validates("address")
    def check_address(self, address: str | None, **kwargs: Any) -> None:
        """Other schemes would have a driver start programs, or call what is no node."""
        if address is not None and not _ADDRESS.fullmatch(address):
            raise ma.ValidationError("Must be a host name, an IP address or unix:///path.")

    @ma.validates("tags")
    def check_tags(self, tags: object, **kwargs: Any) -> None:
        """Tags are a text or a list of texts."""
        texts = tags if isinstance(tags, list) else [tags]
        if tags is not None and not all(isinstance(tag, str) for tag in texts):
            raise ma.ValidationError("Must be a text or a list of texts.")

    @ma.validates_schema
    def check_complete(self, loaded: dict[str, Any], **kwargs: Any) -> None:
        """Raise for a field that this driver cannot do without."""
        needed = {
            "skyportd": ("tags", "ram", "disk", "processor", "address", "port"),
            "docker": ("address",),
        }.get(loaded["driver"], ())
        missing = [name for name in needed if loaded.get(name) in (None, "")]
        if missing:
            raise ma.ValidationError(
                {name: ["Missing data for required field."] for name in missing}
            )

    @ma.post_load
    def leave_out_nulls(self, loaded: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Take null for absent."""
        return {name: value for name, value in loaded.items() if value is not None}


class NodeRef(Request):
    """Which node is meant."""

    node_id = fields.text(data_key="nodeId", longest=64, description="The node's id.")


class NodeAnswer(Answer):
    """A node. Never with its key."""

    id = ma.fields.String(required=True)
    name = ma.fields.String(required=True)
    tags = ma.fields.Raw(
        required=True, metadata={"type": ["string", "array"], "items": {"type": "string"}}
    )
    ram = ma.fields.String(required=True)
    disk = ma.fields.String(required=True)
    processor = ma.fields.String(required=True)
    address = ma.fields.String(required=True)
    port = ma.fields.Integer(required=True, allow_none=True)
    driver = ma.fields.String(required=True)
    status = ma.fields.String(
        required=True, validate=ma.validate.OneOf(["Unconfigured", "Online", "Offline"])
    )
    error = ma.fields.String(
        required=True, allow_none=True, metadata={"description": "Why it is Offline."}
    )
    version = ma.fields.String(required=True, allow_none=True)
    engine = ma.fields.String(required=True, allow_none=True)
    instances = ma.fields.Integer(required=True)
    memoryMib = ma.fields.Integer(
        required=True,
        allow_none=True,
        metadata={"description": "What it may give away; null: not limited."},
    )
    allocatedMemoryMib = ma.fields.Integer(required=True)
    allocatedCpu = ma.fields.Float(required=True, metadata={"description": "Cores."})
    lastSeenAt = ma.fields.DateTime(required=True, allow_none=True)
    createdAt = ma.fields.DateTime(required=True)


class CreatedNodeAnswer(NodeAnswer):
    """The node that was added; once more under `Message`, where the older panel had it."""

    Message = ma.fields.Nested(NodeAnswer, required=True)


class MessageAnswer(Answer):
    """It is done."""

    message = ma.fields.String(required=True)


# The service itself


class HomeAnswer(Answer):
    """What answers here."""

    name = ma.fields.String(required=True)
    version = ma.fields.String(required=True)
    links = ma.fields.Dict(keys=ma.fields.String(), values=ma.fields.String(), required=True)


class NameAnswer(Answer):
    """What this panel is called."""

    name = ma.fields.String(required=True)


class HealthAnswer(Answer):
    """How the service is."""

    status = ma.fields.String(required=True)
