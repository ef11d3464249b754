"""What is wrong with an installation, and what to do about it. Nothing is changed."""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from service.admin.doctor.counts import examine_promises, examine_quotas
from service.admin.doctor.database import compare_clocks, examine_database, judge_disk
from service.admin.doctor.findings import Finding, Level, end
from service.admin.doctor.nodes import (
    examine_deletions,
    examine_leftovers,
    examine_node,
    try_secrets,
)
from service.drivers import DriverFactory
from service.errors import ServiceError
from service.security.vault import Vault
from service.store import Store

MAX_DUE_S = 60.0
MAX_PROBES_MISSED = 3
RUN_WORKER = "See that a worker runs: `skyquay worker`, or `skyquay serve` without --no-worker."
_PROBES_AT_ONCE = 16


def examine(
    store: Store,
    open_driver: DriverFactory,
    vault: Vault,
    *,
    data_dir: Path,
    probe_interval_s: float,
    mend: bool = False,
    now: Callable[[], datetime],
) -> Iterator[Finding]:
    """Look at everything, and `mend` what is counted wrongly.

    The rest is left out when the database does not answer or is refused.
    """
    yield from _examine_folder(data_dir)
    try:
        store.ping()
        problem = store.check_server()
        if problem:
            yield Finding(Level.FAIL, "database", problem, "Use another, or make this one so.")
            return
        seen = store.inspect()
        yield from examine_database(seen)
        yield compare_clocks(store, now)
        if seen.restoring or seen.schema != seen.latest_schema:
            return  # Its documents are not what we read.
        known = store.nodes.all()
        yield try_secrets(store, vault, known)
        with ThreadPoolExecutor(_PROBES_AT_ONCE) as pool:
            yield from pool.map(lambda node: examine_node(open_driver, node), known)
        yield from examine_leftovers(store, known)
        yield from examine_deletions(store, known)
        yield _examine_probes(store, probe_interval_s)
        yield _examine_queue(store)
        yield examine_quotas(store, mend=mend)
        yield examine_promises(store, mend=mend)
    except ServiceError as exc:
        cause = f" ({exc.__cause__})" if exc.__cause__ else ""
        yield Finding(
            Level.FAIL,
            "database",
            end(f"{exc.message}{cause}"),
            "Start it, or correct SKYQUAY_MONGODB_URI.",
        )


def _examine_probes(store: Store, interval_s: float) -> Finding:
    age_s = store.probes.oldest_age_s()
    if age_s > MAX_DUE_S + MAX_PROBES_MISSED * interval_s:
        return Finding(
            Level.WARN, "probes", f"A node was not probed for {age_s:.0f} s.", RUN_WORKER
        )
    return Finding(Level.OK, "probes", f"The oldest is {age_s:.0f} s old.")


def _examine_queue(store: Store) -> Finding:
    queue = store.queue_stats()
    found = f"{queue.waiting} operations wait, {queue.running} run"
    if queue.late_s > MAX_DUE_S:
        return Finding(
            Level.WARN,
            "queue",
            f"{found}; the oldest should have been taken {queue.late_s:.0f} s ago.",
            RUN_WORKER,
        )
    return Finding(Level.OK, "queue", f"{found}.")


def _examine_folder(data_dir: Path) -> Iterator[Finding]:
    try:
        usage = shutil.disk_usage(data_dir)
    except FileNotFoundError:
        return  # Not every installation keeps something there.
    yield judge_disk(f"disk of {data_dir}", usage.free / usage.total)
