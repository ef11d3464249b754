"""One round of samples of a node: what each of its running instances has used until now."""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any

from service.drivers import DriverFactory, NodeDriver
from service.errors import NodeFailure, NodeUnreachable, ServiceError
from service.model.documents import Node, Sampling, Usage
from service.model.driver_traits import traits_of
from service.model.lifecycle import InstanceState, NodeStatus, Power
from service.model.usage import make_usage, to_sample_document
from service.store import Store

log = logging.getLogger(__name__)

INTERVAL_S = 15.0
"""How often an instance is sampled, unless there are too many."""

WAITED_S = 20.0
"""How long one round waits for its node in all. The next begins with those that had no turn."""

SLOW_S = 5.0
"""A node that is waited for so long in one round is slow."""

REFUSALS = 5
"""After how many instances of which the node refuses to say anything a round ends."""

MAX_DOUBLINGS = 4
"""How often the interval is doubled for a node that ends each of its rounds."""

VOLUMES_EVERY = timedelta(minutes=10)
"""How often the volumes are added up, for which engines read all files."""

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

SILENT = "The node did not answer in time."
REFUSED = "The node did not say what its instances use."
UNFINISHED = "The node answers too slowly for all of its instances in one round."


@dataclass(slots=True)
class Round:
    """What a round found until now."""

    wanted: list[str]
    """The instances that run, those first whose sample is the oldest."""
    last: dict[str, Usage]
    sampled: list[str] = field(default_factory=list)
    asked: int = 0
    waited_s: float = 0.0
    skipped: str | None = None
    ended: bool = False
    """Whether the node ended it."""


def sample_node(
    store: Store,
    open_driver: DriverFactory,
    claimed: Sampling,
    *,
    token: str,
    go_on: Callable[[], bool],
    interval_s: float,
    now: Callable[[], datetime],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Sample the node that was claimed, and release it.

    `go_on` is called before each call of the node, and may wait; False ends the round. Nothing is
    written when the lease was lost.
    """
    node = store.nodes.find(claimed["_id"])
    if node is None or node["status"] != NodeStatus.ONLINE:
        delay_s = interval_s  # its document goes with the next sync
        store.sampling.finish(claimed["_id"], token, _make_due(claimed, delay_s))
        return
    found = _begin(store, claimed)
    volumes: Mapping[str, int] | None = None
    if found.wanted:
        try:
            with closing(open_driver(node)) as driver:
                _take(found, driver, node, go_on=go_on, now=now, clock=clock)
                if _are_volumes_due(claimed) and not found.ended and go_on():
                    volumes = _measure_volumes(driver, node, found)
        except NodeFailure:
            found.skipped, found.ended = SILENT, True
    for instance_id, size in (volumes or {}).items():
        found.last[instance_id]["disk_bytes"] = size
    failures = claimed["failures"] + 1 if found.ended else 0
    delay_s = interval_s * 2 ** min(failures, MAX_DOUBLINGS)
    changes = {
        **_make_due(claimed, delay_s),
        "last": found.last,
        "skipped": found.skipped,
        "failures": failures,
        "slow": found.ended or found.waited_s > SLOW_S,
        "rounds": ceil(len(found.wanted) / found.asked) if found.asked else 1,
        "disk_at": claimed["began_at"] if _are_volumes_due(claimed) else claimed["disk_at"],
    }
    if store.sampling.finish(node["_id"], token, changes):
        kept = [
            to_sample_document(found.last[each], instance_id=each, node_id=node["_id"])
            for each in found.sampled
        ]
        store.samples.add(kept)


def _begin(store: Store, claimed: Sampling) -> Round:
    running = [
        each["_id"]
        for each in store.instances.list_observed(claimed["_id"])
        if each["power"] == Power.RUNNING and each["state"] != InstanceState.DELETING
    ]
    last: dict[str, Usage] = {
        each: claimed["last"][each] for each in running if each in claimed["last"]
    }
    wanted = sorted(running, key=lambda each: last[each]["at"] if each in last else _LONG_AGO)
    return Round(wanted, last)


def _take(
    found: Round,
    driver: NodeDriver,
    node: Node,
    *,
    go_on: Callable[[], bool],
    now: Callable[[], datetime],
    clock: Callable[[], float],
) -> None:
    """Take the samples of a round, until it is ended."""
    refusals, size = 0, traits_of(node["driver"]).sample_size
    for start in range(0, len(found.wanted), size):
        ids = found.wanted[start : start + size]
        if found.waited_s > WAITED_S:
            found.skipped = UNFINISHED
            return
        if not go_on():
            return
        began = clock()
        found.asked += len(ids)
        try:
            samples = driver.sample(ids)
        except NodeUnreachable:
            found.skipped, found.ended = SILENT, True
            return
        except NodeFailure:
            refusals += 1
            found.skipped = REFUSED
            if refusals == REFUSALS:
                found.ended = True
                return
            continue
        finally:
            found.waited_s += clock() - began
        at = now()
        for instance_id in ids:
            before = found.last.pop(instance_id, None)
            if (sample := samples.get(instance_id)) is not None:
                disk_bytes = before.get("disk_bytes") if before else None
                usage = make_usage(sample, before, disk_bytes=disk_bytes, at=at)
                found.last[instance_id] = usage
                found.sampled.append(instance_id)


def _measure_volumes(driver: NodeDriver, node: Node, found: Round) -> Mapping[str, int]:
    """Add up the volumes of what was sampled. A node that cannot is asked again in ten minutes."""
    try:
        return driver.measure_volumes(sorted(found.last))
    except ServiceError as exc:
        log.info("node.volumes_not_measured", extra={"node_id": node["_id"], "error": str(exc)})
        return {}


def _are_volumes_due(claimed: Sampling) -> bool:
    at, began_at = claimed["disk_at"], claimed["began_at"]
    return at is None or (began_at is not None and began_at - at >= VOLUMES_EVERY)


def _make_due(claimed: Sampling, delay_s: float) -> dict[str, Any]:
    began_at = claimed["began_at"] or claimed["due_at"]
    return {"due_at": began_at + timedelta(seconds=delay_s)}
