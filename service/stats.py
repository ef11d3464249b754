"""What instances used lately: what each used last, and series for charts."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import NamedTuple

from service.errors import InvalidInput
from service.model.documents import Instance, Sampling, Usage
from service.model.listing import Listing
from service.model.orders import StatsSearch
from service.store import Store
from service.store.samples import KEEP_S

INTERVAL_S = 15.0
"""How often instances are sampled, where nothing else is known."""

POINTS = 120
"""How many points a series has, unless a resolution is asked for."""

MOST_POINTS = 50_000
"""How many points of all series together one answer may have."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_VALUES = ("cpu_milli", "memory_bytes", "received_rate", "sent_rate")


class Grid(NamedTuple):
    """The times of a chart: `points` of them from `begin` on, `step_s` apart."""

    begin: datetime
    step_s: int
    points: int

    def list_times(self) -> list[datetime]:
        """List the times."""
        return [self.begin + timedelta(seconds=n * self.step_s) for n in range(self.points)]


class Sampled(NamedTuple):
    """What is known of the samples of some instances."""

    last: dict[str, Usage]
    interval_s: float
    skipped: dict[str, str]
    """Why the last round left something out, by node."""


def make_grid(search: StatsSearch, *, now: datetime) -> Grid:
    """Make the times that are asked for; they begin at a multiple of their step.

    Raises InvalidInput for a time that is still to come, or for too many points.
    """
    since, step_s = search["since"], search["resolution_s"]
    if since is not None and since > now:
        raise InvalidInput("The request is not valid.", since=["Must not be in the future."])
    since = max(since or _EPOCH, now - timedelta(seconds=KEEP_S))
    span_s = (now - since).total_seconds()
    if step_s is None:
        step_s = int(max(1, ceil(span_s / POINTS / INTERVAL_S)) * INTERVAL_S)
    begin_s = (since - _EPOCH) // timedelta(seconds=step_s) * step_s
    begin = _EPOCH + timedelta(seconds=begin_s)
    count = max(1, ceil((now - begin).total_seconds() / step_s))
    limit = search["listing"].limit or 0
    if count * limit > MOST_POINTS:
        reason = f"{limit} series of {count} points are more than {MOST_POINTS} points."
        raise InvalidInput(
            "The answer would be too long.",
            limit=[f"{reason} Ask for fewer instances at a time."],
            resolution=["Or ask for longer steps."],
        )
    return Grid(begin, step_s, count)


def list_instances(store: Store, listing: Listing) -> tuple[list[Instance], Instance | None]:
    """Read a page of instances; return the last of them too if there are more."""
    limit = listing.limit or 1
    found = list(store.instances.page(listing, limit=limit + 1))
    return found[:limit], found[limit - 1] if len(found) > limit else None


def find_sampled(store: Store, instances: Iterable[Instance]) -> Sampled:
    """Find what these instances used last, and how often they are sampled."""
    nodes: dict[str, list[str]] = {}
    for instance in instances:
        nodes.setdefault(instance["node_id"], []).append(instance["_id"])
    ids = [each for of_node in nodes.values() for each in of_node]
    known = store.sampling.list_last(nodes, ids) if nodes else []
    last = {
        instance_id: usage
        for sampling in known
        for instance_id, usage in sampling["last"].items()
        if instance_id in nodes[sampling["_id"]]
    }
    skipped = {each["_id"]: each["skipped"] for each in known if each["skipped"] is not None}
    for node_id in nodes.keys() - {each["_id"] for each in known}:
        skipped[node_id] = "The node is not Online."
    interval_s = max([INTERVAL_S, *map(_find_interval_s, known)])
    return Sampled(last, round(interval_s, 1), dict(sorted(skipped.items())))


def list_series(
    store: Store, instance_ids: Iterable[str], grid: Grid
) -> dict[str, dict[str, list[int | None]]]:
    """Read the series of these instances, by id: for each of their values as many as times."""
    series: dict[str, dict[str, list[int | None]]] = {
        each: {name: [None] * grid.points for name in _VALUES} for each in instance_ids
    }
    for found in store.samples.list_series(series, since=grid.begin, resolution_s=grid.step_s):
        step = found["_id"]["step"]
        if step < grid.points:  # a worker's clock may be ahead
            for name in _VALUES:
                if found[name] is not None:
                    series[found["_id"]["instance"]][name][step] = round(found[name])
    return series


def _find_interval_s(sampling: Sampling) -> float:
    return (sampling["interval_ms"] or 0) / 1000 * sampling["rounds"]
