"""The events endpoint: what happened, and what happens next."""

from functools import partial

from flask import Response

from service import events, keys, tickets
from service.api import event_resources, live_docs
from service.api.blueprint import ALWAYS, Blueprint
from service.api.call import caller, current_call, is_owner, store
from service.api.context import Context, app_context, now
from service.api.event_stream import EventStream
from service.api.live import answer_live, make_frame, wants_live
from service.contract.events import EventAnswer, EventPage, EventsAnswer, EventsQuery, read_event_id
from service.contract.fields import make_example
from service.contract.json_text import encode
from service.contract.tickets import TicketAnswer
from service.errors import NotSupported
from service.model.documents import NewTicket
from service.model.orders import EventSearch

blueprint = Blueprint(
    "events", __name__, url_prefix="/api/events", description="What happens, in its order."
)

_SHOWN = make_example(EventAnswer)
_FRAME = make_frame(encode(_SHOWN).decode(), event=str(_SHOWN["type"]), event_id=str(_SHOWN["id"]))


@blueprint.get("")
@blueprint.needs(None, is_live=True)
@blueprint.arguments(EventsQuery, location="query")
@blueprint.doc(**live_docs.show(_FRAME, has_ids=True))
@blueprint.answers(200, EventsAnswer, 400, 410, *ALWAYS, description="The events, oldest first.")
def list_events(search: EventSearch) -> EventPage | Response:
    """List what happened to all that the key may read; with `wait`, once something happens.

    Go on with `after` as the answer's `next` says: no event is left out, and each comes in the
    order in which it happened. 410 when what came next is forgotten already.

    With `Accept: text/event-stream` it goes on with what happens next, as server-sent events, until
    the client leaves. Each has the event as `data`, its `type` as `event` and its id; whoever is
    cut off goes on after the `Last-Event-ID`, which wins over `after`. Without either it begins
    now.
    """
    kinds = events.list_kinds(keys.access_of(caller()), search["types"])
    return _stream(search, kinds) if wants_live() else _list(search, kinds)


def _list(search: EventSearch, kinds: set[str]) -> EventPage:
    ctx, call = app_context(), current_call()
    call.end_bound()
    with ctx.wait_slots.try_slot(keys.family_of(caller())) as may_wait:
        page = events.read(
            store(),
            search,
            kinds=kinds,
            keep_s=ctx.config.events_days * 86400,
            now=now(),
            timeout_s=max(0.0, search["wait"] - call.spent_s) if may_wait else 0.0,
            stopping=ctx.stopping,
        )
    call.bound_rest()
    for_owner = is_owner()
    found = event_resources.find(store(), page.events)
    told = [each.tell(for_owner=for_owner) for each in found]
    return EventPage(events=told, last_id=page.last_id)


def _stream(search: EventSearch, kinds: set[str]) -> Response:
    ctx = app_context()
    after = read_event_id(current_call().request.headers.get("Last-Event-ID")) or search["after"]
    check_kept = partial(_check_kept, ctx)
    if after is None:
        after = events.find_end(store(), keep_s=ctx.config.events_days * 86400, now=now())
    else:
        check_kept(after)
    search = {**search, "after": after}
    return answer_live(
        partial(
            EventStream,
            ctx.event_hub,
            store(),
            search,
            kinds=kinds,
            for_owner=is_owner(),
            check_kept=check_kept,
        )
    )


def _check_kept(ctx: Context, event_id: int) -> None:
    events.check_kept(event_id, keep_s=ctx.config.events_days * 86400, now=ctx.now())


@blueprint.post("/ticket")
@blueprint.needs(None)
@blueprint.answers(201, TicketAnswer, *ALWAYS, description="The ticket: nobody sees it again.")
def create_event_ticket() -> NewTicket:
    """Make a ticket for a browser, whose EventSource sends no headers.

    `?ticket=` opens one answer of server-sent events, of any endpoint that has such, as the key
    that asked for it, and for whom it acts. It is valid once, and for half a minute.
    """
    call = current_call()
    if call.digest is None:
        raise NotSupported("Commands of this machine need no ticket.")
    return tickets.create(
        app_context().store, key_digest=call.digest, acts_for=call.acts_for, now=now()
    )
