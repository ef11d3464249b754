"""How each kind of operation is carried out, once a worker has claimed it.

Every step may be done again: a worker may die after any line, and another does the operation from
its beginning. What was seen is written down as it is seen.
"""

import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from functools import partial

from service import instances, leftovers, operations
from service.documents import Deploying, Instance, Operation
from service.drivers import ContainerStatus, DriverFactory, Leftovers, NodeDriver
from service.errors import (
    NodeFailure,
    NodeRefused,
    NodeUnreachable,
    OperationCancelled,
    OperationSuperseded,
    ServiceError,
)
from service.lifecycle import (
    InstanceState,
    NodeStatus,
    OperationKind,
    OperationStatus,
    Power,
    PowerAction,
)
from service.store import Store
from service.store.collection import Session

log = logging.getLogger(__name__)

CHECKPOINT_EVERY_S = 1.0
"""How often a step under way asks the database whether it is still wanted."""

MAX_ATTEMPTS = 6
"""How often an operation is tried that the node answers with an error. Silence does not count."""

MAX_DELAY_S = 60.0

NOT_YET_S = 1.0
"""How long to wait for another deployment on a node that bears one at a time."""


class NotYet(ServiceError):
    """Something else must end first. Nothing was tried."""


def backoff_s(attempts: int, *, chance: Callable[[], float] = random.random) -> float:
    """Tell how long to wait before the next attempt: 1, 2, 4 ... seconds, a minute at the most.

    Up to half of it is left out by chance, so that those who failed together do not return
    together.
    """
    longest: float = min(MAX_DELAY_S, 2.0 ** min(attempts - 1, 10))
    return longest * (1 - chance() / 2)


class Job:
    """One claimed operation, while this worker holds its lease."""

    def __init__(
        self, store: Store, operation: Operation, *, lease_s: float, now: Callable[[], datetime]
    ) -> None:
        self.store = store
        self.operation = operation
        self.now = now
        self._lease_s = lease_s
        self._renewed_at = time.monotonic()
        self._checked_at = 0.0
        self._lost = False
        self._has_node = False

    @property
    def token(self) -> str:
        """The lease's token, without which nothing of the operation can be written."""
        lease = self.operation["lease"]
        assert lease is not None, "a job's operation was claimed"  # noqa: S101
        return lease["token"]

    def renew(self) -> None:
        """Extend the lease. Called by another thread while a driver is busy."""
        asked_at = time.monotonic()
        if self.store.operations.renew(self.operation["_id"], self.token, lease_s=self._lease_s):
            self._renewed_at = asked_at
            if self._has_node:
                self.hold_node()
        else:
            self._lost = True

    def hold_node(self, *, longer_s: float = 0) -> None:
        """Be the only one who deploys on the node. Raises NotYet while somebody else is.

        Twice a lease long, so that who takes the operation over finds the node still held.
        """
        self._has_node = self.store.nodes.lock_deploy(
            self.operation["node_id"],
            operation_id=self.operation["_id"],
            instance_id=self.operation["instance_id"],
            hold_s=2 * self._lease_s + longer_s,
        )
        if not self._has_node:
            raise NotYet("Another instance is being deployed on the node.")

    def let_node_go(self) -> None:
        """Let others deploy on the node, unless somebody took the operation over."""
        self._has_node = False
        self.check_lease()
        self.store.nodes.unlock_deploy(
            self.operation["node_id"], operation_id=self.operation["_id"]
        )

    def check_lease(self) -> None:
        """Raise OperationSuperseded when the lease may be somebody else's by now."""
        if self._lost or time.monotonic() - self._renewed_at >= self._lease_s:
            raise OperationSuperseded("The lease was lost.")

    def checkpoint(self) -> None:
        """Raise OperationSuperseded or OperationCancelled when the rest is not to be done."""
        self.check_lease()
        if time.monotonic() - self._checked_at >= CHECKPOINT_EVERY_S:
            self.check_cancelled()
            self.read_instance()

    def check_cancelled(self) -> None:
        """Raise OperationCancelled when somebody asked for that."""
        if self.store.operations.get(self.operation["_id"])["cancel_requested"]:
            raise OperationCancelled(operations.CANCELLED)

    def read_instance(self) -> Instance:
        """Read the instance. Raises OperationSuperseded when only a deletion is wanted of it."""
        instance = self.store.instances.find(self.operation["instance_id"])
        self._checked_at = time.monotonic()
        deleting = self.operation["kind"] == OperationKind.DELETE
        if instance is None or (instance["state"] == InstanceState.DELETING) != deleting:
            raise OperationSuperseded("The instance is being deleted or gone.")
        return instance

    def step(self, name: str, work: Callable[[], None]) -> None:
        """Do one step and write down how it went."""
        self.check_lease()
        self.check_cancelled()
        if not self.store.operations.begin_step(
            self.operation["_id"], self.token, name, now=self.now()
        ):
            raise OperationSuperseded("The lease was lost.")
        error: str | None = None
        try:
            work()
        except ServiceError as exc:
            error = exc.message
            raise
        finally:
            self.store.operations.end_step(
                self.operation["_id"], self.token, error=error, now=self.now()
            )

    def has_done(self, name: str) -> bool:
        """Tell whether an earlier attempt ended this step well."""
        return any(
            step["name"] == name and step["ended_at"] is not None and step["error"] is None
            for step in self.operation["steps"]
        )

    def finish(
        self,
        status: OperationStatus,
        *,
        error: str | None = None,
        session: Session | None = None,
    ) -> None:
        """End the operation. Raises OperationSuperseded when it is no longer ours."""
        if not self.store.operations.finish(
            self.operation["_id"],
            self.token,
            status,
            error=error,
            now=self.now(),
            session=session,
        ):
            raise OperationSuperseded("The lease was lost.")

    def end(self, status: OperationStatus, error: str) -> None:
        """End the operation, unless somebody else has it by now."""
        self.store.operations.finish(
            self.operation["_id"], self.token, status, error=error, now=self.now()
        )

    def put_off(self, *, delay_s: float, error: str | None = None, tried: bool = False) -> None:
        """Let the operation be done in `delay_s` seconds, by whoever claims it then."""
        self.store.operations.postpone(
            self.operation["_id"],
            self.token,
            delay_s=delay_s,
            error=error,
            tried=tried,
            now=self.now(),
        )


