"""What tests have nodes in memory do wrong: refuse, fail, fall silent, and hold calls."""

import threading
from dataclasses import dataclass, field

from service.errors import NodeFailure, NodeRefused, NodeUnreachable

STALL_LIMIT_S = 30.0
"""How long a stalled call waits to be released before it counts as silence."""


@dataclass(slots=True)
class Faults:
    """What a node does wrong: nothing, until a test asks for it."""

    node_id: str
    _failures: list[NodeFailure] = field(default_factory=list)
    _refusal: str | None = None
    _silent: str | None = None
    _going: threading.Event = field(default_factory=threading.Event)
    _pulling: threading.Event = field(default_factory=threading.Event)
    _stalled: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.release()

    def behave(self) -> None:
        """Answer everything again, and at once."""
        self._failures.clear()
        self._refusal = self._silent = None
        self.release()

    def refuse(self, reason: str = "no") -> None:
        """Say no to everything that is asked of containers."""
        self._refusal = reason

    def silence(self, reason: str = "no answer") -> None:
        """Answer nothing, so that every call ends by its caller's timeout."""
        self._silent = reason

    def fail_times(self, times: int, reason: str = "try again") -> None:
        """Answer the next `times` calls about containers with an error of the node's own."""
        self._failures = [NodeFailure(self.node_id, reason) for _ in range(times)]

    def stall(self) -> None:
        """Hold every call, when it arrives, until `release`."""
        self._stalled.clear()
        self._going.clear()

    def hold_pulls(self) -> None:
        """Let no pull, of a node that `pulls`, come to an end before `release`."""
        self._pulling.clear()

    def await_stalled(self, timeout_s: float = 10.0) -> bool:
        """Wait until a call is held. False when none came."""
        return self._stalled.wait(timeout_s)

    def release(self) -> None:
        """Release the calls and the pulls that are held, and hold no more."""
        self._going.set()
        self._pulling.set()

    def apply(self, *, probing: bool) -> None:
        """Hold a call that arrives, or raise what it is answered with; probes are never refused."""
        if not self._going.is_set():
            self._stalled.set()
            if not self._going.wait(STALL_LIMIT_S):
                raise NodeUnreachable(self.node_id, "stalled")
        with self._lock:
            if self._silent is not None:
                raise NodeUnreachable(self.node_id, self._silent)
            if self._failures and not probing:
                raise self._failures.pop()
            if self._refusal is not None and not probing:
                raise NodeRefused(self.node_id, self._refusal)

    def await_pull(self, timeout_s: float) -> bool:
        """Wait until a pull may come to its end. False when it may not yet."""
        return self._pulling.wait(timeout_s)
