"""The statuses of a node's drain, the moves between them, and when what is stuck is tried again."""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # whose fields are of the kinds below
    from service.model.documents import Drain

LEAST_AT_ONCE, DEFAULT_AT_ONCE, MOST_AT_ONCE = 1, 2, 10
"""How many instances of a node may be on their way at a time."""

MOST_STUCK = 5000
"""How many instances may be stuck before nothing more is tried: what is known of each is kept."""

UNDO_ATTEMPTS = 5
"""How often it is tried to move an instance back, before it is left where it is."""

_FIRST_DELAY_S, _MOST_DELAY_S = 5.0, 60.0


class DrainStatus(StrEnum):
    """Where the drain of a node is."""

    RUNNING = "running"
    BLOCKED = "blocked"  # only instances are left that cannot be moved; they are tried again
    PAUSED = "paused"
    DONE = "done"  # the node is empty, and gets no instances
    UNDOING = "undoing"  # what is on its way arrives
    UNDONE = "undone"


class WaitingFor(StrEnum):
    """What a drain waits for that it cannot hasten."""

    NODE = "node_offline"
    OPERATIONS = "operations"  # on the node: instances that are being installed or deleted
    KEPT = "kept_instances"  # deleted ones, with their files: until they are restored or purged


DRAINS = frozenset({DrainStatus.RUNNING, DrainStatus.BLOCKED})
"""The statuses in which instances are moved away."""

HOLDS = DRAINS | {DrainStatus.PAUSED}
"""Those in which the node is kept from getting instances."""

ACTIVE = HOLDS | {DrainStatus.UNDOING}
"""Those that a worker attends to: also what is paused has instances that arrive."""

DRAIN_MOVES: Mapping[DrainStatus, frozenset[DrainStatus]] = {
    DrainStatus.RUNNING: frozenset(
        {DrainStatus.BLOCKED, DrainStatus.PAUSED, DrainStatus.DONE, DrainStatus.UNDOING}
    ),
    DrainStatus.BLOCKED: frozenset(
        {DrainStatus.RUNNING, DrainStatus.PAUSED, DrainStatus.DONE, DrainStatus.UNDOING}
    ),
    DrainStatus.PAUSED: frozenset({DrainStatus.RUNNING, DrainStatus.UNDOING}),
    # A new drain of the node begins at RUNNING, with a document of its own.
    DrainStatus.DONE: frozenset({DrainStatus.UNDOING}),
    DrainStatus.UNDOING: frozenset({DrainStatus.RUNNING, DrainStatus.UNDONE}),
    DrainStatus.UNDONE: frozenset({DrainStatus.UNDOING}),
}


ENDS = frozenset({DrainStatus.DONE, DrainStatus.UNDONE})


def judge(drain: "Drain", there: Collection[str], *, is_clean: bool) -> DrainStatus:
    """Return the status of a drain whose node has the instances of these ids now.

    `is_clean`: nothing is on its way to the node, no deleted instance is kept there, and none of
    its operations is open, such as removes what instances left there.
    """
    if drain["status"] == DrainStatus.UNDOING:
        over = not drain["moving"] and not list_to_return(drain)
        return DrainStatus.UNDONE if over else DrainStatus.UNDOING
    if drain["status"] not in DRAINS:
        return drain["status"]
    if drain["moving"]:
        return DrainStatus.RUNNING
    if not there:
        return DrainStatus.DONE if is_clean else DrainStatus.RUNNING
    is_stuck = all(instance_id in drain["stuck"] for instance_id in there)
    return DrainStatus.BLOCKED if is_stuck else DrainStatus.RUNNING


def list_to_return(drain: "Drain") -> list[str]:
    """List the instances that an undo is still to move back, those not yet tried first."""
    if not drain["move_back"]:
        return []
    tried = {name: stuck["attempts"] for name, stuck in drain["stuck"].items()}
    left = [name for name in drain["moved"] if tried.get(name, 0) < UNDO_ATTEMPTS]
    return sorted(left, key=lambda name: (tried.get(name, 0), name))


def retry_delay_s(attempts: int) -> float:
    """Return how long what is stuck waits after so many attempts: 5, 10, 20 ... 60 seconds."""
    return min(_MOST_DELAY_S, _FIRST_DELAY_S * 2.0 ** min(attempts - 1, 10))
