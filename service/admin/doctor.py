"""What is wrong with an installation, and what to do about it. Nothing is changed."""

import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from service import enrolment, leftovers, node_secrets, probing
from service.drivers import DriverFactory
from service.errors import NodeFailure, ServiceError
from service.model.documents import Node
from service.model.driver_traits import traits_of
from service.model.lifecycle import NodeStatus, OperationKind, OperationStatus
from service.security.vault import Vault
from service.store import Store
from service.store.admin.inspection import Inspection

MAX_TRANSACTION_S = 15
"""What a process that is killed leaves locked blocks deploys on a node for as long."""

GRANT = "Grant clusterMonitor on admin to Skyquay's database user."

MAX_CLOCK_DIFFERENCE = timedelta(seconds=5)
MAX_DUE_S = 60.0
MAX_PROBES_MISSED = 3
MANY_ATTEMPTS = 3
"""How often a deletion is tried before that is reported."""

WARN_FREE = 0.1
FAIL_FREE = 0.02
RUN_WORKER = "See that a worker runs: `skyquay worker`, or `skyquay serve` without --no-worker."
_PROBES_AT_ONCE = 16


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what was found and, where something is wrong, what to do."""

    level: Level
    subject: str
    found: str
    remedy: str = ""


def examine(
    store: Store,
    open_driver: DriverFactory,
    vault: Vault,
    *,
    data_dir: Path,
    probe_interval_s: float,
    now: Callable[[], datetime],
) -> Iterator[Finding]:
    """Look at everything. The rest is left out when the database does not answer or is refused."""
    yield from _examine_folder(data_dir)
    try:
        store.ping()
        problem = store.check_server()
        if problem:
            yield Finding(Level.FAIL, "database", problem, "Use another, or make this one so.")
            return
        seen = store.inspect()
        yield from _examine_database(seen)
        yield _compare_clocks(store, now)
        if seen.restoring or seen.schema != seen.latest_schema:
            return  # Its documents are not what we read.
        known = store.nodes.all()
        yield _try_secrets(store, vault, known)
        with ThreadPoolExecutor(_PROBES_AT_ONCE) as pool:
            yield from pool.map(lambda node: _examine_node(open_driver, node), known)
        yield from _examine_leftovers(store, known)
        yield from _examine_deletions(store, known)
        yield _examine_probes(store, probe_interval_s)
        yield _examine_queue(store)
    except ServiceError as exc:
        cause = f" ({exc.__cause__})" if exc.__cause__ else ""
        yield Finding(
            Level.FAIL,
            "database",
            _end(f"{exc.message}{cause}"),
            "Start it, or correct SKYQUAY_MONGODB_URI.",
        )


def _examine_database(seen: Inspection) -> Iterator[Finding]:
    yield Finding(Level.OK, "database", f"MongoDB {seen.version} answers.")
    yield _judge_members(seen)
    yield _judge_transactions(seen)
    if seen.disk_free is not None:
        yield _judge_disk("database's disk", seen.disk_free)
    yield _judge_schema(seen)
    if seen.missing_indexes:
        yield Finding(
            Level.FAIL,
            "indexes",
            f"These are missing: {', '.join(seen.missing_indexes)}.",
            "Run `skyquay migrate`, which makes them.",
        )
    else:
        yield Finding(Level.OK, "indexes", "All are there.")
    if seen.schema == seen.latest_schema:  # Else they are another version's.
        yield _judge_validators(seen)


def _judge_validators(seen: Inspection) -> Finding:
    subject = "validators"
    remedy = "Run `skyquay migrate` as a database user with the role dbAdmin."
    if seen.stale_validators:
        return Finding(
            Level.FAIL,
            subject,
            f"These are another version's, and may refuse what this one writes: "
            f"{', '.join(seen.stale_validators)}.",
            remedy,
        )
    if seen.missing_validators:
        return Finding(
            Level.WARN,
            subject,
            f"These are missing: {', '.join(seen.missing_validators)}.",
            remedy,
        )
    return Finding(Level.OK, subject, "All are there.")


def _judge_members(seen: Inspection) -> Finding:
    subject = "members"
    if seen.members is None:
        return Finding(Level.OK, subject, "A sharded cluster.")
    if seen.members == 1:
        return Finding(Level.OK, subject, "One member: when it is down, everything waits for it.")
    majority = seen.members // 2 + 1
    if seen.members_up is not None and seen.members_up < seen.members:
        return Finding(
            Level.FAIL if seen.members_up < majority else Level.WARN,
            subject,
            f"{seen.members_up} of {seen.members} members are up; it takes {majority} to write.",
            "Start the others.",
        )
    if seen.members_up is None:
        return Finding(
            Level.WARN,
            subject,
            f"{seen.members} members; it takes {majority} to write. "
            "Cannot see whether all members are up.",
            GRANT,
        )
    if seen.members == 2:
        return Finding(
            Level.WARN,
            subject,
            "Two members: when either is down, nothing can be written.",
            "Add a third.",
        )
    return Finding(Level.OK, subject, f"{seen.members} members; it takes {majority} to write.")


def _judge_transactions(seen: Inspection) -> Finding:
    subject, setting = "transactions", "transactionLifetimeLimitSeconds"
    limit_s = seen.transaction_lifetime_s
    if limit_s is None:
        sharded = seen.members is None
        return Finding(
            Level.WARN,
            subject,
            f"Cannot see {setting}, which should be 10.",
            "Look at each mongod of the shards." if sharded else GRANT,
        )
    if limit_s > MAX_TRANSACTION_S:
        return Finding(
            Level.WARN,
            subject,
            f"A process that is killed in the middle of a deploy blocks its node for {limit_s} s.",
            f"Start mongod with --setParameter {setting}=10.",
        )
    return Finding(
        Level.OK, subject, f"What a killed process has locked is free after {limit_s} s."
    )


def _judge_schema(seen: Inspection) -> Finding:
    subject = "schema"
    if seen.restoring:
        return Finding(
            Level.FAIL,
            subject,
            "A backup was not restored to its end.",
            "Run `skyquay restore --replace` again.",
        )
    if seen.schema > seen.latest_schema:
        return Finding(
            Level.FAIL,
            subject,
            f"It is {seen.schema}, of a newer version; this version knows {seen.latest_schema}.",
            "Install that version, or restore a backup from before.",
        )
    if seen.schema < seen.latest_schema:
        return Finding(
            Level.WARN,
            subject,
            f"It is {seen.schema}, of an earlier version; this version's is {seen.latest_schema}.",
            "Run `skyquay migrate`, or start Skyquay, which does the same.",
        )
    return Finding(Level.OK, subject, f"It is {seen.schema}, as this version has it.")


def _compare_clocks(store: Store, now: Callable[[], datetime]) -> Finding:
    before = now()
    server = store.server_time()
    after = now()
    # Whatever the answer took is no difference.
    difference = max(before - server, server - after, timedelta())
    said = f"{difference.total_seconds():.1f} s"
    if difference > MAX_CLOCK_DIFFERENCE:
        return Finding(
            Level.WARN,
            "clock",
            f"This machine's clock and the database's differ by {said}.",
            "Let both follow a time server.",
        )
    return Finding(Level.OK, "clock", f"It differs from the database's by {said}.")


def _try_secrets(store: Store, vault: Vault, known: list[Node]) -> Finding:
    subject = "secret key"
    unreadable = [node["name"] for node in node_secrets.list_unreadable(store, vault)]
    if unreadable:
        return Finding(
            Level.FAIL,
            subject,
            f"It does not open the secrets of the nodes {', '.join(unreadable)}.",
            "Set SKYQUAY_SECRET_KEY to the key that encrypted them, if only behind the new one.",
        )
    if not vault.has_key:
        return Finding(
            Level.FAIL,
            subject,
            "SKYQUAY_SECRET_KEY is not set, and without it nothing is done on nodes.",
            "Make one with `openssl rand -base64 32`, set it everywhere, and keep a copy.",
        )
    sealed = any(node[field] for node in known for field in node_secrets.SEALED)  # type: ignore[literal-required]
    found = "It opens the secrets of all nodes that have any." if sealed else "No node has secrets."
    return Finding(Level.OK, subject, found)


def _examine_node(open_driver: DriverFactory, node: Node) -> Finding:
    subject = f"node {node['name']}"
    if node["status"] == NodeStatus.UNCONFIGURED:
        return Finding(
            Level.WARN,
            subject,
            "Its daemon has not enrolled itself.",
            "Run the command that `POST /api/nodes/{id}/configure-key` answers, on the node.",
        )
    began = time.monotonic()
    keyed = enrolment.use_new_key(node) if node["secret"] is None else node
    try:
        with closing(open_driver(keyed)) as driver:
            report = driver.probe()
    except ServiceError as exc:
        reason = probing.explain(keyed, exc) if isinstance(exc, NodeFailure) else exc.message
        return Finding(
            Level.FAIL,
            subject,
            _end(f"It is {node['status']}, and does not answer from here: {reason}"),
            traits_of(node["driver"]).remedy,
        )
    answers = f"{report.engine} answers in {(time.monotonic() - began) * 1000:.0f} ms"
    if node["status"] != NodeStatus.ONLINE:
        return Finding(
            Level.WARN,
            subject,
            _end(
                f"{answers} from here, but the workers hold the node for {node['status']}: "
                f"{node['probe_error'] or 'it was not probed yet'}"
            ),
            "See that a worker runs, and reaches the node from its own machine.",
        )
    return Finding(Level.OK, subject, f"{answers}.")


def _examine_leftovers(store: Store, known: list[Node]) -> Iterator[Finding]:
    names = {node["_id"]: node["name"] for node in known}
    for left in store.leftovers.all():
        yield Finding(
            Level.WARN,
            f"leftovers of node {names.get(left['node_id'], left['node_id'])}",
            _end(f"Of instance {left['_id']}, which is gone, {leftovers.describe(left)}"),
            "Delete it on the node; then `remove` the id with "
            f"`POST /api/nodes/{left['node_id']}/drift/resolve`: {left['_id']}.",
        )


def _examine_deletions(store: Store, known: list[Node]) -> Iterator[Finding]:
    for node in known:
        for instance in store.instances.list_deleting(node["_id"]):
            latest = store.operations.find_latest(instance["_id"])
            if latest is None or latest["kind"] != OperationKind.DELETE:
                continue
            failed = latest["status"] == OperationStatus.FAILED
            if failed or latest["attempts"] >= MANY_ATTEMPTS:
                yield Finding(
                    Level.WARN,
                    f"instance {instance['_id']}",
                    _end(f"Node {node['name']} does not remove it: {latest['error']}"),
                    "Mend that on the node: it is tried again. `force` forgets the instance.",
                )


def _examine_probes(store: Store, interval_s: float) -> Finding:
    age_s = store.nodes.oldest_probe_age_s()
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
    yield _judge_disk(f"disk of {data_dir}", usage.free / usage.total)


def _judge_disk(subject: str, free: float) -> Finding:
    found = f"{free:.0%} of it are free."
    if free >= WARN_FREE:
        return Finding(Level.OK, subject, found)
    level = Level.FAIL if free < FAIL_FREE else Level.WARN
    return Finding(level, subject, found, "Make room, before the database stops.")


def _end(sentence: str) -> str:
    return sentence if sentence.endswith(".") else f"{sentence}."
