"""Nodes on the wire."""

import re
from collections.abc import Callable
from typing import Any

import marshmallow as ma

from service.contract import answers, fields
from service.contract.answers import Answer, Json
from service.contract.base import Patch, Request, StrictRequest
from service.contract.container_bounds import BoundFields
from service.contract.enrolment import CONFIGURE_KEY, EXAMPLE_COMMAND, print_command
from service.contract.tls import MISSING, NodeTls
from service.model.addresses import is_socket
from service.model.documents import Node
from service.model.driver_traits import OFFERED, SKYPORTD, Traits, traits_of
from service.model.lifecycle import NodeStatus
from service.model.node_warnings import list_warnings
from service.model.orders import NodeChanges, NodeOrder
from service.model.public_addresses import find_host
from service.model.quantities import print_cores

_TEXTS = ("tags", "ram", "disk", "processor", "address")
_ADDRESS = re.compile(r"[A-Za-z0-9_.:\[\]-]{1,255}|unix:///[^\s\0]{1,200}", re.ASCII)


class NodeFields(ma.Schema):
    """What is said of a node, whatever its driver is."""

    name = fields.text(description="What operators call it.", sample="helsinki-1")
    tags = ma.fields.Raw(
        allow_none=True,
        load_default=None,
        metadata={
            "type": ["string", "array"],
            "items": {"type": "string"},
            "description": "Returned as sent.",
            "sample": "eu",
        },
    )
    ram = fields.as_text(
        allow_none=True,
        load_default=None,
        metadata={
            "description": "GB, or with a unit. For `docker` and `process`, what the engine "
            "reports if absent. Not limited where it cannot be read.",
            "sample": "32",
        },
    )
    disk = fields.as_text(
        allow_none=True, load_default=None, metadata={"description": "GB.", "sample": "500"}
    )
    processor = fields.as_text(allow_none=True, load_default=None, metadata={"sample": "Ryzen 7"})
    address = fields.text(
        required=False,
        load_default=None,
        description="Host name or address; for `docker` also `unix:///path`.",
        sample="node1.example.org",
    )
    port = fields.port(allow_none=True, load_default=None, metadata={"sample": "3002"})
    public_address = fields.public_address()
    memory_overallocate = fields.percent(
        data_key="memoryOverallocate",
        allow_none=True,
        load_default=None,
        metadata={"description": "Percent that may be given above `ram`; -1: without limit."},
    )
    cpu_overallocate = fields.percent(
        data_key="cpuOverallocate",
        allow_none=True,
        load_default=None,
        metadata={
            "description": "The same for cores, which are limited only if this is given and "
            "`processor` is a number."
        },
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


class CreateNode(Request[NodeOrder], NodeFields):
    """A node to add. A skyportd node needs all seven fields, the others a name (and an address)."""

    api_key = ma.fields.String(
        data_key="apiKey",
        allow_none=True,
        load_default=None,
        validate=ma.validate.Regexp(
            r"[A-Za-z0-9_-]{16,128}$", error="Must have 16 to 128 letters and digits."
        ),
        metadata={"description": "The key of a skyportd node that is enrolled already."},
    )
    tls = ma.fields.Nested(
        NodeTls,
        allow_none=True,
        load_default=None,
        metadata={
            "description": "For `docker` by address: ca, cert and key. For `skyportd`, which is "
            "called over HTTPS then: a `ca` of yours, or {} for one that the system trusts."
        },
    )
    allow_same_engine = fields.Flag(
        data_key="allowSameEngine",
        allow_none=True,
        load_default=None,
        metadata={"description": "Add it although another node is of the same engine."},
    )
    driver = ma.fields.String(
        load_default=SKYPORTD.name,
        validate=ma.validate.OneOf(OFFERED),
        metadata={"description": "How Skyquay talks to the node."},
    )

    @ma.validates_schema
    def check_complete(self, loaded: dict[str, Any], **kwargs: Any) -> None:
        """Raise for a field that this driver cannot do without."""
        driver = traits_of(loaded["driver"])
        if loaded.get("api_key") is not None and not driver.enrols:
            raise ma.ValidationError({"apiKey": ["Only skyportd nodes have one."]})
        missing = [name for name in driver.required if loaded.get(name) in (None, "")]
        if missing:
            raise ma.ValidationError({name: [MISSING] for name in missing})
        self._check_tls(driver, loaded)

    def _check_tls(self, driver: Traits, loaded: dict[str, Any]) -> None:
        """Raise for certificates that would not be used, and for too few."""
        if loaded.get("tls") is None:
            return
        if driver.tls is None or is_socket(loaded["address"]):
            raise ma.ValidationError({"tls": ["Only nodes that are called by address have it."]})
        missing = [name for name in driver.tls if name not in loaded["tls"]]
        if missing:
            raise ma.ValidationError({"tls": {name: [MISSING] for name in missing}})

    @ma.post_load
    def leave_out_nulls(self, loaded: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Take null for absent."""
        return {name: value for name, value in loaded.items() if value is not None}


class AddNode(StrictRequest[NodeOrder], CreateNode, BoundFields):
    """A node to add. A skyportd node needs all seven fields, the others a name (and an address)."""

    external_id = fields.external_id()
    labels = fields.labels()


class EditNode(Patch[NodeChanges], NodeFields, BoundFields):
    """What changes of a node."""

    external_id = fields.external_id()
    labels = fields.labels()

    @ma.post_load
    def empty_nulls(self, loaded: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Take null for no text."""
        empty = {name: "" for name in _TEXTS if name in loaded and loaded[name] is None}
        return {**loaded, **empty}


class NewNode(Node):
    """A node that was just added, with what its daemon is enrolled with, if it has one."""

    one_time_key: str | None
    panel_url: str


def _reported(name: str) -> Callable[[Node], object]:
    """Make the function that takes from a node what its engine reported; None before it did."""
    return lambda node: node["report"] and node["report"].get(name)


def _print_cores(milli: int | None) -> float | None:
    return None if milli is None else print_cores(milli)


class ShownNode(Node):
    """A node as one key sees it."""

    for_owner: bool  # whether the key is for somebody who has instances: see `hide_management`


def hide_management(node: Node) -> ShownNode:
    """Take from a node what is for those who run the panel: its address, and its troubles."""
    return {
        **node,
        "address": find_host(node) or "",
        "port": None,
        "probe_error": None,
        "for_owner": True,
    }


def _list_warnings(node: Node) -> list[str]:
    return [] if node.get("for_owner") else list_warnings(node)


class NodeAnswer(Answer[Node]):
    """A node. Never with its keys or certificates."""

    id = answers.text(fields.NODE_ID, of="_id")
    name = answers.text("local")
    tags = answers.anything(
        "home", metadata={"type": ["string", "array"], "items": {"type": "string"}}
    )
    ram = answers.text("32")
    disk = answers.text("500")
    processor = answers.text("Ryzen 7")
    address = answers.text(
        "unix:///var/run/docker.sock",
        of=lambda node: (node["address"] or None) if node.get("for_owner") else node["address"],
        null=True,
        description="Where it is called. For keys limited to a user or to instances, what players "
        "connect to, if that is known.",
    )
    publicAddress = answers.text(
        "play.example.org",
        of="public_address",
        null=True,
        description="What players connect to, where somebody said it.",
    )
    port = answers.integer(None, null=True)
    driver = answers.text("docker")
    tls = answers.flag(
        False,
        of=lambda node: node["tls"] is not None,
        description="Whether it is called over TLS.",
    )
    status = answers.choice(NodeStatus, "Online")
    error = answers.text(None, of="probe_error", null=True, description="Why it is Offline.")
    version = answers.text("27.3.1", of=_reported("version"), null=True)
    engine = answers.text("docker 27.3.1", of=_reported("engine"), null=True)
    engineId = answers.text(
        "b8a3f2d1-7c64-4e0b-9a51-2f6f0d3c9e17",
        of=_reported("engine_id"),
        null=True,
        description="The engine's own id.",
    )
    cores = answers.number(
        16,
        of=lambda node: _print_cores(node["report"] and node["report"]["cpu_milli"]),
        null=True,
        description="Those that the engine reports.",
    )
    instances = answers.integer(1, of=lambda node: node["allocated"]["instances"])
    memoryMib = answers.integer(
        32768,
        of=lambda node: node["capacity"]["memory_mib"],
        null=True,
        description="Memory available to instances; null: not limited.",
    )
    memoryOverallocate = answers.integer(None, of="memory_overallocate", null=True)
    allocatedMemoryMib = answers.integer(128, of=lambda node: node["allocated"]["memory_mib"])
    cpu = answers.number(
        None,
        of=lambda node: _print_cores(node["capacity"]["cpu_milli"]),
        null=True,
        description="Cores available to instances; null: not limited.",
    )
    cpuOverallocate = answers.integer(None, of="cpu_overallocate", null=True)
    allocatedCpu = answers.number(
        0.5,
        of=lambda node: print_cores(node["allocated"]["cpu_milli"]),
        description="Cores.",
    )
    maxSwap = answers.integer(
        None, of="max_swap_mib", null=True, description="The most of one instance, in MiB."
    )
    pinnableCores = answers.text(
        None, of="pinnable_cores", null=True, description="Those that instances may be pinned to."
    )
    maxStopGrace = answers.integer(
        None, of="max_stop_grace_s", null=True, description="The longest of an instance, in s."
    )
    warnings = answers.texts(
        [],
        of=_list_warnings,
        description="What is not limited because it cannot be read, what is promised beyond its "
        "limit, and another node of the same engine.",
    )
    externalId = answers.external_id()
    labels = answers.labels()
    lastSeenAt = answers.time(fields.WHEN, of="last_seen_at", null=True)
    createdAt = answers.time(fields.WHEN, of="created_at")


NEW: Json = {
    **fields.make_example(CreateNode),
    "port": 3002,
    "driver": "skyportd",
    "status": "Unconfigured",
    "version": None,
    "engine": None,
    "engineId": None,
    "cores": None,
    "instances": 0,
    "allocatedMemoryMib": 0,
    "allocatedCpu": 0,
    "lastSeenAt": None,
}
"""In what the example of a node that was just added differs from that of other nodes."""


class AddedNodeAnswer(NodeAnswer):
    """The node that was added, with what its daemon is enrolled with, if it has one."""

    configureKey = answers.text(
        CONFIGURE_KEY,
        of="one_time_key",
        optional=True,
        secret=True,
        description="One-time key for the daemon's enrolment. Shown only here.",
    )
    configureCommand = answers.text(
        EXAMPLE_COMMAND,
        of=lambda node: node["one_time_key"] and print_command(node),
        optional=True,
        description="To run in the daemon's folder.",
    )


class CreatedNodeAnswer(AddedNodeAnswer):
    """The node that was added; once more under `Message`, where the older panel had it."""

    Message = answers.nested(NodeAnswer, fields.make_example(NodeAnswer, **NEW), of=answers.itself)
