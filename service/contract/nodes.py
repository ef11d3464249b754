"""Nodes on the wire."""

import re
from collections.abc import Callable
from typing import Any

import marshmallow as ma

from service.contract import fields
from service.contract.base import Answer, Request
from service.contract.operations import LeftoversAnswer
from service.drivers import DRIVER_NAMES
from service.nodes import TLS_PARTS
from service.security import certificates

_ADDRESS = re.compile(r"[A-Za-z0-9_.:\[\]-]{1,255}|unix:///[^\s\0]{1,200}", re.ASCII)
_MISSING = "Missing data for required field."


MAX_PEM = 65536


def _pem(description: str) -> ma.fields.String:
    return ma.fields.String(
        validate=ma.validate.Length(max=MAX_PEM), metadata={"description": f"PEM. {description}"}
    )


class NodeTls(Request):
    """How a node is called over TLS."""

    ca = _pem("Who signed the node's certificate; whom the system trusts if absent.")
    cert = _pem("Our certificate for this node.")
    key = _pem("Its private key, without a password. Kept encrypted, and never answered.")

    @ma.validates("ca", "cert")
    def check_certificates(self, text: str, **kwargs: Any) -> None:
        """Raise for what is no certificate."""
        _check(certificates.check_certificates, text)

    @ma.validates("key")
    def check_key(self, text: str, **kwargs: Any) -> None:
        """Raise for what is no private key."""
        _check(certificates.check_key, text)

    @ma.validates_schema
    def check_pair(self, loaded: dict[str, str], **kwargs: Any) -> None:
        """Raise for a key that is not the certificate's, and for one without the other."""
        missing = {"cert", "key"} - loaded.keys()
        if len(missing) == 1:
            raise ma.ValidationError({missing.pop(): [_MISSING]})
        if not missing:
            _check(certificates.check_pair, loaded["cert"], loaded["key"], field="key")


