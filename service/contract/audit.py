"""The audit log on the wire."""

from datetime import UTC, datetime

import marshmallow as ma

from service.audit import Outcome
from service.contract import fields
from service.contract.base import Answer, Request

MOST_ENTRIES = 1000
_POSSIBLE = ma.validate.Range(
    min=datetime(2000, 1, 1, tzinfo=UTC), max=datetime(2200, 1, 1, tzinfo=UTC)
)


class AuditQuery(Request):
    """Which entries are meant."""

    key_id = fields.text(
        data_key="key", required=False, load_default=None, longest=64, description="A key's id."
    )
    action = fields.text(
        required=False, load_default=None, longest=64, description="Like `instances.deploy`."
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


class AuditEntryAnswer(Answer):
    """One change that was tried, or the rejected requests of one kind within an hour."""

    id = ma.fields.String(required=True)
    at = ma.fields.DateTime(required=True)
    action = ma.fields.String(required=True)
    targetKind = ma.fields.String(required=True, allow_none=True)
    target = ma.fields.String(required=True, allow_none=True)
    key = ma.fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "The id of the key; null: none, or the command line."},
    )
    address = ma.fields.String(required=True, allow_none=True)
    requestId = ma.fields.String(
        required=True, allow_none=True, metadata={"description": "The first's, of several."}
    )
    count = ma.fields.Integer(
        required=True,
        metadata={"description": "How many requests these were: 1 unless they were rejected."},
    )
    lastRequestId = ma.fields.String(required=True, allow_none=True)
    lastAt = ma.fields.DateTime(required=True, metadata={"description": "When the last one came."})
    before = ma.fields.Dict(
        required=True,
        allow_none=True,
        metadata={"description": "What changed, as it was; null: it was not there."},
    )
    after = ma.fields.Dict(
        required=True,
        allow_none=True,
        metadata={"description": "What changed, as it is now; null: it is gone, or never was."},
    )
    outcome = ma.fields.String(
        required=True,
        allow_none=True,
        validate=ma.validate.OneOf([each.value for each in Outcome]),
        metadata={"description": "null: under way, or cut off by a crash."},
    )
    status = ma.fields.Integer(required=True, allow_none=True)
    code = ma.fields.String(
        required=True, allow_none=True, metadata={"description": "The error's, if it was one."}
    )


class AuditAnswer(Answer):
    """A page of the record, newest first."""

    entries = ma.fields.List(ma.fields.Nested(AuditEntryAnswer), required=True)
    next = ma.fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "`cursor` of the next page; null: there is none."},
    )
