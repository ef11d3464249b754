"""The states of instances, nodes and operations, and the moves between them that are allowed."""

from collections.abc import Mapping
from enum import StrEnum


class InstanceState(StrEnum):
    """Where an instance is in its life. DELETING is left only by removal.

    DELETED ones are apart from all others, in a collection of their own: store/deleted.py.
    """

    INSTALLING = "INSTALLING"
    READY = "READY"
    FAILED = "FAILED"
    DELETED = "DELETED"  # and kept, so that it can be restored
    DELETING = "DELETING"


class Power(StrEnum):
    """What was last seen of an instance's container."""

    RUNNING = "running"
    STOPPED = "stopped"
    UNKNOWN = "unknown"


class Phase(StrEnum):
    """How far the program of a container that runs is."""

    STARTING = "starting"
    READY = "ready"


class NotReady(StrEnum):
    """Why a program never became ready, at its last start."""

    TIMEOUT = "timeout"  # it was not in the time that its image gives it
    EXITED = "exited"  # it ended by itself before
    STOPPED = "stopped"  # it was stopped before


class PowerAction(StrEnum):
    """What a driver can be asked to do to a container."""

    START = "start"
    STOP = "stop"
    KILL = "kill"


class NodeStatus(StrEnum):
    """What the last probe of a node found. Unconfigured: it was never enrolled, so never probed."""

    UNCONFIGURED = "Unconfigured"
    ONLINE = "Online"
    OFFLINE = "Offline"


class OperationKind(StrEnum):
    """What must be done to an instance on its node."""

    DEPLOY = "deploy"
    DELETE = "delete"
    KEEP = "keep"  # the container of what is DELETED is stopped, and stays
    SUSPEND = "suspend"
    UNSUSPEND = "unsuspend"
    START = "start"
    STOP = "stop"
    RESTART = "restart"
    KILL = "kill"
    REMOVE = "remove"  # what is left on the node of an instance that is forgotten
    UPDATE = "update"  # the container is made anew with other settings; the volume stays
    REINSTALL = "reinstall"  # the same, and the image is installed as at a deploy
    TRANSFER = "transfer"  # to another node, with its files
    BULK = "bulk"  # many items, each by an operation of its own or by none; it is on no node


class BulkKind(StrEnum):
    """What a bulk operation does to each of its items."""

    SUSPEND = "suspend"
    UNSUSPEND = "unsuspend"
    START = "start"
    STOP = "stop"
    RESTART = "restart"
    KILL = "kill"
    REINSTALL = "reinstall"
    DELETE = "delete"
    CREATE_USERS = "create_users"


REPLACING = frozenset({OperationKind.UPDATE, OperationKind.REINSTALL})
"""The kinds that replace a container. One that fails makes again what was there before."""


GOES_WITH: Mapping[OperationKind, InstanceState] = {
    OperationKind.DELETE: InstanceState.DELETING,
    OperationKind.KEEP: InstanceState.DELETED,
}
"""The kinds for instances that are deleted, with the only state in which each is wanted."""


class Lane(StrEnum):
    """What an operation waits in line with on its node."""

    DEPLOY = "deploy"
    SHORT = "short"  # everything else: no stop and no deletion waits for pulls


ALL_BUT_DELETE = tuple(kind for kind in OperationKind if kind != OperationKind.DELETE)
"""The kinds that a newer wish for an instance supersedes."""

REMAKING = REPLACING | {OperationKind.TRANSFER}
"""The kinds that make a container of an instance that has one, and bring its power in line at their
end. One that fails undoes itself."""

PULLING = REMAKING | {OperationKind.DEPLOY}
"""The kinds that may have to fetch an image."""


def lane_of(kind: str) -> Lane:
    """Return the lane of an operation's kind."""
    return Lane.DEPLOY if kind in PULLING else Lane.SHORT


class OperationStatus(StrEnum):
    """Where an operation is. All but pending and running are ends."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SUPERSEDED = "superseded"  # something newer was wanted
    CANCELLED = "cancelled"


class Outcome(StrEnum):
    """How a change ended, for the audit log."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


_GOING = frozenset({InstanceState.DELETED, InstanceState.DELETING})

INSTANCE_MOVES: Mapping[InstanceState, frozenset[InstanceState]] = {
    InstanceState.INSTALLING: frozenset({InstanceState.READY, InstanceState.FAILED, *_GOING}),
    # Back to INSTALLING: its container is made anew.
    InstanceState.READY: frozenset({InstanceState.INSTALLING, *_GOING}),
    InstanceState.FAILED: frozenset({InstanceState.INSTALLING, *_GOING}),
    # Restored: FAILED if it was not installed to its end.
    InstanceState.DELETED: frozenset(
        {InstanceState.READY, InstanceState.FAILED, InstanceState.DELETING}
    ),
    InstanceState.DELETING: frozenset(),
}

OPERATION_MOVES: Mapping[OperationStatus, frozenset[OperationStatus]] = {
    OperationStatus.PENDING: frozenset(
        {OperationStatus.RUNNING, OperationStatus.SUPERSEDED, OperationStatus.CANCELLED}
    ),
    OperationStatus.RUNNING: frozenset(
        {
            OperationStatus.RUNNING,  # another worker takes over when a lease has run out
            OperationStatus.PENDING,  # rescheduled: the node gave no answer
            OperationStatus.SUCCEEDED,
            OperationStatus.FAILED,
            OperationStatus.SUPERSEDED,
            OperationStatus.CANCELLED,
        }
    ),
    OperationStatus.SUCCEEDED: frozenset(),
    OperationStatus.FAILED: frozenset(),
    OperationStatus.SUPERSEDED: frozenset(),
    OperationStatus.CANCELLED: frozenset(),
}

OPEN = frozenset(status for status, moves in OPERATION_MOVES.items() if moves)
"""The statuses of an operation that is still to be done."""

ENDED = frozenset(OPERATION_MOVES) - OPEN
"""The statuses that an operation never leaves."""


def is_done_in(kind: OperationKind, state: InstanceState) -> bool:
    """Return whether this kind of operation is done to an instance in this state."""
    if state in GOES_WITH.values():
        return GOES_WITH.get(kind) == state
    return kind not in GOES_WITH


def instance_states_before(after: InstanceState) -> list[InstanceState]:
    """List the states from which an instance may move to `after`."""
    return [before for before, moves in INSTANCE_MOVES.items() if after in moves]
