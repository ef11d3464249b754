"""Where documents are kept: MongoDB, one module a collection. The only importer of pymongo."""

import re
from collections.abc import Callable, Iterable
from collections.abc import Collection as Collected
from contextlib import AbstractContextManager
from copy import copy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pymongo
from pymongo import MongoClient
from pymongo.errors import InvalidURI, PyMongoError

from service.errors import StoreFailure
from service.store import deleted, events, places, samples, transactions
from service.store.admin import backup, indexes, inspection, migrations, validators
from service.store.admin.backup import Contents
from service.store.admin.inspection import Inspection, Promised, Queue
from service.store.admin.migrations import Change
from service.store.audit import Audit
from service.store.bulks import Bulks
from service.store.changes import Changes
from service.store.claims import Claims
from service.store.collection import Session, translate, translated
from service.store.command_times import CommandTimes, RecordCommand
from service.store.deleted import DeletedInstances
from service.store.deliveries import Deliveries
from service.store.drains import Drains
from service.store.duties import Duty
from service.store.event_log import KEEP_S, EventLog
from service.store.events import Events
from service.store.failed_attempts import FailedAttempts
from service.store.fan_out import FanOut
from service.store.held_ports import HeldPorts
from service.store.idempotency import Idempotency
from service.store.images import Images
from service.store.instances import Instances
from service.store.keys import Keys
from service.store.leftovers import Leftovers
from service.store.nodes import Nodes
from service.store.occupancy import Occupancy
from service.store.operations import Operations
from service.store.phases import Phases
from service.store.places import Place
from service.store.probes import Probes
from service.store.promises import Promises
from service.store.quotas import Quotas
from service.store.read_cache import ReadCache
from service.store.samples import Samples
from service.store.sampling import Samplings
from service.store.settings import Settings
from service.store.suspensions import Suspensions
from service.store.tickets import Tickets
from service.store.transitions import RecordOperation, TransitionLog
from service.store.users import Users
from service.store.watches import Watches
from service.store.webhooks import Webhooks

Result = TypeVar("Result")

CALL_TIMEOUT_S = 10
"""How long any one call may take, retries included."""

KEEP_OPERATIONS_S = 30 * 86400.0
KEEP_AUDIT_S = 365 * 86400.0

_FIELD_OF_OPERATION = {"_id": "instance_id"}


