"""How the container of an instance is replaced by one with other settings, or as it was before.

The document of the instance has the old settings until the new container is known to run, and the
operation says whether it makes the new one, or the old one again. So whoever takes it over knows
what to make; whatever is there goes, and is made anew. Only a step that has ended is not done
again. The volume stays.
"""

import time
from dataclasses import replace as replace_fields
from functools import partial

from service import replacements
from service.drivers import ContainerSpec, ContainerStatus, NodeDriver
from service.errors import NodeRefused
from service.model.container import make_spec
from service.model.documents import Instance, Replacement
from service.model.lifecycle import (
    InstanceState,
    OperationKind,
    OperationStatus,
    Power,
    PowerAction,
)
from service.model.replacements import changes_of, with_changes
from service.store.collection import Session
from service.worker.exclusive import one_at_a_time
from service.worker.job import Job
from service.worker.keep import await_ports
from service.worker.observation import observe
from service.worker.power import set_power

POLL_S = 0.1
"""How often a program that was just started is looked at."""

ENDED_AT_ONCE = "The program ended as soon as it was started."


def replace(job: Job, driver: NodeDriver) -> None:
    """Make the container that is wanted, and have it run if the one before it did.

    Afterwards the instance has the operation's changes. Where that failed, the operation is told to
    undo, and makes at its next turn what was there before.
    """
    name = "undo" if job.undoing else "replace"
    with one_at_a_time(job, driver):
        if driver.pulls and not job.has_done(name):
            job.step("pull", lambda: _pull(job, driver))
        if not job.has_done(name):
            job.step(name, lambda: _make(job, driver))
    _settle(job, driver)


def _pull(job: Job, driver: NodeDriver) -> None:
    image = _wanted(job)["image"]
    driver.pull(image, checkpoint=job.checkpoint, report=job.report)


def _make(job: Job, driver: NodeDriver) -> None:
    instance = job.read_instance()
    await_ports(job, _wanted(job))
    instance_id = instance["_id"]
    status = driver.status(instance_id)
    job.begin_replacement(found=status is not None, run=should_run(status))
    if status is not None and status.power == Power.RUNNING:
        set_power(job, driver, instance, PowerAction.STOP)
    replacement = _read(job)
    if replacement["keep_volume"] or job.undoing:
        driver.discard(instance_id, checkpoint=job.check_lease)
    else:
        _empty(job, driver)
    if job.undoing and not replacement["found"]:
        return
    # A creation that may not be left half-way goes on when it is no longer wanted.
    checkpoint = job.check_lease if driver.exclusive else job.checkpoint
    wanted = _wanted(job)
    status = driver.create(_make_spec(job, wanted), checkpoint=checkpoint)
    seen = observe(driver, wanted, status)
    job.check_lease()
    job.store.instances.update(instance_id, seen)


def _settle(job: Job, driver: NodeDriver) -> None:
    """Bring the power in line with what is wanted, and end the operation with that."""
    ended = False
    while not ended:
        instance, replacement = _wanted(job), _read(job)
        seen: dict[str, object] = {"power": Power.STOPPED, "container_id": None}
        job.step("start", partial(_align, job, driver, instance, replacement, seen))
        wish = instance["suspended"], replacement["run"]
        ended = job.store.transaction(partial(_end, job, wish, seen))


def _end(
    job: Job, wish: tuple[bool, bool | None], seen: dict[str, object], session: Session
) -> bool:
    """End the operation. False when somebody wanted another power meanwhile, or a deletion."""
    store = job.store
    operation = store.operations.get(job.operation["_id"], session=session)
    instance = store.instances.find(operation["instance_id"], session=session)
    if (
        instance is None
        or instance["state"] == InstanceState.DELETING
        or (instance["suspended"], operation["replacement"]["run"]) != wish
    ):
        return False
    status = OperationStatus.SUCCEEDED
    if job.undoing:
        cancelled = operation["cancel_requested"]
        status = OperationStatus.CANCELLED if cancelled else OperationStatus.FAILED
    job.finish(status, error=job.undoing, session=session)
    changes = {**changes_of(job.operation), **seen}
    replacements.settle(
        store, instance, changes, ready=not job.undoing, now=job.now(), session=session
    )
    return True


def _align(
    job: Job,
    driver: NodeDriver,
    instance: Instance,
    replacement: Replacement,
    seen: dict[str, object],
) -> None:
    """Start or stop the container, and put into `seen` how it is then."""
    if job.undoing and not replacement["found"]:
        return
    runs = replacement["run"] and not instance["suspended"]
    status = set_power(job, driver, instance, PowerAction.START if runs else PowerAction.STOP)
    if runs and not job.undoing:  # what was there before is as it was, whatever that was
        status = await_steady(job, driver, status)
    seen.update(observe(driver, instance, status))


def await_steady(job: Job, driver: NodeDriver, status: ContainerStatus) -> ContainerStatus:
    """Wait until a program that was started has run for a while. Raises NodeRefused if it ended."""
    deadline = time.monotonic() + driver.steady_s
    seen: ContainerStatus | None = status
    while seen is not None and seen.power == Power.RUNNING:
        if time.monotonic() >= deadline:
            return seen
        job.checkpoint()
        time.sleep(POLL_S)
        seen = driver.status(job.operation["instance_id"])
    reason = seen.reason if seen is not None else None
    raise NodeRefused(job.operation["node_id"], reason or ENDED_AT_ONCE)


def _wanted(job: Job) -> Instance:
    """Read the instance as it is to be: one that had no container before it has one."""
    instance = with_changes(job.read_instance(), changes_of(job.operation))
    return instance if job.undoing else {**instance, "state": InstanceState.READY}


def _read(job: Job) -> Replacement:
    return job.store.operations.get(job.operation["_id"])["replacement"]


def should_run(status: ContainerStatus | None) -> bool:
    """Return whether what is there was to run: it does, or ended without being asked to."""
    return status is None or status.power == Power.RUNNING or status.reason is not None


def _make_spec(job: Job, instance: Instance) -> ContainerSpec:
    """Say what should run. Only a reinstallation fetches the image's files again."""
    installs = job.operation["kind"] == OperationKind.REINSTALL and not job.undoing
    return make_spec(instance) if installs else make_copy_spec(instance)


def make_copy_spec(instance: Instance) -> ContainerSpec:
    """Say what should run of an instance that has its files already."""
    return replace_fields(make_spec(instance), install=())


def _empty(job: Job, driver: NodeDriver) -> None:
    left = driver.remove(job.operation["instance_id"])
    if left is not None:
        raise NodeRefused(job.operation["node_id"], f"The volume cannot be emptied: {left.reason}")
