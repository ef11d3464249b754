"""Keys that keys make: they may do no more than what made them."""

from datetime import datetime

from service import idempotency
from service.errors import Forbidden
from service.keys import access_of, access_to, check_future, create, note_limits
from service.model.access import SCOPES
from service.model.documents import Key
from service.model.orders import Grant
from service.model.origin import Claim
from service.model.wrong_fields import WrongFields
from service.store import Store


def delegate(
    store: Store,
    by: Key,
    *,
    name: str,
    grant: Grant,
    compatibility: str | None,
    family: str | None = None,
    most: int | None = None,
    now: datetime,
    claim: Claim | None = None,
) -> tuple[Key, str]:
    """Add a key on behalf of another, which may do no more than that; limits pass on to it.

    A `family`, see `find_family`, has `most` keys beside the first; None: any number. Raises
    Forbidden, with what the other one may not do itself, InvalidInput for one that would never
    work, or not as its scopes say, TooManyKeys, and AlreadyDone for a repeat: nobody knows the
    value of the key that was made.
    """
    idempotency.refuse_repeat(claim)
    wanted = _inherit(by, grant)
    if _find_wrong(store, grant, now):  # by themselves its limits come after what is forbidden
        check(store, by, grant, now=now)
    if (references := grant.get("node_ids")) is not None:
        wanted["node_ids"] = _find_node_ids(store, references)
    own, other = access_of(by), access_to(wanted)
    if not own.covers(other):
        beyond = [scope for scope in SCOPES if other.may(scope) and not own.may(scope)]
        why = f"It may not {', '.join(beyond)} itself." if beyond else "It is limited itself."
        raise Forbidden("A key cannot make one that may do more than itself.", key=[why])
    return create(
        store,
        name=name,
        grant=wanted,
        compatibility=compatibility,
        created_by=by["_id"],
        family=family,
        most=most,
        claim=claim,
        now=now,
    )


def check(store: Store, by: Key, grant: Grant, *, now: datetime) -> None:
    """Raise InvalidInput for all that is wrong in what `delegate` gives; it may be WellFormed."""
    wrong = _find_wrong(store, grant, now)
    wanted = _inherit(by, grant)
    note_limits(wrong, store, access_to(wanted), wanted["scopes"])
    wrong.raise_any()


def _inherit(by: Key, grant: Grant) -> Grant:
    """Complete what is given with the limits of the key that gives it."""
    given = {name: value for name, value in grant.items() if value is not None}
    inherited = Grant(
        scopes=[],
        user_id=by["user_id"],
        instance_ids=by["instance_ids"],
        node_ids=by["node_ids"],
        networks=by["networks"],
        expires_at=by["expires_at"],
    )
    return {**inherited, **given}  # type: ignore[typeddict-item]


def _find_wrong(store: Store, grant: Grant, now: datetime) -> WrongFields:
    wrong = WrongFields()
    with wrong.noting():
        check_future(grant.get("expires_at"), now)
    with wrong.noting():
        _find_node_ids(store, grant.get("node_ids") or [])
    return wrong


def _find_node_ids(store: Store, references: list[str]) -> list[str]:
    """Find the ids of nodes that may be called by name. That of one yet to come is its own."""
    nodes = [store.nodes.find_by_reference(each, field="nodes") for each in references]
    return [
        each if node is None else node["_id"] for each, node in zip(references, nodes, strict=True)
    ]
