"""How the threads of a worker are shared out, so that a node's trouble costs only itself.

An operation that its node keeps waiting blocks a thread, and does nothing else. So after SLOW_S it
no longer counts among the `threads`, which are kept for nodes that finish what they begin; it is
one of those that are held, which are many, but bounded too. A node that is known to keep us waiting
gets threads of a small share of its own, and none of them while half of those are held already.
From a quarter on a node has one operation at a time in each lane, so that there is room for many.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from service.model.lifecycle import Lane
from service.store.due import SLOW_S, Room

HELD = 256
"""How many operations of each lane may be held before those that are more count as threads."""


@dataclass(frozen=True, slots=True)
class Begun:
    """An operation that this worker carries out."""

    lane: Lane
    node_id: str
    at: float  # by time.monotonic
    slow_node: bool
    """Whether the node was known to keep operations waiting."""


def is_held(node_id: str, begun: Iterable[Begun], *, at: float) -> bool:
    """Return whether an operation of ours on the node is held."""
    return any(each.node_id == node_id and at - each.at >= SLOW_S for each in begun)


def find_room(begun: Iterable[Begun], *, threads: int, at: float) -> Room:
    """Return in which lanes another operation may begin.

    Deploys leave a quarter of the threads to what is short, so that a stop never waits for pulls.
    """
    held, prompt, slow = Counter[Lane](), Counter[Lane](), Counter[Lane]()
    for each in begun:
        counter = held if at - each.at >= SLOW_S else slow if each.slow_node else prompt
        counter[each.lane] += 1
    for lane in Lane:
        prompt[lane] += max(0, held[lane] - HELD)
    lanes = set()
    if prompt.total() < threads:
        lanes.add(Lane.SHORT)
        if prompt[Lane.DEPLOY] < threads - threads // 4:
            lanes.add(Lane.DEPLOY)
    share = max(1, threads // 2)
    return Room(
        prompt=frozenset(lanes),
        slow=frozenset(lane for lane in Lane if slow[lane] < share and held[lane] < HELD // 2),
        further=frozenset(lane for lane in Lane if held[lane] < HELD // 4),
    )