class Store:
    """All collections of one database. Raises StoreUnavailable when it does not answer in time."""

    def __init__(
        self,
        uri: str,
        database: str,
        *,
        keep_audit_s: float = KEEP_AUDIT_S,
        keep_events_s: float = KEEP_S,
        record_command: RecordCommand | None = None,
        record_operation: RecordOperation | None = None,
    ) -> None:
        """Make a client, which connects at its first call. Raises StoreFailure for a bad URI.

        What a worker writes into the audit log is forgotten `keep_audit_s` seconds after that,
        events `keep_events_s` after they happened. `record_command` is called with each command,
        `record_operation` of each operation that ends.
        """
        try:
            self._client: MongoClient[dict[str, Any]] = MongoClient(
                uri,
                appname="skyquay",
                connect=False,
                tz_aware=True,
                w="majority",
                timeoutMS=CALL_TIMEOUT_S * 1000,
                serverSelectionTimeoutMS=5000,
                event_listeners=[CommandTimes(record_command)] if record_command else [],
            )
        except (InvalidURI, pymongo.errors.ConfigurationError, ValueError) as exc:
            # What is quoted may be a part of a password that is not escaped.
            reason = re.split('"|: [^ ]*$', str(exc))[0].strip()
            raise StoreFailure(f"The MongoDB address cannot be used: {reason}") from None
        self._database = self._client[database]
        self.users = Users(self._database["users"])
        self.quotas = Quotas(self._database)
        self.promises = Promises(self._database)
        self.suspensions = Suspensions(self._database)
        self.suspension_duty = Duty(self._database, "suspensions")
        self.images = Images(self._database["images"])
        self.keys = Keys(self._database["keys"], cache=ReadCache())
        self.nodes = Nodes(self._database["nodes"], cache=ReadCache())
        self.probes = Probes(self._database["nodes"])
        self.held_ports = HeldPorts(self._database["nodes"])
        self._moves = TransitionLog(record_operation)
        self.instances = Instances(self._database["instances"], moves=self._moves)
        self.occupancy = Occupancy(self._database["instances"])
        self.deleted = DeletedInstances(self._database[deleted.COLLECTION], moves=self._moves)
        self.failures = FailedAttempts(self._database["failures"])
        self.idempotency = Idempotency(self._database["idempotency"])
        self.watches = Watches(self._database["watches"], nodes=self._database["nodes"])
        self.leftovers = Leftovers(self._database["leftovers"])
        self.audit = Audit(self._database["audit"], keep_s=keep_audit_s)
        self.tickets = Tickets(self._database["tickets"])
        self.settings = Settings(self._database["settings"])
        self.operations = Operations(
            self._database["operations"], keep_ended_s=KEEP_OPERATIONS_S, moves=self._moves
        )
        self.claims = Claims(
            self._database["operations"], operations=self.operations, moves=self._moves
        )
        self.phases = Phases(self._database["instances"])
        self.phase_duty = Duty(self._database, "phases")
        self.bulks = Bulks(self._database["operations"])
        self.sampling = Samplings(self._database["sampling"], nodes=self._database["nodes"])
        self.samples = Samples(self._database[samples.COLLECTION])
        self.changes = Changes(self._database)
        self.events = Events(self._database["events"], self._database["meta"])
        self.event_log = EventLog(self._client, self._database, keep_s=keep_events_s)
        self.webhooks = Webhooks(self._database["webhooks"])
        self.deliveries = Deliveries(self._database["deliveries"])
        self.drains = Drains(self._database["drains"])
        self.drain_duty = Duty(self._database, "drains")
        self.fan_out = FanOut(self._client, self._database)
        self._also: Callable[[Any, Session], None] = lambda *_: None

    def within(
        self,
        *,
        user_id: str | None = None,
        instance_ids: Iterable[str] | None = None,
        node_ids: Iterable[str] | None = None,
        key_id: str | None = None,
        acts_for: str | None = None,
    ) -> "Store":
        """Make a store of the same database in which only some documents can be read.

        Those of one user, some instances, some nodes; None does not limit. Also bulk operations of
        the key, for whom it acts. Who changes something has read it here: writing is not limited.
        """
        limits = {
            "user_id": user_id,
            "_id": None if instance_ids is None else {"$in": sorted(instance_ids)},
            "node_id": None if node_ids is None else {"$in": sorted(node_ids)},
        }
        only = {name: value for name, value in limits.items() if value is not None}
        store = copy(self)
        if user_id is not None:
            store.users = Users(self._database["users"], only={"_id": user_id})
        if node_ids is not None:
            store.nodes = Nodes(
                self._database["nodes"], cache=ReadCache(0), only={"_id": limits["node_id"]}
            )
        store.instances = Instances(self._database["instances"], moves=self._moves, only=only)
        store.deleted = DeletedInstances(
            self._database[deleted.COLLECTION], moves=self._moves, only=only
        )
        store.operations = Operations(
            self._database["operations"],
            keep_ended_s=KEEP_OPERATIONS_S,
            moves=self._moves,
            only={_FIELD_OF_OPERATION.get(name, name): value for name, value in only.items()},
            key_id=key_id,
            acts_for=acts_for,
        )
        store.events = Events(
            self._database["events"],
            self._database["meta"],
            only=events.limit_to(only, user_id=user_id, node_ids=limits["node_id"]),
        )
        return store

    def with_each_transaction(self, also: Callable[[Any, Session], None]) -> "Store":
        """Make a store whose transactions end with `also`, of what their work returned."""
        store = copy(self)
        store._also = also
        return store

    @translated
    def find_place(
        self,
        *,
        user_id: str | None,
        node_id: str | None,
        image: str | None,
        ports: Collected[int] = (),
        session: Session | None = None,
    ) -> Place:
        """Read what a deploy names, as far as that exists and may be seen: see places.py."""
        return places.find(
            self._database,
            self.users,
            self.nodes,
            self.images,
            self.occupancy,
            user_id=user_id,
            node_id=node_id,
            image=image,
            ports=ports,
            session=session,
        )

    @translated
    def prepare(self) -> None:
        """Bring documents of earlier versions up to date; make the validators and the indexes.

        Indexes are what keeps the promises, so nothing is served without them. A new one of a large
        collection takes its time. Raises StoreFailure for a database that a newer version migrated.
        """
        migrations.migrate(self._database)
        validators.apply(self._database)
        samples.make(self._database)
        indexes.make(self._database)

    @translated
    def plan_migrations(self) -> list[Change]:
        """Return which migrations are pending, with the documents that need them; write nothing."""
        return migrations.plan(self._database)

    @translated
    def migrate(self) -> list[Change]:
        """Do the migrations that are pending, and return which those were."""
        return migrations.migrate(self._database)

    @translated
    def back_up(self, path: Path) -> Contents:
        """Write all documents, as they are at one moment, to a file. Raises BackupError."""
        return backup.write(self._database, path)

    @translated
    def restore(self, path: Path, *, replace: bool = False) -> Contents:
        """Read all documents from a backup, and make them ready for this version.

        Raises BackupError for a file that is not whole, or a database that has documents already
        unless `replace` deletes them; nothing was written then. No other process may use it.
        """
        contents = backup.restore(self._database, path, replace=replace)
        self.prepare()
        return contents

    @translated
    def list_missing_indexes(self) -> list[str]:
        """Name the indexes that are not there, within two seconds."""
        with pymongo.timeout(2):
            return indexes.list_missing(self._database)

    @translated
    def list_stale_validators(self) -> list[str]:
        """Name the collections whose validator may refuse what we write, within two seconds.

        None while a newer version has migrated the database: those are its own.
        """
        with pymongo.timeout(2):
            if migrations.read_version(self._database) != migrations.MIGRATIONS[-1].number:
                return []
            return validators.list_stale(self._database)

    @translated
    def check_server(self) -> str | None:
        """Return in a sentence why this database cannot be used; None when it can."""
        return inspection.check_server(self._client)

    @translated
    def inspect(self) -> Inspection:
        """Look at the database as a whole, without changing it."""
        return inspection.inspect(self._database)

    @translated
    def queue_stats(self) -> Queue:
        """Look at the operations that have not ended; none of a node that is down is due."""
        return inspection.queue_stats(self._database, without_nodes=self.nodes.list_offline())

    @translated
    def sum_promised(self) -> Promised:
        """Add up what nodes have promised to instances, and what they may give away."""
        return inspection.sum_promised(self._database)

    @translated
    def ping(self) -> None:
        """Succeed when a primary answers within two seconds."""
        with pymongo.timeout(2):
            self._client.admin.command("ping")

    @translated
    def server_time(self) -> datetime:
        """Return the time by the clock that leases and probes are measured by."""
        server: datetime = self._client.admin.command("hello")["localTime"]
        return server.replace(tzinfo=UTC)

    def transaction(self, work: Callable[[Session], Result]) -> Result:
        """Run `work` so that all its writes happen, with a majority, or none.

        It may be called several times, so it must do nothing but read and write documents with the
        session it is handed.
        """

        def attempt(session: Session) -> Result:
            self._moves.begin(session)
            result = work(session)
            self._also(result, session)
            return result

        try:
            with (
                self._client.start_session() as session,
                self._moves.flush_on_commit(session),
            ):
                return transactions.run(session, attempt)
        except PyMongoError as exc:
            raise translate(exc) from exc

    def bounded(self, timeout_s: float = CALL_TIMEOUT_S) -> AbstractContextManager[None]:
        """Let all calls inside together take no longer, by default, than one call may."""
        return pymongo.timeout(timeout_s)

    def close(self) -> None:
        """Close all connections."""
        self.changes.close()
        self._client.close()
