"""Which node an instance is put on, where nobody names one (pure).

Nodes that fit are ranked by a score. Its whole part is minus the number of instances beside which
the new one should not be; the rest, from 0 to 1, is how well the node is off with one more.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import NamedTuple

from service.errors import Maintenance, ServiceError
from service.model.documents import Node
from service.model.lifecycle import NodeStatus
from service.model.node_warnings import is_on_trial
from service.model.ports import DEFAULT_RANGE, parse_range

AUTO = "auto"
"""Stands for whichever node fits, in any letter case. No node is called so."""


ALONE = 0.5
"""How many instances apart nodes are that count as equal."""

CROWDED = 1.5
"""The same for those who met others at the node that they chose: nodes end two apart at most."""


class Spread(StrEnum):
    """Beside whose instances a new one should not be."""

    USER = "user"
    IMAGE = "image"


class Prefer(StrEnum):
    """Which of the nodes that fit is better."""

    MOST_ROOM = "most-room"
    FEWEST_INSTANCES = "fewest-instances"


class UnfitReason(StrEnum):
    """Why a node does not get an instance."""

    EXCLUDED = "excluded"
    TAG = "tag"
    LABEL = "label"
    OFFLINE = "offline"
    MAINTENANCE = "maintenance"
    NOT_SUPPORTED = "not_supported"
    CAPACITY_EXCEEDED = "capacity_exceeded"
    NO_PORTS = "no_ports"
    PORT_TAKEN = "port_taken"
    LEFTOVERS = "leftovers"  # of the instance itself, which was there before


@dataclass(frozen=True, slots=True)
class Wish:
    """What an instance needs of its node."""

    memory_mib: int
    cpu_milli: int
    disk_mib: int = 0
    free_ports: int = 0
    """How many host ports are to be found for it."""
    host_ports: frozenset[int] = frozenset()
    """Those that it must have."""
    tags: frozenset[str] = frozenset()
    """All of which the node has, in any letter case."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """All of which the node has."""
    exclude: frozenset[str] = frozenset()
    """Ids and names of nodes that it is not to be on."""
    prefer: Prefer = Prefer.MOST_ROOM


class Unfit(NamedTuple):
    """A node that does not get the instance."""

    node: Node
    reason: UnfitReason
    message: str
    details: Mapping[str, object] = {}
    """The numbers, as errors have them."""


class Fit(NamedTuple):
    """A node that may get the instance."""

    node: Node
    score: float
    step: float
    """How much lower the score is than without the instance."""
    crowd: int
    """Beside how many instances it would be that it should not be beside."""
    tells_score: bool = True
    """False for who may not know beside how many instances, of anybody, it would be."""


class Ranking(NamedTuple):
    """Nodes for an instance."""

    fits: list[Fit]
    """Best first. Whether the free ports of a node suffice is found when they are chosen."""
    unfit: list[Unfit]


def is_auto(node_id: object) -> bool:
    """Return whether this stands for whichever node fits."""
    return isinstance(node_id, str) and node_id.casefold() == AUTO


def judge(
    node: Node, wish: Wish, *, refusal: ServiceError | None = None, crowd: int = 0
) -> Fit | Unfit:
    """Return whether the node fits, and how well.

    `refusal` is why it has no room for one more, `crowd` how many instances it has beside which
    the new one should not be.
    """
    unfit = _compare(node, wish) or _check_state(node) or _check_room(node, wish, refusal)
    if unfit is not None:
        return unfit
    before, after = _rate(node, wish, more=0), _rate(node, wish, more=1)
    return Fit(node, after - crowd, before - after, crowd)


def tags_of(node: Node) -> frozenset[str]:
    """Return a node's tags in lower case: of a list, or of a text in which commas part them."""
    given = node["tags"]
    texts = given.split(",") if isinstance(given, str) else given
    return frozenset(text.strip().casefold() for text in texts if text.strip())


def sort(fits: Iterable[Fit], *, slack: float = ALONE, chance: Random) -> list[Fit]:
    """Sort the best to the front, in random order those that are nearly as good as the best.

    These are no more than `slack` instances apart. So those who choose at the same time choose
    differently.
    """
    best_first = sorted(fits, key=lambda fit: -fit.score)
    if not best_first:
        return []
    best = best_first[0]
    least = best.score - best.step * slack
    near = sum(fit.score >= least and fit.crowd == best.crowd for fit in best_first)
    head = best_first[:near]
    chance.shuffle(head)
    return head + best_first[near:]


def _compare(node: Node, wish: Wish) -> Unfit | None:
    if {node["_id"], node["name"]} & wish.exclude:
        return Unfit(node, UnfitReason.EXCLUDED, "The node is excluded.")
    own = tags_of(node)
    if missing := sorted(tag for tag in wish.tags if tag.casefold() not in own):
        return Unfit(node, UnfitReason.TAG, f"The node lacks the tag {', '.join(missing)}.")
    labels = node.get("labels", {})
    if lacking := sorted(k for k, value in wish.labels.items() if labels.get(k) != value):
        return Unfit(node, UnfitReason.LABEL, f"The node lacks the label {', '.join(lacking)}.")
    return None


def _check_state(node: Node) -> Unfit | None:
    if node["status"] != NodeStatus.ONLINE:
        return Unfit(node, UnfitReason.OFFLINE, f"The node is {node['status']}.")
    if is_on_trial(node):
        return Unfit(node, UnfitReason.OFFLINE, "The node leaves operations without an answer.")
    return None


def _check_room(node: Node, wish: Wish, refusal: ServiceError | None) -> Unfit | None:
    if isinstance(refusal, Maintenance):
        return Unfit(node, UnfitReason.MAINTENANCE, refusal.message)
    if refusal is not None:
        return Unfit(node, UnfitReason.CAPACITY_EXCEEDED, refusal.message, refusal.details)
    among = parse_range(node["port_range"]) if node["port_range"] else DEFAULT_RANGE
    if wish.free_ports > among.last - among.first + 1:
        return Unfit(node, UnfitReason.NO_PORTS, f"The node has only the ports {among}.")
    return None


def _rate(node: Node, wish: Wish, *, more: int) -> float:
    """Return from 0 to 1 how well off the node is with so `more` such instances.

    The least share that is free of what it limits. Without a limit of memory nothing says how much
    it bears, so its instances count.
    """
    capacity, allocated = node["capacity"], node["allocated"]
    instances = allocated["instances"] + more
    by_count = 1 / (1 + instances)
    if wish.prefer == Prefer.FEWEST_INSTANCES:
        return by_count
    memory_mib = allocated["memory_mib"] + more * wish.memory_mib
    cpu_milli = allocated["cpu_milli"] + more * wish.cpu_milli
    limit_mib = capacity["memory_mib"]
    shares = [by_count if limit_mib is None else _free(memory_mib, limit_mib)]
    if capacity["disk_mib"] is not None:
        disk_mib = allocated["disk_mib"] + more * wish.disk_mib
        shares.append(_free(disk_mib, capacity["disk_mib"]))
    if capacity["cpu_milli"] is not None:
        shares.append(_free(cpu_milli, capacity["cpu_milli"]))
    if node["max_instances"] is not None:
        shares.append(_free(instances, node["max_instances"]))
    return min(shares)


def _free(used: int, limit: int) -> float:
    return max(0.0, 1 - used / limit) if limit else 0.0