def _check(check: Callable[..., None], *texts: str, field: str = "_schema") -> None:
    try:
        check(*texts)
    except ValueError as exc:
        raise ma.ValidationError(str(exc), field) from exc


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
        metadata={
            "description": "GB, or with a unit. For `docker` and `process`, what the engine "
            "reports if absent. Not limited where it cannot be read."
        },
    )
    disk = fields.as_text(allow_none=True, load_default=None, metadata={"description": "GB."})
    processor = fields.as_text(allow_none=True, load_default=None)
    address = fields.text(
        required=False,
        load_default=None,
        description="Host name or address; for `docker` also `unix:///path`.",
    )
    port = fields.port(allow_none=True, load_default=None)
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
            "description": "The same for cores, which are limited only when this is given and "
            "`processor` is a number of them."
        },
    )
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
    allow_same_engine = ma.fields.Boolean(
        data_key="allowSameEngine",
        allow_none=True,
        load_default=None,
        metadata={"description": "Add it although another node is of the same engine."},
    )
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
        if loaded.get("api_key") is not None and loaded["driver"] != "skyportd":
            raise ma.ValidationError({"apiKey": ["Only skyportd nodes have one."]})
        missing = [name for name in needed if loaded.get(name) in (None, "")]
        if missing:
            raise ma.ValidationError({name: [_MISSING] for name in missing})
        self._check_tls(loaded)

    def _check_tls(self, loaded: dict[str, Any]) -> None:
        """Raise for certificates that would not be used, and for too few."""
        if loaded.get("tls") is None:
            return
        parts = TLS_PARTS.get(loaded["driver"])
        if parts is None or loaded["address"].startswith("unix://"):
            raise ma.ValidationError({"tls": ["Only nodes that are called by address have it."]})
        missing = [name for name in parts if name not in loaded["tls"]]
        if missing:
            raise ma.ValidationError({"tls": {name: [_MISSING] for name in missing}})

    @ma.post_load
    def leave_out_nulls(self, loaded: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Take null for absent."""
        return {name: value for name, value in loaded.items() if value is not None}


class NodeRef(Request):
    """Which node is meant."""

    node_id = fields.text(data_key="nodeId", longest=64, description="The node's id.")


class NodeAnswer(Answer):
    """A node. Never with its keys or certificates."""

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
    tls = ma.fields.Boolean(
        required=True, metadata={"description": "Whether it is called over TLS."}
    )
    status = ma.fields.String(
        required=True, validate=ma.validate.OneOf(["Unconfigured", "Online", "Offline"])
    )
    error = ma.fields.String(
        required=True, allow_none=True, metadata={"description": "Why it is Offline."}
    )
    version = ma.fields.String(required=True, allow_none=True)
    engine = ma.fields.String(required=True, allow_none=True)
    engineId = ma.fields.String(
        required=True, allow_none=True, metadata={"description": "What the engine is known by."}
    )
    cores = ma.fields.Float(
        required=True, allow_none=True, metadata={"description": "Those that the engine reports."}
    )
    instances = ma.fields.Integer(required=True)
    memoryMib = ma.fields.Integer(
        required=True,
        allow_none=True,
        metadata={"description": "What it may give away; null: not limited."},
    )
    memoryOverallocate = ma.fields.Integer(required=True, allow_none=True)
    allocatedMemoryMib = ma.fields.Integer(required=True)
    cpu = ma.fields.Float(
        required=True,
        allow_none=True,
        metadata={"description": "Cores that it may give away; null: not limited."},
    )
    cpuOverallocate = ma.fields.Integer(required=True, allow_none=True)
    allocatedCpu = ma.fields.Float(required=True, metadata={"description": "Cores."})
    warnings = ma.fields.List(
        ma.fields.String(),
        required=True,
        metadata={
            "description": "What is not limited because it cannot be read, what is promised beyond "
            "its limit, and another node of the same engine."
        },
    )
    lastSeenAt = ma.fields.DateTime(required=True, allow_none=True)
    createdAt = ma.fields.DateTime(required=True)


class CreatedNodeAnswer(NodeAnswer):
    """The node that was added; once more under `Message`, where the older panel had it."""

    Message = ma.fields.Nested(NodeAnswer, required=True)
    configureKey = ma.fields.String(
        metadata={"description": "What the daemon enrols itself with, once. Shown only here."}
    )
    configureCommand = ma.fields.String(metadata={"description": "To run in the daemon's folder."})


class ConfigureKeyAnswer(Answer):
    """A new way for a daemon to enrol itself."""

    configureKey = ma.fields.String(required=True)
    configureCommand = ma.fields.String(required=True)


class Configure(Request):
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


class MessageAnswer(Answer):
    """It is done."""

    message = ma.fields.String(required=True)


class ForceQuery(Request):
    """Whether to go on in spite of what is lost."""

    force = ma.fields.Boolean(
        load_default=False, metadata={"description": "Forget the node's instances too."}
    )


class DeletedNodeAnswer(Answer):
    """The node is gone."""

    message = ma.fields.String(required=True)
    instances = ma.fields.Integer(
        required=True, metadata={"description": "How many were forgotten with it."}
    )


class UnknownContainer(Answer):
    """A container of ours that no instance knows."""

    id = ma.fields.String(required=True)
    containerId = ma.fields.String(required=True)
    power = ma.fields.String(required=True)


class MissingContainer(Answer):
    """An instance whose container is gone."""

    id = ma.fields.String(required=True)
    name = ma.fields.String(required=True)


class PowerDifference(Answer):
    """An instance that runs although it should not, or was last seen otherwise."""

    id = ma.fields.String(required=True)
    name = ma.fields.String(required=True)
    suspended = ma.fields.Boolean(required=True)
    recorded = ma.fields.String(required=True)
    seen = ma.fields.String(required=True)


class LeftoverAnswer(LeftoversAnswer):
    """Files of an instance that is gone, which the node could not delete."""

    id = ma.fields.String(required=True, metadata={"description": "The instance's."})
    since = ma.fields.DateTime(required=True)


class DriftAnswer(Answer):
    """How a node differs from the documents."""

    orphans = ma.fields.List(ma.fields.Nested(UnknownContainer), required=True, data_key="unknown")
    unclaimed = ma.fields.List(
        ma.fields.Nested(UnknownContainer),
        required=True,
        metadata={
            "description": "Containers from before installations had ids: they may be another's. "
            "They can be adopted, not removed."
        },
    )
    missing = ma.fields.List(ma.fields.Nested(MissingContainer), required=True)
    power = ma.fields.List(ma.fields.Nested(PowerDifference), required=True)
    leftovers = ma.fields.List(
        ma.fields.Nested(LeftoverAnswer),
        metadata={"description": "Files that removed instances left; absent where there are none."},
    )


class Adoption(Request):
    """A container that is to become an instance."""

    id = fields.text(longest=128, description="Its id in the list of differences.")
    user = fields.text(longest=64, description="The owner's `userId`.")
    name = fields.text(required=False, load_default=None, description="What the owner calls it.")


class ResolveDrift(Request):
    """What is to become of differences."""

    adopt = ma.fields.List(
        ma.fields.Nested(Adoption),
        load_default=list,
        metadata={"description": "Orphan or unclaimed containers that become instances."},
    )
    remove = ma.fields.List(
        fields.text(longest=128, description="An id."),
        load_default=list,
        metadata={"description": "Orphan containers, missing instances and leftovers that go."},
    )
    recreate = ma.fields.List(
        fields.text(longest=128, description="An id."),
        load_default=list,
        metadata={"description": "Missing instances whose containers are made anew."},
    )


class ResolvedAnswer(Answer):
    """What became of one difference."""

    id = ma.fields.String(required=True)
    action = ma.fields.String(
        required=True, validate=ma.validate.OneOf(["adopt", "remove", "recreate"])
    )
    operationId = ma.fields.String(
        required=True, allow_none=True, metadata={"description": "What does it on the node."}
    )
