"""What is done for each kind of operation.

Every step may be done again: a worker may die after any line, and another does the operation from
its beginning. What was seen is written down as it is seen.
"""

from collections.abc import Callable
from functools import partial

from service import instances, leftovers, operations
from service.drivers import Leftovers, NodeDriver
from service.errors import NodeRefused
from service.model.container import ContainerStatus, make_spec
from service.model.documents import Instance, removed_id
from service.model.lifecycle import (
    InstanceState,
    OperationKind,
    OperationStatus,
    Power,
    PowerAction,
)
from service.store.collection import Session
from service.worker.exclusive import find_lock, one_at_a_time
from service.worker.interruptions import NodeBusy, OperationSuperseded
from service.worker.job import Job
from service.worker.keep import await_ports, keep
from service.worker.observation import observe
from service.worker.other_ports import start_on_others
from service.worker.power import set_power, store_status
from service.worker.replace import replace


def deploy(job: Job, driver: NodeDriver) -> None:
    """Make the container, bring its power in line with what is wanted, and call it READY.

    Where a host port that was found is in use on the node, others are found.
    """

    def pull() -> None:
        image = job.read_instance()["image"]
        driver.pull(image, checkpoint=job.checkpoint, report=job.report)

    def create() -> None:
        # A creation that may not be left half-way goes on when it is no longer wanted.
        checkpoint = job.check_lease if driver.exclusive else job.checkpoint
        instance = job.read_instance()
        await_ports(job, instance)
        status = driver.create(make_spec(instance), checkpoint=checkpoint)
        store_status(job, driver, status)

    def settle() -> None:
        while True:
            instance = job.read_instance()
            status = _align(job, driver, instance)
            changes = observe(driver, instance, status)
            job.check_lease()
            if job.store.instances.move(
                instance["_id"],
                InstanceState.READY,
                now=job.now(),
                changes=changes,
                # Somebody who suspends it meanwhile makes us look again.
                only_if={"suspended": instance["suspended"]},
            ):
                return
            if job.read_instance()["state"] != InstanceState.INSTALLING:
                return

    with one_at_a_time(job, driver):
        if driver.pulls:
            job.step("pull", pull)
        job.step("create", create)
    start_on_others(job, driver, settle, create)
    job.finish(OperationStatus.SUCCEEDED)


def align_power(job: Job, driver: NodeDriver) -> None:
    """Stop what is suspended; start what is not, where that was asked for.

    What FAILED is stopped only. Where there is no container, nothing runs that could be stopped.
    """
    starts = job.operation["kind"] == OperationKind.UNSUSPEND

    def align() -> None:
        instance = job.read_instance()
        may_start = starts and instance["state"] == InstanceState.READY
        if not instance["suspended"] and not may_start:
            # Whoever unsuspended it had another operation start it, if it is to run.
            raise OperationSuperseded("The instance was unsuspended.")
        try:
            status = _align(job, driver, instance)
        except NodeRefused:
            if not instance["suspended"] or driver.status(instance["_id"]) is not None:
                raise
            job.store.instances.update(instance["_id"], {"power": Power.STOPPED})
        else:
            store_status(job, driver, status)

    job.step("power", align)
    job.finish(OperationStatus.SUCCEEDED)


def delete(job: Job, driver: NodeDriver) -> None:
    """Remove the container and its volume, and then the instance with all that it held."""

    def forget(session: Session) -> None:
        instances.forget(job.store, instance, now=job.now(), session=session)

    instance = job.read_instance()
    held = find_lock(job, instance["_id"]) if driver.exclusive else None
    if held is not None and driver.status(instance["_id"]) is None:
        raise NodeBusy("Its deployment has not come to its end.")
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
    """Remove what is left on the node of an instance that no document knows there."""

    def is_gone(session: Session) -> bool:
        return operations.is_gone_from(job.store, job.operation, session=session)

    if not job.store.transaction(is_gone):
        raise OperationSuperseded("There is an instance of this id again.")
    _remove(job, driver, lambda _: None)


def _remove(job: Job, driver: NodeDriver, forget: Callable[[Session], None]) -> None:
    """Have the node remove everything, and note with the operation's end what is left there."""
    left: Leftovers | None = None

    def remove() -> None:
        nonlocal left
        left = driver.remove(removed_id(job.operation))

    def end(session: Session) -> None:
        leftovers.attach(job.store, job.operation, job.token, left, now=job.now(), session=session)
        job.finish(OperationStatus.SUCCEEDED, session=session)
        forget(session)

    job.step("remove", remove)
    if left is not None:
        leftovers.record(job.store, job.operation, left, now=job.now())
    job.store.transaction(end)


def _align(job: Job, driver: NodeDriver, instance: Instance) -> ContainerStatus:
    action = PowerAction.STOP if instance["suspended"] else PowerAction.START
    return _set_power(job, driver, instance, action)


def _change(job: Job, driver: NodeDriver, action: PowerAction) -> None:
    instance = job.read_instance()
    if instance["suspended"] and action == PowerAction.START:
        raise OperationSuperseded("The instance was suspended.")
    store_status(job, driver, _set_power(job, driver, instance, action))


def _set_power(
    job: Job, driver: NodeDriver, instance: Instance, action: PowerAction
) -> ContainerStatus:
    """Do it; what is to start waits for its ports."""
    if action == PowerAction.START:
        await_ports(job, instance)
    return set_power(job, driver, instance, action)


CARRY_OUT: dict[OperationKind, Callable[[Job, NodeDriver], None]] = {
    OperationKind.DEPLOY: deploy,
    OperationKind.DELETE: delete,
    OperationKind.KEEP: keep,
    OperationKind.SUSPEND: align_power,
    OperationKind.UNSUSPEND: align_power,
    OperationKind.START: change_power,
    OperationKind.STOP: change_power,
    OperationKind.RESTART: restart,
    OperationKind.KILL: change_power,
    OperationKind.REMOVE: remove,
    OperationKind.UPDATE: replace,
    OperationKind.REINSTALL: replace,
}
