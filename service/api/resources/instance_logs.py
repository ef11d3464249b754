"""What the programs of instances print: their last lines, and lines as they are printed."""

from functools import partial

from flask import Response

from service import instance_logs
from service.api import live_docs
from service.api.blueprint import ALWAYS
from service.api.call import current_call, store
from service.api.context import app_context
from service.api.instances import blueprint
from service.api.live import answer_live, make_frame, wants_live
from service.api.waiting import calling_a_node
from service.contract.answers import compile_shape
from service.contract.fields import make_example
from service.contract.json_text import encode
from service.contract.logs import (
    EndAnswer,
    FollowedLine,
    LineAnswer,
    LogEnding,
    LogsAnswer,
    LogsQuery,
    PrintedLines,
    read_line_id,
    refuse_until,
)
from service.errors import NodeOffline, NotSupported
from service.log_followers import Encoding
from service.model.orders import LogSearch
from service.model.printed_lines import LogLine, Mark, print_mark

_shape_line = compile_shape(LineAnswer)
_shape_end = compile_shape(EndAnswer)
_FRAMES = make_frame(
    encode(make_example(LineAnswer)).decode(), event_id="4f2a9c61d0be:1769860800000000000"
) + make_frame(encode(make_example(EndAnswer)).decode(), event="end")


@blueprint.get("/instances/<instance_id>/logs")
@blueprint.needs("instances:read", is_live=True)
@blueprint.arguments(LogsQuery, location="query")
@blueprint.doc(**live_docs.show(_FRAMES, has_ids=True))
@blueprint.answers(
    200,
    LogsAnswer,
    400,
    *ALWAYS,
    NodeOffline,
    NotSupported,
    description="The last lines, oldest first.",
)
def get_instance_logs(search: LogSearch, instance_id: str) -> PrintedLines | Response:
    """Return the last lines of an instance's output, or go on with those that are printed.

    The values of secret variables are replaced. With `timestamps` each line begins with the time
    when it was printed, and a space. 400 `not_supported` for times where the node tells none.

    With `follow`, or `Accept: text/event-stream`, the lines are server-sent events, and go on with
    each that is printed from then on, also over a restart of the program. `id` is there where the
    node tells times: whoever is cut off goes on after the `Last-Event-ID`, which wins over `since`
    and `tail`, without a line twice. The event `end` says why nothing more comes; whoever reads it
    is to close. 503 `busy` when too many logs are followed.
    """
    if search["follow"] or (search["follow"] is None and wants_live()):
        return _follow(search, instance_id)
    with calling_a_node() as open_driver:
        instance, lines = instance_logs.read(store(), open_driver, instance_id, search)
    return PrintedLines(instance_id=instance["_id"], lines=lines)


def _follow(search: LogSearch, instance_id: str) -> Response:
    ctx = app_context()
    refuse_until(search)
    after = read_line_id(current_call().request.headers.get("Last-Event-ID"))
    instance = store().instances.get_by_reference(instance_id)
    node = instance_logs.find_node(store(), instance, search)
    return answer_live(
        partial(
            ctx.log_followers.follow,
            store(),
            ctx.open_driver,
            instance,
            node,
            search,
            after=after,
            encoding=Encoding(partial(_encode_line, timestamps=search["timestamps"]), _encode_end),
        )
    )


def _encode_line(line: LogLine, mark: Mark | None, *, timestamps: bool) -> bytes:
    shaped = _shape_line(
        FollowedLine(
            text=line.text,
            time_ns=line.position.time_ns if timestamps and line.position else None,
            stream=line.stream,
            is_cut=line.is_cut,
        )
    )
    event_id = None if mark is None else print_mark(mark)
    return make_frame(encode(shaped).decode(), event_id=event_id)


def _encode_end(reason: str, message: str) -> bytes:
    shaped = _shape_end(LogEnding(reason=reason, message=message))
    return make_frame(encode(shaped).decode(), event="end")
