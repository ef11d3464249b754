"""Bulk operations: the same is done to many items, each as if it had been asked for alone.

Taking one on writes it down and does nothing yet. A worker does the items: worker/bulk.py.
"""

from collections.abc import Iterator, Mapping
from typing import Any, cast

from service import rights, users
from service.errors import InvalidInput
from service.model.documents import (
    BulkItem,
    Key,
    Operation,
    SealedUser,
    User,
    new_bulk_item,
    new_bulk_operation,
)
from service.model.lifecycle import BulkKind
from service.model.orders import BulkOrder, NewUser
from service.model.origin import Origin
from service.security.vault import Vault
from service.store import Store
from service.store.collection import Session

_TWICE = "Is given twice."
_UNIQUE = {
    "_id": "userId",
    "email_key": "email",
    "username_key": "username",
    "external_id": "externalId",
}
"""The unique fields of users, and what they are called on the wire."""

Problems = dict[str, dict[str, list[str]]]
"""What is wrong, by the item's place and its field."""


def scope_of(kind: BulkKind) -> str:
    """Return the scope that this takes, which is that of the single request."""
    return "users:write" if kind == BulkKind.CREATE_USERS else "instances:write"


def begin(store: Store, vault: Vault, order: BulkOrder, *, by: Key, origin: Origin) -> Operation:
    """Take on a bulk operation for a key; answer its operation.

    `store` is what the key may see, and `by` the key, narrowed to the user for whom it acts.
    Passwords of new users are encrypted until a worker hashes them, which takes too long for a
    request. Raises Forbidden, NoSecretKey, and one InvalidInput for all items that are known to be
    wrong: nothing is stored then. A repeat of what an earlier request did answers the operation
    that this made.
    """
    if origin.claim is not None and origin.claim.made is not None:
        return store.operations.get(origin.claim.made["operation"])
    rights.require(by, scope_of(order["kind"]), acts_for=origin.acts_for)
    if order["kind"] == BulkKind.CREATE_USERS:
        items = _take_users(store, vault, order["users"])
    else:
        items = _take_instances(store, order["instances"], keep_s=order.get("keep_s"))
    operation = new_bulk_operation(order["kind"], items, origin=origin)

    def write(session: Session) -> None:
        store.operations.add(operation, session=session)
        store.idempotency.mark(origin.claim, {"operation": operation["_id"]}, session=session)

    store.transaction(write)
    return operation


def _take_instances(store: Store, references: list[str], *, keep_s: float | None) -> list[BulkItem]:
    known = {}
    for instance in store.instances.list_references(references):
        known[instance["_id"]] = instance
        if instance["container_id"] is not None:
            known.setdefault(instance["container_id"], instance)
    problems: Problems = {}
    seen = set()
    for place, reference in enumerate(references):
        if reference not in known:
            problems[str(place)] = {"id": [f"There is no instance {reference!r}."]}
        elif known[reference]["_id"] in seen:
            problems[str(place)] = {"id": [_TWICE]}
        else:
            seen.add(known[reference]["_id"])
    _refuse(problems)
    return [
        new_bulk_item(known[reference]["_id"], node_id=known[reference]["node_id"], keep_s=keep_s)
        for reference in references
    ]


def _take_users(store: Store, vault: Vault, orders: list[NewUser]) -> list[BulkItem]:
    taken: dict[str, set[str]] = {name: set() for name in _UNIQUE}
    keys = [_list_keys(order) for order in orders]
    wanted = {name: [each[name] for each in keys if name in each] for name in _UNIQUE}
    for user in store.users.list_taken({name: some for name, some in wanted.items() if some}):
        for name, value in _only_unique(user):
            taken[name].add(value)
    problems: Problems = {}
    seen: dict[str, set[str]] = {name: set() for name in _UNIQUE}
    for place, (order, unique) in enumerate(zip(orders, keys, strict=True)):
        wrong = {}
        for name, value in unique.items():
            if value in taken[name] or value in seen[name]:
                reason = "Taken already." if value in taken[name] else _TWICE
                wrong[_UNIQUE[name]] = [reason]
            seen[name].add(value)
        try:
            users.check_length(order["password"], users.MIN_PASSWORD_LENGTH)
        except InvalidInput as exc:
            wrong |= cast("dict[str, list[str]]", exc.details)
        if wrong:
            problems[str(place)] = wrong
    _refuse(problems)
    return [
        new_bulk_item(order["user_id"] or users.make_id(), user=_seal(order, vault))
        for order in orders
    ]


def _list_keys(order: NewUser) -> dict[str, str]:
    """List what no two users have in common, as it is stored."""
    keys = {
        "_id": order["user_id"],
        "email_key": order["email"].casefold(),
        "username_key": order["username"].casefold(),
        "external_id": order.get("external_id"),
    }
    return {name: value for name, value in keys.items() if value is not None}


def _only_unique(user: User) -> Iterator[tuple[str, str]]:
    fields = cast("Mapping[str, Any]", user)
    return ((name, fields[name]) for name in _UNIQUE if name in fields)


def _seal(order: NewUser, vault: Vault) -> SealedUser:
    return SealedUser(
        username=order["username"],
        email=order["email"],
        password=vault.seal(order["password"]),
        admin=order["admin"],
        quota=order.get("quota"),
        external_id=order.get("external_id"),
        labels=order.get("labels"),
    )


def _refuse(problems: Problems) -> None:
    if problems:
        raise InvalidInput(f"Some items are not valid: {', '.join(problems)}.", items=problems)
