"""What was heard of instances, and when each is to be looked at.

A moment after something is heard, so that an end and the start that follows it are one. An instance
of which much is written is looked at less often, so that a program that keeps ending floods nobody.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from service.drivers.power_feed import Hint
from service.model.container import ContainerStatus
from service.model.lifecycle import Power

SETTLE_S = 0.2
"""How long after it is heard of an instance is looked at."""

AGAIN_S = 0.5
"""How long after that one is looked at again that an operation works on."""

BURST = 6
"""How many changes of an instance are written as they happen."""

CALM_S = 10.0
"""How often one more is written of an instance that had as many."""

_KILLED = 137


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard of one instance since it was looked at."""

    due: float
    """When to look, by `time.monotonic`."""
    container_id: str | None = None
    exit_code: int | None = None
    """How the last run of that container ended."""
    oom_killed: bool = False
    out_of_memory: bool = False
    """Whether a program in it was killed for its memory, since a run ended."""

    def add(self, hint: Hint) -> "Heard":
        """Hear more of it."""
        same = self if hint.container_id == self.container_id else Heard(self.due)
        out_of_memory = same.out_of_memory or hint.out_of_memory
        if hint.exit_code is None:
            return replace(same, container_id=hint.container_id, out_of_memory=out_of_memory)
        killed = out_of_memory and hint.exit_code == _KILLED
        return Heard(self.due, hint.container_id, hint.exit_code, oom_killed=killed)

    def describe_end(self, status: ContainerStatus) -> dict[str, object]:
        """Say how the run before ended of a container that was started again by itself.

        Its node does not say that any more.
        """
        again = status.power == Power.RUNNING and status.restarts
        if not again or self.exit_code is None or self.container_id != status.container_id:
            return {}
        return {"exit_code": self.exit_code, "oom_killed": self.oom_killed}


class Pending:
    """The instances of one node that are to be looked at."""

    def __init__(self) -> None:
        self._heard: dict[str, Heard] = {}
        self._writes: dict[str, tuple[float, float]] = {}
        """How many changes may still be written of an instance, as of when."""

    def add(self, hint: Hint) -> None:
        """Have an instance looked at soon."""
        name, now = hint.instance_id, time.monotonic()
        before = self._heard.get(name) or Heard(max(now + SETTLE_S, self._find_turn(name, now)))
        self._heard[name] = before.add(hint)

    def add_all(self, instance_ids: Iterable[str]) -> None:
        """Have these looked at, whatever was heard of them."""
        now = time.monotonic()
        for name in instance_ids:
            self._heard.setdefault(name, Heard(now))

    def take(self, limit: int) -> dict[str, Heard]:
        """Take up to so many that are due, those first that have waited longest."""
        now = time.monotonic()
        due = sorted((heard.due, name) for name, heard in self._heard.items() if heard.due <= now)
        return {name: self._heard.pop(name) for _, name in due[:limit]}

    def put_back(self, heard: Mapping[str, Heard]) -> None:
        """Have these looked at again in a while."""
        due = time.monotonic() + AGAIN_S
        self._heard.update({name: replace(each, due=due) for name, each in heard.items()})

    def wait_s(self, longest_s: float) -> float:
        """Return in how many seconds one is due, `longest_s` at the most."""
        first = min((heard.due for heard in self._heard.values()), default=None)
        return longest_s if first is None else min(longest_s, max(0.0, first - time.monotonic()))

    def count_write(self, instance_id: str) -> None:
        """Note that a change of an instance is written."""
        now = time.monotonic()
        self._writes = {
            name: each for name, each in self._writes.items() if self._count_left(name, now) < BURST
        }
        self._writes[instance_id] = (self._count_left(instance_id, now) - 1, now)

    def _count_left(self, instance_id: str, now: float) -> float:
        left, at = self._writes.get(instance_id, (BURST, now))
        return min(BURST, left + (now - at) / CALM_S)

    def _find_turn(self, instance_id: str, now: float) -> float:
        """Find when one more change of an instance may be written."""
        return now + max(0.0, 1 - self._count_left(instance_id, now)) * CALM_S
