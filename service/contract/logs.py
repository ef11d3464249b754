"""What programs print, on the wire."""

from typing import Any, TypedDict

import marshmallow as ma

from service.contract import answers, fields
from service.contract.answers import Answer
from service.contract.base import Request
from service.errors import InvalidInput
from service.model.orders import LogSearch
from service.model.printed_lines import Mark, parse_mark
from service.model.printed_times import parse_time, print_time

MOST_LINES = 1000

_NO_UNTIL = "Cannot be given for lines that are followed."
_LINE = "Serving HTTP on 0.0.0.0 port 8080 ..."


def _time(name: str, description: str) -> fields.Parsed:
    return fields.Parsed(
        parse_time,
        types=("string",),
        data_key=name,
        load_default=None,
        # No example: Swagger UI would send it, also to nodes whose lines have no times.
        metadata={"description": description},
    )


class LogsQuery(Request[LogSearch]):
    """Which lines are meant."""

    tail = fields.count(
        longest=MOST_LINES, load_default=100, metadata={"description": "Lines, from the end."}
    )
    since_ns = _time(
        "since",
        "Lines of this time and later: of RFC 3339 (2026-01-31T12:00:00Z), or seconds since 1970, "
        "to the nanosecond.",
    )
    until_ns = _time("until", "Lines of this time and earlier.")
    timestamps = ma.fields.Boolean(
        load_default=False,
        metadata={"description": "Say when each line was printed."},
    )
    follow = ma.fields.Boolean(
        load_default=None,
        metadata={
            "description": "Go on with the lines that are printed from then on, as server-sent "
            "events; also without it, for who accepts `text/event-stream` only."
        },
    )

    @ma.validates_schema
    def order_times(self, loaded: dict[str, Any], **kwargs: Any) -> None:
        """Refuse a time that has its end before its beginning, or has none."""
        since, until = loaded["since_ns"], loaded["until_ns"]
        if until is None:
            return
        if since is not None and until < since:
            raise ma.ValidationError("Must not be before `since`.", "until")
        if loaded["follow"]:
            raise ma.ValidationError(_NO_UNTIL, "until")


def refuse_until(search: LogSearch) -> None:
    """Raise InvalidInput for an end of lines that are followed."""
    if search["until_ns"] is not None:
        raise InvalidInput(f"`until`: {_NO_UNTIL}", until=[_NO_UNTIL])


class PrintedLines(TypedDict):
    """What an instance's program printed."""

    instance_id: str
    lines: list[str]


class LogsAnswer(Answer[PrintedLines]):
    """What an instance's program printed."""

    Id = answers.text(fields.INSTANCE_ID, of="instance_id")
    lines = answers.texts([_LINE])


def _print_time(line: "FollowedLine") -> str | None:
    return None if line["time_ns"] is None else print_time(line["time_ns"])


def _say_cut(line: "FollowedLine") -> bool | None:
    return line["is_cut"] or None


class FollowedLine(TypedDict):
    """A line of a log that is followed."""

    text: str
    time_ns: int | None
    stream: str | None
    is_cut: bool


class LineAnswer(Answer[FollowedLine]):
    """A line of a log that is followed: the data of an event without a name."""

    line = answers.text(_LINE, of="text")
    stream = answers.text(
        "stdout", optional=True, description="`stdout` or `stderr`, where the node says."
    )
    time = answers.text(
        "2026-01-31T12:00:00.000000000Z",
        of=_print_time,
        optional=True,
        description="With `timestamps`, where the node says.",
    )
    cut = answers.flag(
        True,
        of=_say_cut,
        optional=True,
        description="Its end is not there: it was too long, or the program ended in it.",
    )


class LogEnding(TypedDict):
    """Why a log that is followed has no more lines."""

    reason: str
    message: str


class EndAnswer(Answer[LogEnding]):
    """The data of the event `end`, after which nothing comes."""

    reason = answers.text(
        "stopped",
        description="`stopped`: its program does not run; `gone`: the container was replaced or "
        "removed; `deleted` and `suspended`: the instance was; else the code of an error.",
    )
    message = answers.text("The program has ended.")


def read_line_id(text: str | None) -> Mark | None:
    """Read the header `Last-Event-ID`; None of one that is absent or empty. Raises InvalidInput."""
    try:
        return parse_mark(text) if text else None
    except ValueError as exc:
        raise InvalidInput(
            "The header Last-Event-ID is not valid.", **{"Last-Event-ID": [str(exc)]}
        ) from exc
