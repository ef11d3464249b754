"""The records of a Skyport panel, field by field: what of each is taken, and what is damage.

Null and empty text are as good as absent. Whatever else a panel has in a record is ignored.
"""

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

import marshmallow as ma

from service.contract import fields
from service.contract.base import Request
from service.contract.image_files import ImageFile
from service.model.error_lines import list_details
from service.model.ports import PortMapping, parse
from service.model.quantities import parse_cpu_milli, parse_memory_mib
from service.model.storable import list_unstorable

MAX_PROBLEMS = 3
"""How many problems of one record are listed."""

_NO_PORT = "Must be a port between 1 and 65535."


class Unusable(ValueError):
    """A record cannot be brought. The message says which field is wrong, and why."""


def load(schema: ma.Schema, record: Mapping[str, Any]) -> dict[str, Any]:
    """Take from a record what the schema names. Raises Unusable.

    What is answered can be stored: its texts are Unicode, its numbers of 64 bits.
    """
    present = {name: value for name, value in record.items() if value not in (None, "")}
    try:
        loaded: dict[str, Any] = schema.load(present)
    except ma.ValidationError as exc:
        raise Unusable("; ".join(islice(list_details(exc.messages), MAX_PROBLEMS))) from exc
    names = {name: field.data_key or name for name, field in schema.fields.items()}
    problem = next(list_unstorable({names[n]: value for n, value in loaded.items()}), None)
    if problem is not None:
        raise Unusable(problem)
    return loaded


def _identifier(data_key: str) -> ma.fields.String:
    """Make a field for an id that is part of paths and names, also on a node."""
    return ma.fields.String(
        required=True,
        data_key=data_key,
        validate=ma.validate.Regexp(
            r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9_.-]{1,63}\Z",
            error="Must have 2 to 64 letters, digits, '_', '-' and single dots.",
        ),
    )


class PanelUser(Request[dict[str, Any]]):
    """A user. Fields are named as those of `service.model.documents.User`, as far as there are."""

    user_id = fields.text(data_key="userId", longest=64, description="Kept.")
    username = fields.text(description="Unique in any letter case here.")
    email = fields.text(longest=320, description="Unique in any letter case here.")
    password_hash = ma.fields.String(
        required=True,
        data_key="password",
        validate=ma.validate.Regexp(
            r"\$2[aby]\$(0[4-9]|1[0-6])\$[./A-Za-z0-9]{53}\Z", error="Is no hash of bcrypt."
        ),
    )
    admin = ma.fields.Boolean(load_default=False, truthy={True}, falsy={False})
    access_to = ma.fields.List(ma.fields.String(), data_key="accessTo", load_default=list)


class PanelNode(Request[dict[str, Any]]):
    """A node of skyportd."""

    node_id = _identifier("id")
    name = fields.as_text(load_default=None)
    tags = ma.fields.Raw(load_default="")
    ram = fields.as_text(load_default="")
    disk = fields.as_text(load_default="")
    processor = fields.as_text(load_default="")
    address = ma.fields.String(
        required=True,
        validate=ma.validate.Regexp(
            r"[A-Za-z0-9_.:\[\]-]{1,255}\Z", error="Must be a host name or an IP address."
        ),
    )
    port = fields.port(load_default=3002)
    api_key = ma.fields.String(
        data_key="apiKey",
        load_default=None,
        validate=ma.validate.Regexp(r"[!-~]{1,256}\Z", error="Is no key of a daemon."),
    )

    @ma.validates("tags")
    def check_tags(self, tags: object, **kwargs: Any) -> None:
        """Tags are a text or a list of texts."""
        texts = tags if isinstance(tags, list) else [tags]
        if not all(isinstance(tag, str) for tag in texts):
            raise ma.ValidationError("Must be a text or a list of texts.")


class PanelImage(ImageFile):
    """An image document, as it was imported into the panel, and the id that it got there."""

    image_id = _identifier("Id")


