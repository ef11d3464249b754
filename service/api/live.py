"""Server-sent events, as the HTML standard has them: answers that go on while something happens."""

from collections.abc import Callable

from flask import Response

from service.api.call import current_call
from service.api.live_answer import DRIVEN, Source
from service.api.live_request import EVENT_STREAM, prefers_live
from service.keys import access_of, family_of
from service.permits import Permit


def wants_live() -> bool:
    """Return whether the client of the current request prefers server-sent events to JSON."""
    call = current_call()
    call.reads_accept = True
    return prefers_live(call.request)


def answer_live(open_source: Callable[[], Source]) -> Response:
    """Answer the current request with what a source has, for as long as its key may.

    The source is opened once there is room for the answer. Raises Busy.
    """
    call = current_call()
    key = call.rights
    permit = None
    if key is not None and call.digest is not None:
        permit = Permit(
            digest=call.digest,
            address=call.request.remote_addr or "",
            acts_for=call.acts_for,
            scope=call.policy.scope,
            access=access_of(key),
        )
    live = call.ctx.live.open(
        open_source,
        family="" if key is None else family_of(key),
        permit=permit,
        is_driven=call.request.environ.get(DRIVEN, False),
        request_id=call.request_id,
    )
    # Passed on as it is: werkzeug would wrap it in an iterator that can only be waited for.
    answer = Response(live, mimetype=EVENT_STREAM, direct_passthrough=True)
    answer.headers["X-Accel-Buffering"] = "no"
    return answer


def make_frame(data: str, *, event: str | None = None, event_id: str | None = None) -> bytes:
    """Make one server-sent event. What it is called, and its id, have no line ends."""
    lines = [f"id: {event_id}"] if event_id is not None else []
    if event is not None:
        lines.append(f"event: {event}")
    lines += [f"data: {line}" for line in _split_lines(data)]
    return ("\n".join(lines) + "\n\n").encode()


def _split_lines(data: str) -> list[str]:
    # Not `splitlines`, which knows more line ends than the standard does.
    return data.replace("\r\n", "\n").replace("\r", "\n").split("\n")
