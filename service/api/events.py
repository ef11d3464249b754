"""The events endpoint: what happened, and what happens next."""

from collections.abc import Mapping
from typing import Any

from service import events, keys
from service.api.blueprint import ALWAYS, Blueprint
from service.api.call import caller, current_call, is_owner, store
from service.api.context import app_context, now
from service.api.instances import join_nodes
from service.contract.answers import Answer
from service.contract.events import EventPage, EventsAnswer, EventsQuery, ToldEvent
from service.contract.images import ImageAnswer
from service.contract.instances import InstanceAnswer
from service.contract.keys import KeyAnswer
from service.contract.nodes import NodeAnswer, hide_management
from service.contract.operations import OperationAnswer
from service.contract.users import UserAnswer
from service.model.documents import Event
from service.model.orders import EventSearch

blueprint = Blueprint(
    "events", __name__, url_prefix="/api/events", description="What happens, in its order."
)

ANSWERS: Mapping[str, type[Answer[Any]]] = {
    "instance": InstanceAnswer,
    "operation": OperationAnswer,
    "node": NodeAnswer,
    "user": UserAnswer,
    "image": ImageAnswer,
    "key": KeyAnswer,
}


@blueprint.get("")
@blueprint.needs(None)
@blueprint.arguments(EventsQuery, location="query")
@blueprint.answers(200, EventsAnswer, 400, 410, *ALWAYS, description="The events, oldest first.")
def list_events(search: EventSearch) -> EventPage:
    """List what happened to all that the key may read; with `wait`, once something happens.

    Go on with `after` as the answer's `next` says: no event is left out, and each comes in the
    order in which it happened. 410 when what came next is forgotten already.
    """
    ctx, call = app_context(), current_call()
    kinds = events.list_kinds(keys.access_of(caller()), search["types"])
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
    return EventPage(events=_add_resources(page.events), last_id=page.last_id)


def _add_resources(found: list[Event]) -> list[ToldEvent]:
    """Add to each event what it is about, as it is now, or was last."""
    shown: dict[tuple[str, str], dict[str, Any]] = {}
    for kind, schema in ANSWERS.items():
        ids = {event["resource_id"] for event in found if event["kind"] == kind}
        last = [event["last"] for event in found if event["kind"] == kind and "last" in event]
        if ids:
            now_there = _find(kind, [each for each in ids if each is not None])
            for document in _join(kind, [*last, *now_there]):
                shown[kind, document["_id"]] = schema.shape(document)
    return [
        ToldEvent(event=event, resource=shown.get((event["kind"], event["resource_id"] or "")))
        for event in found
    ]


def _join(kind: str, documents: list[Any]) -> list[Any]:
    if kind == "instance":
        return join_nodes(documents)
    if kind == "node" and is_owner():
        return [hide_management(document) for document in documents]
    return documents


def _find(kind: str, ids: list[str]) -> list[Any]:
    seen = store()
    collections: dict[str, Any] = {
        "instance": seen.instances,
        "operation": seen.operations,
        "node": seen.nodes,
        "user": seen.users,
        "image": seen.images,
        "key": seen.keys,
    }
    found: list[Any] = collections[kind].list_by_ids(ids)
    return found
