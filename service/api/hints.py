"""What an error says beyond itself to who may see it: whose the port is, and what may be meant."""

from contextlib import suppress

from service import keys
from service.api.call import current_call
from service.errors import InvalidInput, NotFound, PortTaken, ServiceError
from service.model.suggestions import suggest

_WORDS = {"image": ("_id", "name", "image"), "node": ("_id", "name")}
"""By which of its fields something is called, if it may be listed by whoever may read such."""

MOST_COMPARED = 1000
"""How many documents are looked at, at the most: comparing takes its time."""


def add_hints(error: ServiceError) -> None:
    """Add to the details of an error what its caller may read elsewhere."""
    with suppress(ServiceError):  # an error that says less is better than another one
        if isinstance(error, PortTaken):
            _name_holder(error)
        elif isinstance(error, InvalidInput):
            for each in (error, *error.others):
                if isinstance(each, NotFound) and each.what in _WORDS:
                    _suggest(each, error)


def _may_read(what: str) -> bool:
    rights = current_call().rights
    return rights is not None and keys.access_of(rights).may(f"{what}s:read")


def _name_holder(error: PortTaken) -> None:
    if _may_read("instance"):
        holder = current_call().store.instances.find_by_port(error.node_id, error.port)
        if holder is not None:
            error.details["instanceId"] = holder["_id"]


def _suggest(missing: NotFound, whole: InvalidInput) -> None:
    """Add what may be meant to the reason why it is not found."""
    reasons = whole.details[missing.field]
    if not _may_read(missing.what) or not isinstance(reasons, list):
        return
    store = current_call().store
    collection = store.images if missing.what == "image" else store.nodes
    words = collection.list_words(*_WORDS[missing.what], limit=MOST_COMPARED)
    known = [word for word in words if word != missing.identifier]  # it may be being deleted
    whole.details[missing.field] = [
        reason + suggest(missing.identifier, known) if reason == missing.reason else reason
        for reason in reasons
    ]
