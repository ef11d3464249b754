"""Requests that may be repeated: one that bears an `Idempotency-Key` is carried out once.

A record says what became of it. Whoever claims the record carries the request out, and the use case
marks it in the very transaction that makes something. So when a process dies, and its lease runs
out, the record says all that must be known: what is not marked was not done, and a repeat does it;
what is marked was done, and a repeat is answered with what was made.
"""

import hashlib
import secrets

from service.errors import AlreadyDone, IdempotencyInProgress, IdempotencyKeyReused
from service.model.documents import Instance, KeptAnswer, Operation
from service.model.origin import Claim
from service.security.vault import Vault
from service.store import Store
from service.store.collection import Session

KEEP_S = 24 * 3600.0
LEASE_S = 30.0
"""After how long a request that was cut off may be carried out by a repeat.

One that is only slow changes nothing once a repeat has taken its place.
"""


def begin(
    store: Store,
    vault: Vault,
    *,
    key_id: str,
    acts_for: str | None = None,
    idempotency_key: str,
    request: bytes,
    lease_s: float = LEASE_S,
) -> Claim | KeptAnswer:
    """Claim the request, which is to be carried out now; or find what it was answered before.

    What a key does for one user is apart from what it does for others, and for itself.
    `request` is all that a repeat must have in common with it. Raises IdempotencyKeyReused for
    another one, IdempotencyInProgress while it is carried out, and NoSecretKey.
    """
    fingerprints, token = vault.digest(request), secrets.token_hex(8)
    named = hashlib.sha256(idempotency_key.encode()).hexdigest()
    record = store.idempotency.claim(
        "/".join((key_id, *([] if acts_for is None else [acts_for]), named)),
        fingerprints,
        token=token,
        lease_s=lease_s,
        keep_s=KEEP_S,
    )
    if record["fingerprint"] not in fingerprints:
        raise IdempotencyKeyReused("This Idempotency-Key was sent with another request before.")
    if record["answer"] is not None:
        return record["answer"]
    lease = record["lease"]
    if lease is None or lease["token"] != token:
        raise IdempotencyInProgress("A request with this Idempotency-Key is being carried out.")
    return Claim(record["_id"], token, record["made"])


def refuse_repeat(claim: Claim | None) -> None:
    """Raise AlreadyDone when a request before this one did the same, and cannot be answered again.

    Whoever marks a claim calls this first, or answers what was made.
    """
    if claim is not None and claim.made is not None:
        raise AlreadyDone(claim.made)


def mark_operation(
    store: Store, claim: Claim | None, operation: Operation, *, session: Session
) -> None:
    """Write down, in its transaction, that a request made this operation."""
    made = {"instance": operation["instance_id"], "operation": operation["_id"]}
    store.idempotency.mark(claim, made, session=session)


def mark_attempt(store: Store, claim: Claim | None, instance: Instance) -> None:
    """Write down that what a request asks for is about to be done, and cannot be undone.

    From then on no repeat does it. Raises IdempotencyInProgress like a mark.
    """
    if claim is not None:
        made = {"instance": instance["_id"]}
        store.transaction(lambda session: store.idempotency.mark(claim, made, session=session))


def find_done(store: Store, claim: Claim | None) -> tuple[Instance, Operation] | None:
    """Read the operation that an earlier request made; None if there is none.

    Raises AlreadyDone when that, or its instance, is gone.
    """
    if claim is None or claim.made is None:
        return None
    instance = store.instances.find(claim.made["instance"])
    operation = store.operations.find(claim.made["operation"])
    if instance is None or operation is None:
        raise AlreadyDone(claim.made)
    return instance, operation