def deploy(job: Job, driver: NodeDriver) -> None:
    """Make the container, bring its power in line with what is wanted, and call it READY."""

    def create() -> None:
        # A creation that may not be left half-way goes on when it is no longer wanted.
        checkpoint = job.check_lease if driver.exclusive else job.checkpoint
        status = driver.create(instances.specify(job.read_instance()), checkpoint=checkpoint)
        _note(job, driver, status)

    def settle() -> None:
        while True:
            instance = job.read_instance()
            status = _align(job, driver, instance)
            if job.store.instances.move(
                instance["_id"],
                InstanceState.READY,
                now=job.now(),
                changes=instances.observe(driver, instance, status),
                # Somebody who suspends it meanwhile makes us look again.
                only_if={"suspended": instance["suspended"]},
            ):
                return
            if job.read_instance()["state"] != InstanceState.INSTALLING:
                return

    with _one_at_a_time(job, driver):
        job.step("create", create)
    job.step("start", settle)
    job.finish(OperationStatus.SUCCEEDED)


def align_power(job: Job, driver: NodeDriver) -> None:
    """Stop what is suspended and start what is not, as it is wanted by now.

    What FAILED is stopped only. Where there is no container, nothing runs that could be stopped.
    """

    def align() -> None:
        instance = job.read_instance()
        if instance["state"] != InstanceState.READY and not instance["suspended"]:
            raise OperationSuperseded("The instance was unsuspended.")
        try:
            status = _align(job, driver, instance)
        except NodeRefused:
            if not instance["suspended"] or driver.status(instance["_id"]) is not None:
                raise
            job.store.instances.note(instance["_id"], {"power": Power.STOPPED})
        else:
            _note(job, driver, status)

    job.step("power", align)
    job.finish(OperationStatus.SUCCEEDED)


