"""Which events there are, and which of them a change of a document is.

Every field of a document belongs to an event, unless it is named here as one that tells nobody
anything: what workers keep for themselves, and times that are seen at the next event.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from service.model.drains import DrainStatus
from service.model.lifecycle import InstanceState, NodeStatus, NotReady, OperationStatus
from service.model.webhooks import TEST

GAP = "log.gap"

_CREATED = "was made."
_UPDATED = "has other values than before."
_DELETED = "is gone; `resource` is what it was."

_STATES = [state for state in InstanceState if state != InstanceState.DELETED]
"""Those that a document becomes. One that is DELETED is gone, for all who follow."""

TYPES: Mapping[str, str] = {
    "instance.created": f"An instance {_CREATED}",
    "instance.restored": "The deletion of an instance was undone.",
    **{
        f"instance.{state.lower()}": f"An instance's `InternalState` is {state} now."
        for state in _STATES
    },
    "instance.power": "An instance's container was seen to run, to have stopped, not at all, or "
    "to run again: `restarts` and `startedAt` say so, `exitCode` and `oomKilled` why.",
    "instance.phase": "An instance's `phase` is another: its program starts, is ready, or ended.",
    "instance.not_ready": "An instance's program is not ready: `notReadyReason` says why.",
    "instance.suspended": "An instance was suspended: its container is to be stopped.",
    "instance.unsuspended": "An instance was unsuspended.",
    "instance.updated": f"An instance {_UPDATED}",
    "instance.deleted": f"An instance {_DELETED} It may be kept, and restored later.",
    "operation.created": "An operation was taken on.",
    **{
        f"operation.{status}": f"An operation's `status` is `{status}` now."
        for status in OperationStatus
    },
    "operation.step": "An operation began or ended a step, or is further in one.",
    "operation.updated": f"An operation {_UPDATED}",
    "node.created": f"A node {_CREATED}",
    **{f"node.{status.lower()}": f"A node's `status` is {status} now." for status in NodeStatus},
    **{f"node.drain_{status}": f"The drain of a node is {status} now." for status in DrainStatus},
    "node.allocated": "A node promised its memory, cores and disk to more or fewer instances.",
    "node.updated": f"A node {_UPDATED}",
    "node.deleted": f"A node {_DELETED}",
    "user.created": f"A user {_CREATED}",
    "user.suspended": "A user was suspended: the user's instances are to be stopped.",
    "user.unsuspended": "A user was unsuspended.",
    "user.updated": f"A user {_UPDATED}",
    "user.deleted": f"A user {_DELETED}",
    "image.created": f"An image {_CREATED}",
    "image.updated": f"An image {_UPDATED}",
    "image.deleted": f"An image {_DELETED}",
    "key.created": f"An API key {_CREATED}",
    "key.rotated": "An API key has another value.",
    "key.updated": f"An API key {_UPDATED}",
    "key.deleted": "An API key was revoked; `resource` is what it was.",
    "webhook.created": f"A webhook {_CREATED}",
    "webhook.disabled": "Nothing is sent to a webhook any more; `disabled` of `resource` says why.",
    "webhook.enabled": "A webhook is sent what happens again.",
    "webhook.rotated": "A webhook has another secret.",
    "webhook.updated": f"A webhook {_UPDATED}",
    "webhook.deleted": f"A webhook {_DELETED}",
    TEST: "Nothing happened: a client tests a webhook. Only that webhook is told.",
    GAP: "Events may be missing before this one: read again what you show.",
}
"""Every type of event, with a sentence."""

KINDS: Mapping[str, str] = {
    "instances": "instance",
    "operations": "operation",
    "nodes": "node",
    "users": "user",
    "images": "image",
    "keys": "key",
    "webhooks": "webhook",
}
"""The collections whose changes are events, with the kind of their documents."""

_EVERYWHERE = frozenset({"revision", "observations", "changed_by", "updated_at"})


@dataclass(frozen=True, slots=True)
class _Rules:
    """What the changes of one kind of document are."""

    by_value: Mapping[str, Mapping[Any, str]]
    """Fields whose value is an event by itself, each with the types by value."""

    by_field: Mapping[str, str]
    """Fields that have a type, whatever their value."""

    beside: frozenset[str] = frozenset()
    """Fields that are written beside others, and are news only alone."""

    silent: frozenset[str] = frozenset()
    """Fields whose change is no event."""


_RULES: Mapping[str, _Rules] = {
    "instance": _Rules(
        by_value={
            "state": {state.value: f"instance.{state.lower()}" for state in _STATES},
            "suspended": {True: "instance.suspended", False: "instance.unsuspended"},
            "not_ready": dict.fromkeys((NotReady.TIMEOUT, NotReady.EXITED), "instance.not_ready"),
        },
        by_field={
            **dict.fromkeys(("power", "restarts", "started_at"), "instance.power"),
            **dict.fromkeys(("phase", "ready_at"), "instance.phase"),
        },
        beside=frozenset(
            {
                "error",
                "container_id",
                "node_env",
                "exit_code",
                "oom_killed",
                "not_ready",
                "before_suspension",
            }
        ),
        silent=frozenset({"ready_by"}),
    ),
    "operation": _Rules(
        by_value={"status": {status.value: f"operation.{status}" for status in OperationStatus}},
        by_field={"steps": "operation.step"},
        beside=frozenset({"error", "attempts", "next_attempt_at", "ended_at"}),
        silent=frozenset({"lease", "claimed_at", "expires_at", "replacement", "container_id"}),
    ),
    "node": _Rules(
        by_value={
            "status": {status.value: f"node.{status.lower()}" for status in NodeStatus},
            "drain": {status.value: f"node.drain_{status}" for status in DrainStatus},
        },
        by_field={"allocated": "node.allocated"},
        beside=frozenset({"probe_error", "report", "unanswered"}),
        silent=frozenset({"probed_at", "probing", "last_seen_at", "deploying", "image_deletions"}),
    ),
    "user": _Rules(
        by_value={"suspended": {True: "user.suspended", False: "user.unsuspended"}},
        by_field={},
        silent=frozenset({"deployed_at", "keys_made", "used", "aligning"}),
    ),
    "image": _Rules({}, {}, silent=frozenset({"deleting_at"})),
    "key": _Rules(
        {},
        {"digest": "key.rotated"},
        beside=frozenset({"prefix", "retiring", "spent"}),
        silent=frozenset({"last_used_at", "delegations"}),
    ),
    "webhook": _Rules(
        by_value={"enabled": {True: "webhook.enabled", False: "webhook.disabled"}},
        by_field={"retiring": "webhook.rotated"},
        beside=frozenset({"disabled"}),
        silent=frozenset({"secret"}),  # changes with `retiring`, or is only encrypted anew
    ),
}

SILENT: Mapping[str, frozenset[str]] = {
    kind: rules.silent | _EVERYWHERE for kind, rules in _RULES.items()
}
"""The fields, by kind, whose changes are no event."""


def name_update(kind: str, values: Mapping[str, Any], removed: Collection[str] = ()) -> list[str]:
    """Name the events that a change of a document is: none, one, or several.

    `values` has what the changed fields are now, by their paths, like `steps.0.ended_at`; `removed`
    the paths of those that are gone.
    """
    rules = _RULES[kind]
    changed = {path.partition(".")[0] for path in (*values, *removed)} - SILENT[kind]
    by_value = {
        field: types[values[field]]
        for field, types in rules.by_value.items()
        if field in changed and values.get(field) in types
    }
    by_field = {field: name for field, name in rules.by_field.items() if field in changed}
    named = list(dict.fromkeys([*by_value.values(), *by_field.values()]))
    rest = changed - by_value.keys() - by_field.keys()
    if rest - rules.beside or (rest and not named):
        named.append(f"{kind}.updated")
    return named


def kinds_of(types: Iterable[str]) -> set[str]:
    """List the kinds of documents that events of these types are about."""
    return {type_.partition(".")[0] for type_ in types}