class ImageData(Request[dict[str, Any]]):
    """The copy of its image that an instance has."""

    name = ma.fields.String(data_key="Name", load_default=None, allow_none=True)


class NodeReference(ma.fields.Field[Any]):
    """The id of a node; the panel has a copy of the whole node there."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> str:
        node_id = value.get("id") if isinstance(value, dict) else value
        if not isinstance(node_id, str) or not node_id:
            raise ma.ValidationError("Names no node.")
        return node_id


def _amount(read: Callable[[Any], int], name: str) -> fields.Parsed:
    """Make a field for an amount that is 0 where it cannot be read: not limited.

    That is what the panel's daemon makes of it.
    """

    def parse_leniently(value: str | int | float) -> int:
        try:
            return read(value)
        except ValueError:
            return 0

    return fields.Parsed(parse_leniently, types=("string", "number"), data_key=name, load_default=0)


def _check_primary(value: str | int) -> str | int:
    """Pass on what may be a port; whether it is one of the instance's is another matter."""
    if isinstance(value, int) and not 1 <= value <= 65535:
        raise ValueError(_NO_PORT)
    if len(str(value)) > 64:
        raise ValueError(_NO_PORT)
    return value


class PanelInstance(Request[dict[str, Any]]):
    """An instance. `ports` are read from `PortBindings` where `Ports` is absent."""

    instance_id = _identifier("Id")
    name = fields.as_text(data_key="Name", load_default=None)
    user_id = fields.as_text(data_key="User", required=True)
    node_id = NodeReference(data_key="Node", required=True)
    container_id = ma.fields.String(
        data_key="ContainerId",
        load_default=None,
        validate=ma.validate.Regexp(r"[0-9a-f]{12,64}\Z", error="Is no container's id."),
    )
    image = ma.fields.String(data_key="Image", load_default=None)
    image_data = ma.fields.Nested(ImageData, data_key="imageData", load_default=dict)
    alt_images = ma.fields.List(ma.fields.String(), data_key="AltImages", load_default=list)
    memory_mib = _amount(parse_memory_mib, "Memory")
    cpu_milli = _amount(parse_cpu_milli, "Cpu")
    ports = fields.Parsed(
        lambda text: parse(text.strip().strip(",")),
        types=("string",),
        data_key="Ports",
        load_default=(),
    )
    bindings = ma.fields.Raw(data_key="PortBindings", load_default=dict)
    primary = fields.Parsed(
        _check_primary, types=("string", "integer"), data_key="Primary", load_default=None
    )
    env = ma.fields.List(ma.fields.String(), data_key="Env", load_default=list)
    stop_command = ma.fields.String(data_key="StopCommand", load_default=None)
    suspended = ma.fields.Boolean(load_default=False, truthy={True}, falsy={False})

    @ma.post_load
    def find_ports(self, loaded: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Read the ports from wherever they are."""
        bindings = loaded.pop("bindings")
        loaded["ports"] = loaded["ports"] or _read_bindings(bindings)
        if not loaded["ports"]:
            raise ma.ValidationError({"Ports": ["Must name at least one."]})
        return loaded


def _read_bindings(bindings: object) -> tuple[PortMapping, ...]:
    if not isinstance(bindings, dict):
        raise ma.ValidationError({"PortBindings": ["Must be an object."]})
    pairs = set()
    for port, hosts in bindings.items():
        first = hosts[0] if isinstance(hosts, list) and hosts else None
        host = first.get("HostPort") if isinstance(first, dict) else None
        if isinstance(host, bool) or not isinstance(host, (str, int)):
            raise ma.ValidationError({"PortBindings": {port: ["Names no host port."]}})
        pairs.add(f"{port.partition('/')[0]}:{host}")
    try:
        return parse(",".join(sorted(pairs)))
    except ValueError as exc:
        raise ma.ValidationError({"PortBindings": [str(exc)]}) from exc


USER, NODE, IMAGE, INSTANCE = PanelUser(), PanelNode(), PanelImage(), PanelInstance()
