"""What events are about, as a GET of it answers: read once for all, and shown to each its way."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from service.api.live import make_frame
from service.contract.answers import Answer, Json
from service.contract.events import EventAnswer, ToldEvent
from service.contract.images import ImageAnswer
from service.contract.instances import InstanceAnswer
from service.contract.json_text import encode
from service.contract.keys import KeyAnswer
from service.contract.nodes import NodeAnswer, hide_management
from service.contract.operations import OperationAnswer
from service.contract.users import UserAnswer
from service.contract.webhooks import WebhookAnswer
from service.model.documents import Event, Node
from service.store import Store

ANSWERS: Mapping[str, type[Answer[Any]]] = {
    "instance": InstanceAnswer,
    "operation": OperationAnswer,
    "node": NodeAnswer,
    "user": UserAnswer,
    "image": ImageAnswer,
    "key": KeyAnswer,
    "webhook": WebhookAnswer,
}


class Resource:
    """A document that events are about, as it is now, or was last."""

    def __init__(self, kind: str, document: Any, *, node: Node | None, is_gone: bool) -> None:
        """Take the document, and the node of an instance."""
        self._kind, self._document, self._node, self._is_gone = kind, document, node, is_gone
        self._shown: dict[bool, Json] = {}

    def is_seen_in(self, store: Store) -> bool:
        """Return whether a GET would answer it to whom this part of the store is. Whoever sees the
        event of a deletion sees what was deleted.
        """
        return self._is_gone or _collection(store, self._kind).sees(self._document)

    def show(self, *, for_owner: bool) -> Json:
        """Shape it as a GET does for who runs the panel, or for who owns instances."""
        if for_owner not in self._shown:
            self._shown[for_owner] = ANSWERS[self._kind].shape(self._join(for_owner=for_owner))
        return self._shown[for_owner]

    def _join(self, *, for_owner: bool) -> Any:
        if self._kind == "instance":
            shown = {"node": self._node, "operation_id": None, "for_owner": for_owner}
            return {**self._document, **shown}
        if self._kind == "node" and for_owner:
            return hide_management(self._document)
        return self._document


@dataclass(eq=False, slots=True)
class EventOfResource:
    """An event, and what it is about."""

    event: Event
    resource: Resource | None
    _frames: dict[tuple[bool, bool], bytes] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Return about how many bytes it holds."""
        return 2 * len(self.frame(for_owner=False, is_seen=True))

    def tell(self, *, for_owner: bool, is_seen: bool = True) -> ToldEvent:
        """Return it as it is answered, with its resource only where that is seen."""
        resource = self.resource if is_seen else None
        shown = None if resource is None else resource.show(for_owner=for_owner)
        return ToldEvent(event=self.event, resource=shown)

    def frame(self, *, for_owner: bool, is_seen: bool) -> bytes:
        """Make the server-sent event of it: once for each way to see it."""
        way = for_owner, is_seen
        if way not in self._frames:
            shaped = EventAnswer.shape(self.tell(for_owner=for_owner, is_seen=is_seen))
            self._frames[way] = make_frame(
                encode(shaped).decode(), event=shaped["type"], event_id=shaped["id"]
            )
        return self._frames[way]


def find(store: Store, events: Iterable[Event]) -> list[EventOfResource]:
    """Read what events are about, as far as this part of the store shows it."""
    events = list(events)
    resources: dict[tuple[str, str], Resource] = {}
    for kind in ANSWERS:
        of_kind = [event for event in events if event["kind"] == kind]
        last = [event["last"] for event in of_kind if "last" in event]
        ids = {event["resource_id"] for event in of_kind} - {None}
        there = _collection(store, kind).list_by_ids(ids) if ids else []
        is_instance = kind == "instance"
        nodes = store.nodes.find_known({each["node_id"] for each in [*last, *there] if is_instance})
        for documents, is_gone in ((last, True), (there, False)):
            for document in documents:
                node = nodes.get(document["node_id"]) if is_instance else None
                resources[kind, document["_id"]] = Resource(
                    kind, document, node=node, is_gone=is_gone
                )
    return [
        EventOfResource(event, resources.get((event["kind"], event["resource_id"] or "")))
        for event in events
    ]


def _collection(store: Store, kind: str) -> Any:
    collections = {
        "instance": store.instances,
        "operation": store.operations,
        "node": store.nodes,
        "user": store.users,
        "image": store.images,
        "key": store.keys,
        "webhook": store.webhooks,
    }
    return collections[kind]
