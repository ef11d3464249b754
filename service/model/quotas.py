"""What a user's instances may be promised, and what they are (pure)."""

from collections.abc import Mapping
from typing import NamedTuple, cast

from service.model.documents import (
    Amounts,
    Instance,
    Quota,
    QuotaChanges,
    User,
    new_amounts,
    new_quota,
)
from service.model.replacements import held_by


class Measure(NamedTuple):
    """How an amount is shown to clients."""

    name: str
    noun: str
    per_unit: int = 1  # how many of what is counted are one of what is shown
    unit: str = ""

    def show(self, amount: int) -> int | float:
        """Return the amount in the unit of clients, whole where it is."""
        whole, rest = divmod(amount, self.per_unit)
        return amount / self.per_unit if rest else whole


class Measured(NamedTuple):
    """What a user's instances used together when each was sampled last."""

    instances: int  # how many were sampled; what others use is not known
    cpu_milli: int
    memory_bytes: int
    disk_bytes: int


class UserUsage(NamedTuple):
    """A user, and what the user's instances use; None: that is not added up."""

    user: User
    measured: Measured | None


MEASURES: Mapping[str, Measure] = {
    "instances": Measure("instances", "instances"),
    "memory_mib": Measure("memory", "memory", unit=" MiB"),
    "cpu_milli": Measure("cpu", "cores", per_unit=1000),
    "disk_mb": Measure("disk", "disk", per_unit=1000, unit=" GB"),
    "ports": Measure("ports", "host ports"),
}
"""What is counted, by its field in Amounts and Quota, in the order in which it is shown."""


def amounts_of(instance: Instance) -> Amounts:
    """Return what is promised to an instance now, also for changes that are open."""
    held = held_by(instance)
    return Amounts(
        instances=1,
        memory_mib=held["memory_mib"],
        cpu_milli=held["cpu_milli"],
        disk_mb=round((instance["disk_gb"] or 0) * 1000),
        ports=len(instance["ports"]),
    )


def subtract(amounts: Amounts, less: Amounts) -> Amounts:
    """Return the difference, which may be negative."""
    return cast("Amounts", {name: _of(amounts, name) - _of(less, name) for name in MEASURES})


def quota_of(user: User) -> Quota:
    """Return the user's limits, none for documents of earlier versions."""
    return user.get("quota") or new_quota()


def used_of(user: User) -> Amounts:
    """Return what the user's instances are promised."""
    return user.get("used") or new_amounts()


def merge(quota: Quota, changes: QuotaChanges | None) -> Quota:
    """Change what is named of a quota; None takes a limit away, or all of them."""
    return new_quota() if changes is None else cast("Quota", {**quota, **changes})


def find_exceeded(user: User, more: Amounts) -> dict[str, dict[str, int | float]]:
    """Return the numbers of each limit that so much more would pass, as clients are shown them."""
    used = used_of(user)
    return {
        measure.name: {
            "requested": measure.show(_of(more, name)),
            "used": measure.show(_of(used, name)),
            "limit": measure.show(limit),
        }
        for name, measure in MEASURES.items()
        if _of(more, name) > 0
        and (limit := _limit(user, name)) is not None
        and _of(used, name) + _of(more, name) > limit
    }


def list_warnings(user: User) -> list[str]:
    """Say in sentences which limits of the quota are exceeded."""
    used = used_of(user)
    return [
        f"The quota of {measure.noun} is exceeded: "
        f"{measure.show(_of(used, name))} of {measure.show(limit)}{measure.unit}."
        for name, measure in MEASURES.items()
        if (limit := _limit(user, name)) is not None and _of(used, name) > limit
    ]


def _of(amounts: Amounts, name: str) -> int:
    return cast("Mapping[str, int]", amounts)[name]


def _limit(user: User, name: str) -> int | None:
    return cast("Mapping[str, int | None]", quota_of(user))[name]
