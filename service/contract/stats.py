"""What instances used lately, on the wire."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypedDict

import marshmallow as ma

from service.contract import answers, fields
from service.contract.answers import Answer
from service.contract.base import Request
from service.contract.lists import LONGEST_PAGE, POSSIBLE, filter_by
from service.model.documents import Instance, Usage
from service.model.lifecycle import Power
from service.model.listing import Condition, Listing, Test
from service.model.orders import StatsSearch
from service.model.quantities import print_cores

MAX_IDS = 100
"""How many instances one request may name."""

_of_instances = partial(
    filter_by, of="_id", description=f"Of this instance, or of several ids with commas between "
    f"them: {MAX_IDS} at the most.", validate=ma.validate.Length(min=1, max=4000),
)  # fmt: skip


class StatsQuery(Request[StatsSearch]):
    """Of which instances, since when, and in which steps."""

    user = filter_by(of="user_id", description="Of the user with this id.")
    node = filter_by(of="node_id", description="On this node: its id or its name.")
    instance = _of_instances()
    since = ma.fields.AwareDateTime(
        load_default=None,
        default_timezone=UTC,
        validate=POSSIBLE,
        metadata={
            "description": "Since this time; if absent, or longer ago, for the last hour. "
            "RFC 3339; UTC if it names no zone."
        },
    )
    resolution = fields.count(
        longest=3600,
        load_default=None,
        metadata={
            "description": "Seconds between two points; if absent, so that there are about 120."
        },
    )
    latest = ma.fields.Boolean(
        load_default=False,
        metadata={"description": "Only what each used last, without `series`: for lists."},
    )
    limit = fields.count(
        longest=LONGEST_PAGE,
        load_default=100,
        metadata={"description": "How many instances at the most. `next` leads to the others."},
    )
    cursor = ma.fields.String(
        load_default=None,
        validate=ma.validate.Length(min=1, max=1000),
        metadata={"description": "Where the page begins: the `next` of the page before."},
    )

    @ma.validates("instance")
    def count_ids(self, value: str | None, **kwargs: Any) -> None:
        """Refuse too many ids."""
        if value is not None and value.count(",") >= MAX_IDS:
            raise ma.ValidationError(f"Must name {MAX_IDS} instances at the most.")

    @ma.post_load
    def collect(self, loaded: dict[str, Any], **kwargs: Any) -> StatsSearch:
        """Take together which instances are meant."""
        conditions = {
            name: Condition(self.fields[name].metadata["of"], Test.EQUALS, loaded[name])
            for name in ("user", "node")
            if loaded[name] is not None
        }
        if loaded["instance"] is not None:
            ids = [each.strip() for each in loaded["instance"].split(",")]
            conditions["instance"] = Condition("_id", Test.ONE_OF, ids)
        return StatsSearch(
            listing=Listing(conditions, limit=loaded["limit"], cursor=loaded["cursor"]),
            since=loaded["since"],
            resolution_s=loaded["resolution"],
            latest=loaded["latest"],
        )


class Series(TypedDict):
    """What an instance used, a value for each time of the page; None where that is not known."""

    cpu_milli: list[int | None]
    memory_bytes: list[int | None]
    received_rate: list[int | None]
    sent_rate: list[int | None]


class MeasuredInstance(TypedDict):
    """An instance, and what it used."""

    instance: Instance
    usage: Usage | None
    series: Series | None


class SkippedNode(TypedDict):
    """A node of which the last round left something out."""

    node_id: str
    reason: str


class StatsPage(TypedDict):
    """What some instances used, and where the next page begins."""

    now: datetime
    interval_s: float
    resolution_s: int | None
    times: list[datetime]
    instances: list[MeasuredInstance]
    skipped: list[SkippedNode]
    cursor: str | None


def _print_cores(series: Series) -> list[float | None]:
    return [None if milli is None else milli / 1000 for milli in series["cpu_milli"]]


def _numbers(kind: Any, sample: list[Any], of: Any, text: str) -> ma.fields.Field[Any]:
    of_items = partial(ma.fields.List, kind(allow_none=True))
    return answers.field(of_items, sample, of=of, description=text)


class SeriesAnswer(Answer[Series]):
    """What an instance used: a value for each of `times`, the mean until the next one.

    Null: it did not run, or was not sampled.
    """

    cpu = _numbers(ma.fields.Float, [0.25], _print_cores, "Cores.")
    memoryBytes = _numbers(ma.fields.Integer, [33554432], "memory_bytes", "Bytes.")
    networkReceivedRate = _numbers(ma.fields.Integer, [128], "received_rate", "Bytes a second.")
    networkSentRate = _numbers(ma.fields.Integer, [64], "sent_rate", "Bytes a second.")


def _cores(usage: Usage) -> float | None:
    return usage["cpu_milli"] / 1000 if "cpu_milli" in usage else None


class LatestAnswer(Answer[Usage]):
    """What an instance used when it was sampled last. Null: its node does not say, or not yet."""

    time = answers.time(fields.WHEN, of="at", description="When it was sampled.")
    cpu = answers.number(0.25, of=_cores, null=True, description="Cores, since the sample before.")
    memoryBytes = answers.integer(
        33554432, of="memory_bytes", description="Without what the kernel would give back at once."
    )
    memoryLimitBytes = answers.integer(
        134217728, of=lambda usage: usage.get("memory_limit_bytes"), null=True,
        description="What its node enforces.",
    )  # fmt: skip
    networkReceivedBytes = answers.integer(
        2048, of=lambda usage: usage.get("received_bytes"), null=True,
        description="Since it was started.",
    )  # fmt: skip
    networkSentBytes = answers.integer(
        1024, of=lambda usage: usage.get("sent_bytes"), null=True,
        description="Since it was started.",
    )  # fmt: skip
    networkReceivedRate = answers.integer(
        128, of=lambda usage: usage.get("received_rate"), null=True, description="Bytes a second."
    )
    networkSentRate = answers.integer(
        64, of=lambda usage: usage.get("sent_rate"), null=True, description="Bytes a second."
    )
    diskBytes = answers.integer(
        4096, of=lambda usage: usage.get("disk_bytes"), null=True,
        description="Of its volume, which is added up every ten minutes.",
    )  # fmt: skip


def _find_started_at(measured: MeasuredInstance) -> datetime | None:
    usage: Mapping[str, Any] = measured["usage"] or {}
    instance: Mapping[str, Any] = measured["instance"]
    if instance["power"] != Power.RUNNING:
        return None
    started_at: datetime | None = usage.get("started_at") or instance.get("started_at")
    return started_at


class MeasuredAnswer(Answer[MeasuredInstance]):
    """An instance, and what it used."""

    Id = answers.text(fields.INSTANCE_ID, of=lambda measured: measured["instance"]["_id"])
    Name = answers.text("my first", of=lambda measured: measured["instance"]["name"])
    userId = answers.text(fields.USER_ID, of=lambda measured: measured["instance"]["user_id"])
    nodeId = answers.text(fields.NODE_ID, of=lambda measured: measured["instance"]["node_id"])
    power = answers.choice(Power, "running", of=lambda measured: measured["instance"]["power"])
    cpuLimit = answers.number(
        0.5,
        of=lambda measured: print_cores(measured["instance"]["cpu_milli"]),
        description="Cores that it was given.",
    )
    startedAt = answers.time(fields.WHEN, of=_find_started_at, null=True)
    latest = answers.nested(LatestAnswer, of="usage", null=True, description="Null: no sample.")
    series = answers.nested(SeriesAnswer, optional=True, description="Without `latest=true`.")


class SkippedAnswer(Answer[SkippedNode]):
    """A node of which the last round left something out."""

    nodeId = answers.text(fields.NODE_ID, of="node_id")
    reason = answers.text("The node did not answer in time.")


class StatsPageAnswer(Answer[StatsPage]):
    """What instances used."""

    time = answers.time(fields.WHEN, of="now")
    intervalSeconds = answers.number(
        15,
        of="interval_s",
        description="How often instances are sampled: every 15 s, and longer with more than "
        "workers can ask for. The longest of the nodes that these are on.",
    )
    resolutionSeconds = answers.integer(
        30, of="resolution_s", null=True, description="Between two of `times`."
    )
    times = answers.field(
        partial(ma.fields.List, ma.fields.DateTime()),
        [fields.WHEN],
        description="When each value of the series begins; the same for all of them.",
    )
    instances = answers.many(MeasuredAnswer)
    skipped = answers.many(
        SkippedAnswer, description="Nodes of these whose last samples are not complete."
    )
    next = answers.text(
        None, of="cursor", null=True, description="`cursor` of the next page; null: that was all."
    )
