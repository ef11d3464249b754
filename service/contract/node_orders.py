"""Nodes on the wire as they are added, changed and named."""

import re
from typing import Any

import marshmallow as ma

from service.contract import fields
from service.contract.base import Patch, Request, StrictRequest
from service.contract.container_bounds import BoundFields
from service.contract.node_placement import PlacementFields
from service.contract.tls import MISSING, PAIR, NodeTls
from service.model.addresses import is_socket
from service.model.driver_traits import OFFERED, SKYPORTD, Traits, traits_of
from service.model.orders import NodeChanges, NodeOrder

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
    disk_overallocate = fields.percent(
        data_key="diskOverallocate",
        allow_none=True,
        load_default=None,
        metadata={
            "description": "The same for disk: of `disk`, or what the engine reports (`process`). "
            "Not limited if absent, as many clients send any `disk`."
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

    @ma.validates_schema(skip_on_field_errors=False, pass_original=True)
    def check_complete(self, loaded: dict[str, Any], sent: dict[str, Any], **kwargs: Any) -> None:
        """Raise for all fields that this driver cannot do without, or knows nothing of.

        What was sent and is malformed is not missing.
        """
        if "driver" not in loaded:
            return
        driver = traits_of(loaded["driver"])
        wrong: dict[str, Any] = {
            name: [MISSING] for name in driver.required if sent.get(name) in (None, "")
        }
        if loaded.get("api_key") is not None and not driver.enrols:
            wrong["apiKey"] = ["Only skyportd nodes have one."]
        if tls := self._find_tls_problem(driver, loaded, sent):
            wrong["tls"] = tls
        if wrong:
            raise ma.ValidationError(wrong)

    @staticmethod
    def _find_tls_problem(driver: Traits, loaded: dict[str, Any], sent: dict[str, Any]) -> object:
        """Find certificates that would not be used, and too few; nothing where they are right."""
        if loaded.get("tls") is None:
            return None
        if driver.tls is None or is_socket(loaded.get("address") or ""):
            return ["Only nodes that are called by address have it."]
        given = sent["tls"] if isinstance(sent.get("tls"), dict) else loaded["tls"]
        if len(PAIR & given.keys()) == 1:
            return None  # which has been said
        return {name: [MISSING] for name in driver.tls if name not in given}

    @ma.post_load
    def complete(self, loaded: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Take null for absent."""
        return {name: value for name, value in loaded.items() if value is not None}


class AddNode(StrictRequest[NodeOrder], CreateNode, BoundFields, PlacementFields):
    """A node to add. A skyportd node needs all seven fields, the others a name (and an address)."""

    external_id = fields.external_id()
    labels = fields.labels()


class EditNode(Patch[NodeChanges], NodeFields, BoundFields, PlacementFields):
    """What changes of a node."""

    expect_engine = fields.text(
        data_key="expectEngine",
        required=False,
        longest=128,
        description="The id of the engine that must answer, where it is another than before: a "
        "node on new hardware. Null: whichever does.",
    )
    external_id = fields.external_id()
    labels = fields.labels()

    @ma.post_load
    def complete(self, loaded: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Take null for no text."""
        empty = {name: "" for name in _TEXTS if name in loaded and loaded[name] is None}
        return {**loaded, **empty}