def delete(job: Job, driver: NodeDriver) -> None:
    """Remove the container and its volume, and then the instance with all that it held."""

    def forget(session: Session) -> None:
        instances.forget(job.store, instance, session=session)

    instance = job.read_instance()
    held = _find_lock(job, instance["_id"]) if driver.exclusive else None
    if held is not None and driver.status(instance["_id"]) is None:
        raise NotYet("Its deployment has not come to its end.")
    _remove(job, driver, forget)
    if held is not None:  # nobody else ends the deployment that it held the node for
        job.store.nodes.unlock_deploy(job.operation["node_id"], operation_id=held["operation_id"])


def change_power(job: Job, driver: NodeDriver) -> None:
    """Start, stop or kill the container; what is suspended by now does not start."""
    action = PowerAction(job.operation["kind"])
    job.step(action, partial(_change, job, driver, action))
    job.finish(OperationStatus.SUCCEEDED)


def restart(job: Job, driver: NodeDriver) -> None:
    """Stop the container and start it. Not stopped once more when only the start is missing."""
    for action in (PowerAction.STOP, PowerAction.START):
        if not job.has_done(action):
            job.step(action, partial(_change, job, driver, action))
    job.finish(OperationStatus.SUCCEEDED)


def remove(job: Job, driver: NodeDriver) -> None:
    """Remove what is left on the node of an instance that no document knows."""

    if job.store.instances.find(job.operation["instance_id"]) is not None:
        raise OperationSuperseded("There is an instance of this id again.")
    _remove(job, driver, lambda _: None)


CARRY_OUT: dict[OperationKind, Callable[[Job, NodeDriver], None]] = {
    OperationKind.DEPLOY: deploy,
    OperationKind.DELETE: delete,
    OperationKind.SUSPEND: align_power,
    OperationKind.UNSUSPEND: align_power,
    OperationKind.START: change_power,
    OperationKind.STOP: change_power,
    OperationKind.RESTART: restart,
    OperationKind.KILL: change_power,
    OperationKind.REMOVE: remove,
}


def carry_out(job: Job, drivers: DriverFactory) -> None:
    """Do the operation, and write down its end or when to try again."""
    try:
        _carry_out(job, drivers)
    except OperationSuperseded as exc:
        job.end(OperationStatus.SUPERSEDED, exc.message)
    except OperationCancelled as exc:
        _give_up(job, OperationStatus.CANCELLED, exc.message)
    except NotYet as exc:
        job.put_off(delay_s=NOT_YET_S, error=exc.message)
    except NodeFailure as failure:
        _settle_failure(job, failure)
    except ServiceError:
        # The database is away. The lease runs out, and somebody takes the operation over.
        raise
    except Exception:
        log.exception("unexpected error")
        unknown = NodeFailure(job.operation["node_id"], "Unexpected error; see Skyquay's log.")
        _settle_failure(job, unknown)


def _carry_out(job: Job, drivers: DriverFactory) -> None:
    node = job.store.nodes.find(job.operation["node_id"])
    if node is None:
        raise OperationSuperseded("The node was deleted.")
    if node["status"] == NodeStatus.OFFLINE:
        job.put_off(delay_s=0, error=node["probe_error"])  # it is not claimed before that changes
        return
    with closing(drivers(node)) as driver:
        try:
            CARRY_OUT[job.operation["kind"]](job, driver)
        except OperationSuperseded:
            _clean_up(job, driver)
            raise
        except NodeFailure as failure:
            if not _is_final(job, failure):
                raise
            instance = job.store.instances.find(job.operation["instance_id"])
            reason = failure.reason
            if instance is not None:
                reason = instances.explain(driver, instance, reason)
            raise type(failure)(node["_id"], reason) from failure


@contextmanager
def _one_at_a_time(job: Job, driver: NodeDriver) -> Iterator[None]:
    """Have the node for this deployment alone, where it bears no two at once."""
    if not driver.exclusive:
        yield
        return
    job.hold_node()
    try:
        yield
    except NodeUnreachable:
        # What became of the creation is not known: the node stays held until the next attempt.
        job.hold_node(longer_s=backoff_s(job.operation["attempts"], chance=lambda: 0.0))
        raise
    except BaseException:
        job.let_node_go()
        raise
    job.let_node_go()


