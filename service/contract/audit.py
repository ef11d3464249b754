"""The audit log on the wire."""

from datetime import UTC, datetime
from typing import Any, TypedDict

import marshmallow as ma

from service.contract import answers, fields
from service.contract.answers import Answer
from service.contract.base import Request
from service.model.documents import AuditEntry
from service.model.lifecycle import Outcome
from service.model.orders import AuditSearch

MOST_ENTRIES = 1000
_ENTRY_ID = "019bf2a4d8001f2e3d4c5b6a"
_POSSIBLE = ma.validate.Range(
    min=datetime(2000, 1, 1, tzinfo=UTC), max=datetime(2200, 1, 1, tzinfo=UTC)
)


class AuditQuery(Request[AuditSearch]):
    """Which entries are meant."""

    key_id = fields.text(
        data_key="key", required=False, load_default=None, longest=64, description="A key's id."
    )
    acts_for = fields.text(
        data_key="actsFor",
        required=False,
        load_default=None,
        longest=64,
        description="The id of a user for whom keys acted.",
    )
    action = fields.text(
        required=False,
        load_default=None,
        longest=64,
        description="Like `instances.deploy_instance`.",
    )
    target_id = fields.text(
        data_key="target",
        required=False,
        load_default=None,
        longest=128,
        description="The id of what was to be changed.",
    )
    outcome = ma.fields.String(
        load_default=None, validate=ma.validate.OneOf([each.value for each in Outcome])
    )
    since = ma.fields.AwareDateTime(
        load_default=None,
        default_timezone=UTC,
        validate=_POSSIBLE,
        metadata={"description": "Entries of this time and later; UTC if it names no zone."},
    )
    until = ma.fields.AwareDateTime(
        load_default=None,
        default_timezone=UTC,
        validate=_POSSIBLE,
        metadata={"description": "Entries before this time."},
    )
    cursor = ma.fields.String(
        load_default=None,
        validate=ma.validate.Regexp(r"[0-9a-f]{12,24}$", error="Must be `next` of an answer."),
        metadata={"description": "`next` of the answer before."},
    )
    limit = fields.count(
        longest=MOST_ENTRIES, load_default=100, metadata={"description": "How many at the most."}
    )

    @ma.post_load
    def collect(self, loaded: dict[str, Any], **kwargs: Any) -> AuditSearch:
        """Take together what is given of the fields that must have a value."""
        since, until, limit = loaded.pop("since"), loaded.pop("until"), loaded.pop("limit")
        before = loaded.pop("cursor")
        wanted = {name: value for name, value in loaded.items() if value is not None}
        return AuditSearch(wanted=wanted, since=since, until=until, before=before, limit=limit)


class AuditPage(TypedDict):
    """Entries, newest first, and whether there may be more."""

    entries: list[AuditEntry]
    more: bool


class AuditEntryAnswer(Answer[AuditEntry]):
    """One change that was tried, or the rejected requests of one kind within an hour."""

    id = answers.text(_ENTRY_ID, of="_id")
    at = answers.time(fields.WHEN)
    action = answers.text("instances.suspend_instance")
    targetKind = answers.text("instance", of="target_kind", null=True)
    target = answers.text(fields.INSTANCE_ID, of="target_id", null=True)
    key = answers.text(
        fields.KEY_ID,
        of="key_id",
        null=True,
        description="The id of the key; null: none, or the command line.",
    )
    actsFor = answers.text(
        None,
        of=lambda entry: entry.get("acts_for"),
        null=True,
        description="The id of the user for whom the key acted, by the header `Act-As`.",
    )
    address = answers.text("203.0.113.7", null=True)
    requestId = answers.text(
        fields.REQUEST_ID, of="request_id", null=True, description="The first's, of several."
    )
    count = answers.integer(
        1,
        of=lambda entry: entry.get("count", 1),
        description="How many requests these were: 1 unless they were rejected.",
    )
    lastRequestId = answers.text(
        fields.REQUEST_ID,
        of=lambda entry: entry.get("last_request_id", entry["request_id"]),
        null=True,
    )
    lastAt = answers.time(
        fields.WHEN,
        of=lambda entry: entry.get("last_at", entry["at"]),
        description="When the last one came.",
    )
    before = answers.mapping(
        {"suspended": False, "power": "running"},
        null=True,
        description="What changed, as it was; null: it was not there.",
    )
    after = answers.mapping(
        {"suspended": True, "power": "stopped"},
        null=True,
        description="What changed, as it is now; null: it is gone, or never was.",
    )
    outcome = answers.choice(
        Outcome,
        "done",
        null=True,
        description="null: under way, or cut off by a crash.",
    )
    status = answers.integer(200, null=True)
    code = answers.text(None, null=True, description="The error's, if it was one.")


class AuditAnswer(Answer[AuditPage]):
    """A page of the record, newest first."""

    entries = answers.many(AuditEntryAnswer)
    next = answers.text(
        _ENTRY_ID,
        of=lambda page: page["entries"][-1]["_id"] if page["more"] else None,
        null=True,
        description="`cursor` of the next page; null: there is none.",
    )
