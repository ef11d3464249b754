"""A fleet for tests of drains: its transfers hold what real ones hold, and end when told."""

from itertools import count

from service import drains, instances, operations
from service.model.lifecycle import OperationKind, OperationStatus
from service.model.origin import Origin
from service.model.placement import Fit, Ranking
from service.model.ports import parse
from service.worker.draining import Draining
from tests.support import AT_NOON, NOON, a_node, a_user, an_image, an_order, run_due

_PORTS = count(20_000)
BY_KEY = Origin(NOON, "a-key", "a-request")


class Crash(BaseException):
    """The process is gone."""


class Fleet:
    """Nodes in memory, with instances on the first, and transfers that end when they are told."""

    def __init__(self, store, memory_nodes):
        self.store, self.now = store, NOON
        self.nodes = [a_node(store, memory_nodes, name=f"n{i}")["_id"] for i in range(3)]
        self.home = self.nodes[0]
        self.user, self.image = a_user(store), an_image(store)
        self.refusals = {}
        self.crash_at = None
        self.most_open = 0
        self._memory_nodes = memory_nodes

    def deploy(self, count, *, node_id=None, settle=True):
        """Add instances, READY unless they are not to settle."""
        place = {"_id": node_id or self.home}
        made = [
            instances.deploy(
                self.store,
                an_order(
                    self.user, place, self.image, ports=parse(f"80:{next(_PORTS)}"), primary=None
                ),
                origin=AT_NOON,
            )[0]["_id"]
            for _ in range(count)
        ]
        if settle:
            run_due(self.store, self._memory_nodes)
        return sorted(made)

    def worker(self, token="w"):
        """Make a worker that drains."""
        return Draining(self.store, token, begin=self.begin, rank=self.rank, now=lambda: self.now)

    def rank(self, store, instance):
        """Rank all other nodes that take instances."""
        fits = [
            Fit(node, 0, 0, 0)
            for node in sorted(store.nodes.list_by_ids(self.nodes), key=lambda node: node["name"])
            if node["_id"] != instance["node_id"] and node["schedulable"]
        ]
        return Ranking(fits, [])

    def begin(self, store, reference, *, node_id, origin):
        """Take on a transfer, as far as this is about drains."""
        refusal = self.refusals.get(reference) or self.refusals.get(node_id)
        if refusal is not None:
            raise refusal
        instance = store.instances.get(reference)
        operation = operations.draft(OperationKind.RESTART, instance, origin=origin)
        operation["container_id"] = node_id

        def write(session):
            store.operations.add(operation, session=session)
            store.nodes.reserve(node_id, memory_mib=128, cpu_milli=1000, session=session)
            return instance, operation

        if self.crash_at == "before":
            raise Crash
        begun = store.transaction(write)
        if self.crash_at == "after":
            raise Crash
        self.most_open = max(self.most_open, len(self.list_open()))
        return begun

    def list_open(self):
        """List the transfers that are under way."""
        return [
            operation
            for operation in self.store.operations.all()
            if operation["kind"] == OperationKind.RESTART and operation["status"] == "pending"
        ]

    def end(self, operation, *, error=None):
        """Let a transfer arrive, or fail with an error."""
        status = OperationStatus.FAILED if error else OperationStatus.SUCCEEDED
        target = operation["container_id"]

        def write(session):
            ended = self.store.operations.ending(status, error=error, now=NOON)
            query = {"_id": operation["_id"], "status": OperationStatus.PENDING}
            self.store.operations.move(query, ended, session=session)
            freed = target if error else operation["node_id"]
            self.store.nodes.release(freed, memory_mib=128, cpu_milli=1000, session=session)
            if not error:
                changes = {"node_id": target}
                self.store.instances.change(operation["instance_id"], changes, session=session)

        self.store.transaction(write)

    def remove_all(self):
        """End what removes from nodes what is left of instances that were forgotten."""
        for operation in self.store.operations.all():
            if operation["kind"] == OperationKind.REMOVE:
                query = {"_id": operation["_id"], "status": OperationStatus.PENDING}
                ended = self.store.operations.ending(OperationStatus.SUCCEEDED, now=NOON)
                self.store.operations.move(query, ended)

    def end_all(self, **how):
        """Let all transfers arrive that are under way; return how many there were."""
        under_way = self.list_open()
        for operation in under_way:
            self.end(operation, **how)
        return len(under_way)

    def run(self, worker=None, *, turns=100):
        """Take turns and let what is begun arrive until nothing happens."""
        worker = worker or self.worker()
        for _ in range(turns):
            if not worker.turn() and not self.end_all():
                return

    def start(self, **options):
        """Start a drain of the first node."""
        return drains.start(self.store, self.home, **{"at_once": None, "origin": BY_KEY, **options})

    def status(self):
        """Return where the drain is, and that the node says the same."""
        progress = drains.read(self.store, self.home)
        assert progress["node"]["drain"] == progress["status"]
        return progress["status"]

    def drain(self):
        """Read the drain."""
        return self.store.drains.get(self.home)

    def count_home(self):
        """Count the instances that are on the node."""
        return len(self.store.instances.list_ids_on(self.home))
