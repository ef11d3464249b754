"""Changes of instances on the wire."""

from collections.abc import Mapping
from typing import Any

import marshmallow as ma

from service.contract import fields, program_fields
from service.contract.base import Patch, StrictRequest
from service.contract.container_settings import ContainerFields
from service.model.orders import Edit, Reinstallation


class VariableChanges(program_fields.Variables):
    """Changes of variables, where null stands for the image's default again."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> dict[str, Any]:
        loaded = super()._deserialize(value, attr, data, **kwargs)
        sent = value if isinstance(value, dict) else {}
        return {**loaded, **{name: None for name, given in sent.items() if given is None}}


class InstanceEdit(Patch[Edit], ContainerFields):
    """What is to be changed of an instance (RFC 7396): what is left out stays as it is."""

    name = fields.text(
        required=False, null=False, description="What the owner calls it.", sample="my second"
    )
    user_id = fields.text(
        data_key="user",
        required=False,
        null=False,
        longest=64,
        description="The `userId` of the new owner.",
    )
    memory_mib = fields.memory(
        data_key="memory",
        metadata={"description": 'MiB, or with a unit: 512, "512", "512M", "2G".', "sample": 256},
    )
    cpu_milli = fields.cpu(data_key="cpu", metadata={"description": 'Cores: 1, "1", "0.5".'})
    ports = fields.port_map(
        allow_none=True,
        metadata={
            "description": "All of them: `container:host[,container:host...]`. With `auto` "
            "a container port stays at the host port that it has, or gets a free one. Null: those "
            "that the image declares."
        },
    )
    primary = fields.primary(
        metadata={
            "description": "One of the host ports, or one of the pairs. Without it the primary "
            "port stays, and must be one of `ports`."
        },
    )
    image = fields.text(
        required=False,
        null=False,
        longest=512,
        description="An image's `Id`, its `Name`, or the container image it runs.",
    )
    image_name = fields.text(
        data_key="imagename",
        required=False,
        shortest=0,
        description="Distinguishes images that run the same container image.",
    )
    variables = VariableChanges(
        allow_none=True,
        metadata={
            "description": "Those to change, null for the image's default. Others stay.",
            "anyOf": program_fields.VARIABLES,
        },
    )
    external_id = fields.external_id()
    labels = fields.labels()


class Reinstall(StrictRequest[Reinstallation]):
    """How an instance is installed anew."""

    keep_volume = ma.fields.Boolean(
        data_key="keepVolume",
        load_default=True,
        metadata={"description": "False: all of its files are deleted before.", "sample": True},
    )