def _find_lock(job: Job, instance_id: str) -> Deploying | None:
    """Find what holds the node for a deployment of this instance, whose end is not known."""
    for node in job.store.nodes.list_deploying():
        held = node["deploying"]
        if held is not None and held["instance_id"] == instance_id:
            return held
    return None


def _remove(job: Job, driver: NodeDriver, forget: Callable[[Session], None]) -> None:
    """Have the node remove everything, and note with the operation's end what is left there."""
    left: Leftovers | None = None

    def remove() -> None:
        nonlocal left
        left = driver.remove(job.operation["instance_id"])

    def end(session: Session) -> None:
        leftovers.note(job.store, job.operation, job.token, left, now=job.now(), session=session)
        job.finish(OperationStatus.SUCCEEDED, session=session)
        forget(session)

    job.step("remove", remove)
    if left is not None:
        leftovers.record(job.store, job.operation, left, now=job.now())
    job.store.transaction(end)


def _clean_up(job: Job, driver: NodeDriver) -> None:
    """Remove what a deployment made although its instance was forgotten meanwhile.

    No document knows it, and no other will bear its id, so that nobody else ever would.
    """
    instance_id = job.operation["instance_id"]
    if job.operation["kind"] == OperationKind.DEPLOY and not job.store.instances.find(instance_id):
        log.info("removing what was left of an instance", extra={"instance_id": instance_id})
        driver.remove(instance_id)


def _is_final(job: Job, failure: NodeFailure) -> bool:
    if isinstance(failure, NodeUnreachable):
        return False
    return isinstance(failure, NodeRefused) or job.operation["attempts"] >= MAX_ATTEMPTS


def _settle_failure(job: Job, failure: NodeFailure) -> None:
    if isinstance(failure, NodeUnreachable):
        job.store.nodes.ask_probe(job.operation["node_id"])
    if _is_final(job, failure):
        _give_up(job, OperationStatus.FAILED, failure.reason)
        return
    _note_reason(job, failure.reason)
    job.put_off(delay_s=backoff_s(job.operation["attempts"]), error=failure.reason, tried=True)


def _give_up(job: Job, status: OperationStatus, reason: str) -> None:
    instance_id = job.operation["instance_id"]

    def end(session: Session) -> None:
        job.finish(status, error=reason, session=session)
        if job.operation["kind"] == OperationKind.DEPLOY:
            operations.fail_deploy(job.store, instance_id, reason, now=job.now(), session=session)
        elif status == OperationStatus.FAILED:
            _note_reason(job, reason, session=session)

    job.store.transaction(end)


def _note_reason(job: Job, reason: str, *, session: Session | None = None) -> None:
    """Write down what keeps the operation from its end. What FAILED keeps why it did."""
    instance = job.store.instances.find(job.operation["instance_id"], session=session)
    if instance is not None and instance["state"] != InstanceState.FAILED:
        job.store.instances.note(instance["_id"], {"error": reason}, session=session)


def _align(job: Job, driver: NodeDriver, instance: Instance) -> ContainerStatus:
    job.check_lease()
    action = PowerAction.STOP if instance["suspended"] else PowerAction.START
    return driver.power(instance["_id"], action, stop_command=instance["stop_command"])


def _change(job: Job, driver: NodeDriver, action: PowerAction) -> None:
    instance = job.read_instance()
    if instance["suspended"] and action == PowerAction.START:
        raise OperationSuperseded("The instance was suspended.")
    job.check_lease()
    _note(
        job,
        driver,
        driver.power(instance["_id"], action, stop_command=instance["stop_command"]),
    )


def _note(job: Job, driver: NodeDriver, status: ContainerStatus) -> None:
    instance = job.store.instances.find(job.operation["instance_id"])
    if instance is not None:
        job.store.instances.note(instance["_id"], instances.observe(driver, instance, status))
