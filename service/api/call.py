"""The state of one request, from its beginning to its answer."""

import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from flask import Request, g

from service import keys
from service.api.context import Context, now
from service.api.policy import EndpointPolicy
from service.contract import dry_run
from service.errors import Unauthorized
from service.model.documents import AuditEntry, Cause, Key, Ticket, User
from service.model.origin import Claim, Origin
from service.store import CALL_TIMEOUT_S, Store
from service.store.cause import set_cause

REST_S = 3.0
"""How long the database may take, at least, for what is left of a request that has waited."""


class Rate(NamedTuple):
    """A limit of requests: how many are left, and in how many seconds it begins anew."""

    limit: int
    remaining: int
    reset_s: int


@dataclass(slots=True)
class Call:
    """What the steps of the pipeline and the views know of a request."""

    ctx: Context
    request: Request
    """Itself: `flask.request` looks for it anew each time."""

    request_id: str
    policy: EndpointPolicy
    store: Store
    """The store, or the part of it that the key may see."""

    network: str
    """The address that it comes from; of IPv6, the network of /64."""

    began_at: float = field(default_factory=time.perf_counter)
    key: Key | None = None
    """Whose request it is, once that is known."""

    digest: str | None = None
    """Of the key's value that was sent."""

    ticket: Ticket | None = None
    """What the request bears instead of a key."""

    rights: Key | None = None
    """The key as far as it may be used: narrowed to what the user may for whom it acts."""

    user: User | None = None
    """For whom the key acts, if it does."""

    rate: Rate | None = None
    """The limit that is nearest."""

    error_code: str | None = None

    claim: Claim | None = None
    """Of a request that bears an `Idempotency-Key`."""

    shows_secret: bool = False
    """Whether the answer has a secret, which nobody may see again."""

    reads_accept: bool = False
    """Whether the answer depends on what the client accepts."""

    # For the audit log.
    entry: AuditEntry | None = None
    """The entry of the change that is tried."""

    target_id: str | None = None
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    facts: dict[str, object] = field(default_factory=dict)
    was_rejected: bool = False
    """Whether it was rejected although the status of its answer does not say so."""

    _bound: ExitStack = field(default_factory=ExitStack)

    @property
    def key_id(self) -> str | None:
        """Return the id of the key, once that is known."""
        return None if self.key is None else self.key["_id"]

    @property
    def acts_for(self) -> str | None:
        """Return the id of the user for whom the key acts, if it does."""
        return None if self.user is None else self.user["_id"]

    @property
    def is_dry(self) -> bool:
        """Return whether the request is only tried, so that nothing is stored of it."""
        return self.policy.can_be_dry and dry_run.is_dry(self.request.args.get(dry_run.NAME))

    @property
    def spent_s(self) -> float:
        """Return for how many seconds the request has been worked on."""
        return time.perf_counter() - self.began_at

    def begin_cause(self) -> None:
        """Say whose request causes what is written, for its events, until `end_cause`."""
        set_cause(Cause(key_id=self.key_id, request_id=self.request_id))

    def end_cause(self) -> None:
        """Say that nobody causes what is written."""
        set_cause(None)

    def begin_bound(self, timeout_s: float = CALL_TIMEOUT_S) -> None:
        """Bound the time that the database may take for the request, until `end_bound`."""
        self._bound.enter_context(self.store.bounded(timeout_s))

    def bound_rest(self) -> None:
        """Bound what is left of a request that has waited: it does not wait as long again."""
        self.begin_bound(max(REST_S, CALL_TIMEOUT_S - self.spent_s))

    def end_bound(self) -> None:
        """Let each call of the database take its own time, such as while waiting for a node."""
        self._bound.close()


def current_call() -> Call:
    """Return the current request's state."""
    return cast("Call", g.call)


def caller() -> Key:
    """Return the current request's key, narrowed to what the user may for whom it acts.

    Only for endpoints that need one, like the next.
    """
    return _require(current_call().rights)


def own_key() -> Key:
    """Return the current request's key as it is, whomever it acts for."""
    return _require(current_call().key)


def is_owner() -> bool:
    """Return whether the current request's key is for somebody who owns instances."""
    return keys.access_of(caller()).is_of_owner


def store() -> Store:
    """Return what the current request's key may see of the store."""
    return current_call().store


def origin() -> Origin:
    """Return when, by whom and in which request a change is asked for."""
    call = current_call()
    return Origin(now(), caller()["_id"], call.request_id, call.claim, call.acts_for)


def claim() -> Claim | None:
    """Return the current request's claim, if it bears an `Idempotency-Key`."""
    return current_call().claim


def _require(key: Key | None) -> Key:
    if key is None:
        raise Unauthorized("This needs an API key.")
    return key
