"""Every code that an error can have: what it means, and what to do about it.

The codes of our own errors, with their statuses, are those of service/errors.py. docs/errors.md and
the page /docs/errors are made from this; so is what RFC 9457 asks an error to say of itself. The
words are Markdown, with links as in docs/.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from service.errors import NotFound, ServiceError


class Entry(NamedTuple):
    """A code: what it means, and what to do."""

    status: int
    code: str
    title: str
    remedy: str


_OURS = {
    "invalid_input": (
        "The request is malformed or contradicts itself.",
        "Correct the fields in `details`.",
    ),
    "user_not_found": (
        "There is no such user.",
        "Check the id; create the user first.",
    ),
    "instance_not_found": (
        "There is no such instance, or it is being deleted and cannot be suspended.",
        "Check the id. After a delete, take it for done.",
    ),
    "image_not_found": (
        "The catalogue has no such image.",
        "`GET /api/images` has the catalogue; `POST /api/images` adds to it.",
    ),
    "node_not_found": (
        "There is no such node.",
        "`GET /api/nodes` lists the nodes.",
    ),
    "key_not_found": (
        "There is no such key, or it may do more than yours.",
        "`GET /api/keys` lists the keys that yours can change.",
    ),
    "webhook_not_found": (
        "There is no such webhook, or it is another key's.",
        "`GET /api/webhooks` lists yours.",
    ),
    "delivery_not_found": (
        "There is no such delivery of the webhook, or it is forgotten.",
        "`GET /api/webhooks/{id}/deliveries` lists those that are kept.",
    ),
    "drain_not_found": (
        "The node was never [drained](draining.md).",
        "`POST /api/nodes/{id}/drain` starts a drain.",
    ),
    "operation_not_found": (
        "There is no such operation, or it ended long ago.",
        "Ask for the instance instead.",
    ),
    "ambiguous_name": (
        "Several things have the name that was given: `details` has their ids.",
        "Give one of the ids.",
    ),
    "node_not_empty": (
        "The node still has instances, so it stays; also deleted ones that are kept.",
        "Delete the instances first; `?force=true` forgets a node that is [gone for "
        "good](nodes.md#a-node-that-is-gone-for-good).",
    ),
    "not_supported": (
        "The node's driver cannot do what is asked; the fields are in `details`.",
        "Leave it out, or use a node of another driver.",
    ),
    "unauthorized": (
        "The key is missing, unknown, revoked or expired.",
        "Send a valid key in `x-api-key`.",
    ),
    "forbidden": (
        "The key is valid and lacks a right: `details` has the `scope`.",
        "Use a key with that [scope](api.md#authentication).",
    ),
    "conflict": (
        "The user's id, name or e-mail address is taken, in any letter case; or an `externalId`, "
        "or the image's name.",
        "Choose another, or look the user up with `getUser`.",
    ),
    "node_exists": (
        "Another node, which `details` names, is of the same engine.",
        "Use that node, or see `allowSameEngine` in [Nodes](api.md#nodes).",
    ),
    "different_engine": (
        "Another engine than the node's answers at its new address.",
        "Correct the address, or add that engine as a node of its own.",
    ),
    "user_not_empty": (
        "The user still owns instances, if only deleted ones that are kept; `details` has their "
        "number.",
        "Delete the instances first, those that are kept with `keep=0`.",
    ),
    "not_cleared": (
        "What the instance left on that node, when it was there before, is still to be removed.",
        "Wait until it is, or choose another node.",
    ),
    "not_restorable": (
        "The instance is not deleted, or is being purged: `details` has its `state`.",
        "Read the instance. What is `DELETING` is gone soon.",
    ),
    "image_in_use": (
        "Instances were made of the image, if only deleted ones that are kept; `details` has their "
        "number.",
        "Delete the instances first, those that are kept with `keep=0`.",
    ),
    "too_many_keys": (
        "A limited key, with those that it made, has made as many keys as it may (100).",
        "Revoke one of them.",
    ),
    "too_many_webhooks": (
        "There are 50 webhooks of the key and of those that it made, or 1000 in all.",
        "Delete one of them.",
    ),
    "webhook_disabled": (
        "Nothing is sent to the webhook; `details` says why.",
        "[Enable it](webhooks.md#when-a-receiver-fails) first, or make another one.",
    ),
    "port_taken": (
        "Another instance of the node holds a host port.",
        "Choose another port. `details` has the `instanceId` that holds it, if your key may see "
        "that instance.",
    ),
    "no_ports": (
        "The node has not as many free host ports as were asked for with `auto`.",
        "Use another node, or widen its `portRange`; `details` has both.",
    ),
    "maintenance": (
        "The node gets no more instances for now: its `schedulable` is false.",
        "Use another node, or wait until its operator allows it again.",
    ),
    "no_node_fits": (
        "No node was named, and none can get the instance: `details` has the `reasons` with the "
        "number of nodes, and `nodes` with theirs, at most 20.",
        "Ask for less, widen the `placement`, or add a node: see "
        "[Placement](placement.md#where-none-fits).",
    ),
    "capacity_exceeded": (
        "The node has not enough memory, cores or disk left, or as many instances as it may; "
        "the numbers are in `details`.",
        "Ask for less, use another node, or see [Capacity](api.md#capacity).",
    ),
    "quota_exceeded": (
        "The user's instances would be promised more than the user's quota allows; `details` has "
        "what was `requested`, is `used`, and the `limit`.",
        "Ask for less, delete something of the user's, or raise the [quota](api.md#quotas).",
    ),
    "user_suspended": (
        "The user is suspended, so none of the user's instances may run.",
        "Unsuspend the user: see [Suspended users](api.md#suspended-users).",
    ),
    "instance_not_ready": (
        "The instance is being installed, failed, or (for a line) does not run or read.",
        "Wait for `READY`, or start it; retry the operation of one that is `FAILED`.",
    ),
    "instance_suspended": (
        "The instance is suspended, so it may not start.",
        "Unsuspend it.",
    ),
    "wrong_status": (
        "The operation has passed that stage, or its kind does not allow this.",
        "Look at the operation's `status`.",
    ),
    "idempotency_in_progress": (
        "A request with this `Idempotency-Key` is being carried out.",
        "Repeat it after `Retry-After`.",
    ),
    "already_done": (
        "An earlier request with this `Idempotency-Key` did it, and its answer cannot be given "
        "again.",
        "`details` has the ids of what it made.",
    ),
    "cursor_too_old": (
        "Events after the one in `after` are forgotten already.",
        "Read again what you show, and go on after `oldest` in `details`, or without `after`.",
    ),
    "precondition_failed": (
        "It was changed since `If-Match` was its ETag; nothing was done.",
        "Read it again, and decide anew.",
    ),
    "idempotency_key_reused": (
        "The `Idempotency-Key` was sent before with another path or body.",
        "Make up a key for each request.",
    ),
    "too_many_requests": (
        "More requests or failed attempts than [allowed](api.md#limits).",
        "Wait as long as `Retry-After` says.",
    ),
    "node_offline": (
        "The node is known to be down. Nothing was stored.",
        'Use another node, wait, or deploy with `"queue": true`.',
    ),
    "node_failure": (
        "The node could not do its part.",
        "See the reason in `error`; retry the operation.",
    ),
    "node_refused": (
        "The node refused a look at it (logs, drift), and would again.",
        "See the reason in `error`.",
    ),
    "port_in_use": (
        "A program of the node has the host port; only in the error of an operation.",
        "Name another port, or `auto`: the port is left out for an hour.",
    ),
    "node_unreachable": (
        "The node did not answer such a look.",
        "Try again; `skyquay doctor` probes the node.",
    ),
    "no_secret_key": (
        "A node's key or certificates cannot be stored.",
        "Set `SKYQUAY_SECRET_KEY`.",
    ),
    "database_error": (
        "The database refused an operation.",
        "See the log by the request's id; run `skyquay doctor`.",
    ),
    "internal_error": (
        "A bug in Skyquay.",
        "See the log by the request's id, and report it.",
    ),
    "busy": (
        "As many requests as may wait for nodes are waiting, or one address or all bodies "
        "together reached [a bound](deploy.md#bounds-on-clients).",
        "Try again after `Retry-After`.",
    ),
    "not_ready": (
        "`/readyz` only: `details` has what is missing.",
        "See [Health](watch.md#health).",
    ),
    "database_unavailable": (
        "The database does not answer.",
        "Try again after `Retry-After`; see [After a crash](watch.md#after-a-crash).",
    ),
}
"""By the code, in the order of the page."""

_OF_HTTP = (
    Entry(
        404,
        "not_found",
        "There is no such path.",
        "Check the URL against `/docs/`.",
    ),
    Entry(
        405,
        "method_not_allowed",
        "The path has other methods.",
        "Use one of the header `Allow`.",
    ),
    Entry(
        408,
        "request_timeout",
        "The body took too long.",
        "Send it faster.",
    ),
    Entry(
        413,
        "request_entity_too_large",
        "The body is larger than 1 MiB. Of one of more than 4 MiB the rest is not read.",
        "Send less.",
    ),
    Entry(
        415,
        "unsupported_media_type",
        "The body is not JSON.",
        "Send `Content-Type: application/json`.",
    ),
)
"""What the framework and the server before it say."""

OF_NGINX = (
    Entry(
        400,
        "bad_request",
        "Not a valid HTTP request, or a header is too long.",
        "Correct the client.",
    ),
    Entry(
        403,
        "https_required",
        "A key was sent unencrypted although there is HTTPS.",
        "Use HTTPS, and rotate the key.",
    ),
    Entry(
        413,
        "request_entity_too_large",
        "The body is much too large, so nginx did not pass it on.",
        "Send less.",
    ),
    Entry(
        414,
        "request_uri_too_long",
        "The URL is too long.",
        "Send less in the query.",
    ),
    Entry(
        429,
        "too_many_requests",
        "One address has too many requests under way.",
        "Wait as long as `Retry-After` says.",
    ),
    Entry(
        503,
        "unavailable",
        "No process of Skyquay answers.",
        "Try again after `Retry-After`.",
    ),
)
"""What nginx says where it stands before Skyquay."""

NOT_FOUND = ("user", "instance", "image", "node", "key", "operation", "webhook", "delivery")
"""What can be looked for in vain."""


def list_codes(error: type[ServiceError] = ServiceError) -> Iterator[tuple[int, str]]:
    """List (status, code) of an error and of all below it."""
    yield error.status, error.code
    if error is NotFound:
        for what in NOT_FOUND:
            yield error.status, NotFound(what, "").code
    for child in error.__subclasses__():
        yield from list_codes(child)


def _collect() -> list[Entry]:
    statuses = {code: status for status, code in list_codes()}
    ours = [Entry(statuses[code], code, *words) for code, words in _OURS.items()]
    return sorted([*ours, *_OF_HTTP], key=lambda entry: entry.status)


CATALOGUE = _collect()
_BY_CODE = {entry.code: entry for entry in (*OF_NGINX, *CATALOGUE)}


def make_problem(
    status: int, message: str, code: str, details: dict[str, Any], *, request_id: str | None = None
) -> dict[str, Any]:
    """Make the JSON of an error: ours, and the members of RFC 9457 beside it."""
    entry = _BY_CODE.get(code)
    problem = {
        "error": message,
        "code": code,
        "details": details,
        "type": f"/docs/errors#{code}" if entry else "about:blank",
        "title": strip_markdown(entry.title) if entry else message,
        "status": status,
        "detail": message,
    }
    if request_id is not None:
        problem["instance"] = f"urn:skyquay:request:{request_id}"
    return problem


def strip_markdown(words: str) -> str:
    """Leave the text alone of what may have links and names in backticks."""
    return re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", words).replace("`", "")
