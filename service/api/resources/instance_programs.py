"""The programs of instances: their standard input, and what they use."""

from flask import Response

from service import programs
from service.api import live_docs
from service.api.blueprint import ALWAYS, NO_CONTENT, WITH_BODY
from service.api.call import origin, store
from service.api.context import app_context, now
from service.api.instances import blueprint
from service.api.live import answer_live, make_frame, wants_live
from service.api.stats_stream import StatsStream
from service.api.waiting import calling_a_node
from service.contract.base import NoContent
from service.contract.fields import make_example
from service.contract.json_text import encode
from service.contract.programs import InstanceUsage, SendCommand, StatsAnswer
from service.errors import InstanceNotReady, InstanceSuspended, NodeOffline, NotSupported
from service.model.orders import Command


@blueprint.post("/instances/<instance_id>/command")
@blueprint.needs("instances:write", changes="instance")
@blueprint.arguments(SendCommand)
@blueprint.answers(
    NO_CONTENT,
    NoContent,
    *WITH_BODY,
    *ALWAYS,
    404,
    InstanceNotReady,
    InstanceSuspended,
    NotSupported,
    NodeOffline,
    description="The line is where the program reads it.",
)
def send_instance_command(order: Command, instance_id: str) -> None:
    """Write a line to the standard input of an instance's program.

    What the program makes of it is in its logs. The audit log has that a line was sent, and not the
    line, which may bear a secret. 409 while it does not run, or does not read; 400 `not_supported`
    for a container without a standard input. With the code `node_unreachable` the line may have
    been read; a repeat with the same `Idempotency-Key` is a 409 then, and writes nothing.
    """
    with calling_a_node() as open_driver:
        programs.send_line(store(), open_driver, instance_id, order["line"], origin=origin())


_FRAME = make_frame(encode(make_example(StatsAnswer)).decode())


@blueprint.get("/instances/<instance_id>/stats")
@blueprint.needs("instances:read", is_live=True)
@blueprint.doc(**live_docs.show(_FRAME))
@blueprint.answers(
    200,
    StatsAnswer,
    *ALWAYS,
    404,
    NotSupported,
    NodeOffline,
    description="What it uses now.",
)
def get_instance_stats(instance_id: str) -> InstanceUsage | Response:
    """Measure what an instance uses: cores, memory, network and disk. It takes a second or two.

    With `Accept: text/event-stream` it is measured every two seconds, as server-sent events with
    the same as `data`, until the instance is deleted: then the event is `end`. That it does not run
    is said once. While its node fails the event is `problem`. 503 `busy` when too many instances
    are watched.
    """
    if wants_live():
        instance, _ = programs.find_measured(store(), instance_id)
        return answer_live(lambda: StatsStream(app_context().meters.watch(instance)))
    with calling_a_node() as open_driver:
        instance, usage = programs.measure_usage(store(), open_driver, instance_id)
    return InstanceUsage(instance=instance, usage=usage, now=now())
