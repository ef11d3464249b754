"""How a node differs from the documents, on the wire."""

import marshmallow as ma

from service.contract import answers, fields
from service.contract.answers import Answer
from service.contract.base import Request
from service.contract.operations import LeftoversAnswer
from service.model import orders
from service.model.documents import Instance
from service.model.drift import Changed, Drift, Orphan, Resolved
from service.model.lifecycle import Power

ORPHAN_ID = "izzy4qk2mhw7d"
_MISSING_ID = "ib5c6d7efgh2j"


class UnknownContainer(Answer[Orphan]):
    """A container of ours that no instance knows."""

    id = answers.text(ORPHAN_ID, of=lambda orphan: orphan.instance_id)
    containerId = answers.text(fields.CONTAINER_ID, of=lambda orphan: orphan.status.container_id)
    power = answers.choice(Power, "running", of=lambda orphan: orphan.status.power)


class MissingContainer(Answer[Instance]):
    """An instance whose container is gone."""

    id = answers.text(_MISSING_ID, of="_id")
    name = answers.text("lost")


class PowerDifference(Answer[Changed]):
    """An instance that runs although it should not, or was last seen otherwise."""

    id = answers.text(fields.INSTANCE_ID, of=lambda changed: changed.instance["_id"])
    name = answers.text("my first", of=lambda changed: changed.instance["name"])
    suspended = answers.flag(False, of=lambda changed: changed.instance["suspended"])
    recorded = answers.choice(Power, "running", of=lambda changed: changed.instance["power"])
    seen = answers.choice(Power, "stopped", of=lambda changed: changed.status.power)


class LeftoverAnswer(LeftoversAnswer):
    """Files of an instance that is gone, which the node could not delete."""

    id = answers.text("ik3l4m5nopq6r", of="_id", description="The instance's.")
    since = answers.time(fields.WHEN, of="created_at")


class DriftAnswer(Answer[Drift]):
    """How a node differs from the documents."""

    orphans = answers.many(UnknownContainer, of=lambda drift: drift.orphans, data_key="unknown")
    unclaimed = answers.many(
        UnknownContainer,
        [],
        of=lambda drift: drift.unclaimed,
        description="Containers from before installations had ids: they may be another's. They can "
        "be adopted, not removed.",
    )
    missing = answers.many(MissingContainer, of=lambda drift: drift.missing)
    power = answers.many(PowerDifference, of=lambda drift: drift.changed)
    leftovers = answers.many(
        LeftoverAnswer,
        of=lambda drift: drift.leftovers or None,
        optional=True,
        description="Files that removed instances left; absent where there are none.",
    )


class Adoption(Request[orders.Adoption]):
    """A container that is to become an instance."""

    id = fields.text(
        longest=128, description="Its id in the list of differences.", sample=ORPHAN_ID
    )
    user = fields.text(longest=64, description="The owner's `userId`.", sample=fields.USER_ID)
    name = fields.text(
        required=False,
        load_default=None,
        description="What the owner calls it.",
        sample="found again",
    )


class ResolveDrift(Request[orders.Resolution]):
    """What is to become of differences."""

    adopt = ma.fields.List(
        ma.fields.Nested(Adoption),
        load_default=list,
        metadata={
            "description": "Orphan or unclaimed containers that become instances.",
            "sample": [fields.make_example(Adoption)],
        },
    )
    remove = ma.fields.List(
        fields.text(longest=128, description="An id."),
        load_default=list,
        metadata={"description": "Orphan containers, missing instances and leftovers to remove."},
    )
    recreate = ma.fields.List(
        fields.text(longest=128, description="An id."),
        load_default=list,
        metadata={
            "description": "Missing instances whose containers are made again.",
            "sample": [_MISSING_ID],
        },
    )


class ResolvedAnswer(Answer[Resolved]):
    """What became of one difference."""

    id = answers.text(_MISSING_ID, of=lambda resolved: resolved.instance_id)
    action = answers.text(
        "recreate",
        of=lambda resolved: resolved.action,
        validate=ma.validate.OneOf(["adopt", "remove", "recreate"]),
    )
    operationId = answers.text(
        fields.OPERATION_ID,
        of=lambda resolved: resolved.operation_id,
        null=True,
        description="The operation that does it on the node.",
    )
