"""The database: its members, its limits, its clock, its disk, and what Skyquay made in it."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from service.admin.doctor.findings import Finding, Level
from service.store import Store
from service.store.admin.inspection import Inspection

MAX_TRANSACTION_S = 15
"""What a process that is killed leaves locked blocks deploys on a node for as long."""

GRANT = "Grant clusterMonitor on admin to Skyquay's database user."

MAX_CLOCK_DIFFERENCE = timedelta(seconds=5)

WARN_FREE = 0.1
FAIL_FREE = 0.02


def examine_database(seen: Inspection) -> Iterator[Finding]:
    """Look at what the database says of itself, and at what Skyquay made in it."""
    yield Finding(Level.OK, "database", f"MongoDB {seen.version} answers.")
    yield judge_members(seen)
    yield judge_transactions(seen)
    if seen.disk_free is not None:
        yield judge_disk("database's disk", seen.disk_free)
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
        yield _judge_samples(seen)


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


def _judge_samples(seen: Inspection) -> Finding:
    subject = "samples"
    if seen.time_series is None:
        remedy = "Run `skyquay migrate`, which makes it."
        return Finding(Level.FAIL, subject, "Their collection is missing.", remedy)
    if not seen.time_series:
        found = (
            "Kept in a plain collection, as the database has no time series: it takes more room."
        )
        return Finding(Level.OK, subject, found)
    return Finding(Level.OK, subject, "Kept as a time series, for an hour.")


def judge_members(seen: Inspection) -> Finding:
    """Say whether the replica set can lose a member."""
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


def judge_transactions(seen: Inspection) -> Finding:
    """Say how long a process that is killed blocks a node."""
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


def compare_clocks(store: Store, now: Callable[[], datetime]) -> Finding:
    """Compare this machine's clock with the database's."""
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


def judge_disk(subject: str, free: float) -> Finding:
    """Say whether a disk, of which this share is free, is getting full."""
    found = f"{free:.0%} of it are free."
    if free >= WARN_FREE:
        return Finding(Level.OK, subject, found)
    level = Level.FAIL if free < FAIL_FREE else Level.WARN
    return Finding(level, subject, found, "Make room, before the database stops.")
