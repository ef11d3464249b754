"""How an instance gets to another node, or stays where it was.

The program is stopped, its files are copied and compared, and the container on the target is
started. One transaction makes that the instance's; until then all can be undone: the target's goes,
and the program on the source is started again. What is started anywhere is started only after the
other one is known to be stopped, or removed. A step that has ended is not done again, and a copy
that was cut off begins anew: so whoever takes the operation over knows what there may be.
"""

from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial

from service import arrivals, instances, transfers
from service.drivers import DriverFactory, NodeDriver
from service.errors import NodeFailure, NodeRefused, NodeUnreachable
from service.model.documents import Instance, Node, Operation
from service.model.lifecycle import InstanceState, OperationStatus, Power, PowerAction
from service.model.replacements import changes_of, with_changes
from service.store.collection import Session
from service.worker.interruptions import OperationSuperseded
from service.worker.job import Job
from service.worker.observation import explain, observe
from service.worker.power import set_power
from service.worker.replace import await_steady, make_copy_spec, should_run
from service.worker.volume_copy import copy_volume


@dataclass(frozen=True, slots=True)
class _Transfer:
    """A transfer under way, with both of its nodes. None: the node was deleted."""

    job: Job
    source: NodeDriver | None
    target: NodeDriver | None

    @property
    def instance_id(self) -> str:
        return self.job.operation["instance_id"]

    @property
    def source_id(self) -> str:
        return self.job.operation["transfer"]["source_id"]

    @property
    def target_id(self) -> str:
        return self.job.operation["transfer"]["target_id"]

    def read(self) -> Operation:
        """Read the operation as it is now."""
        return self.job.store.operations.get(self.job.operation["_id"])

    def require_source(self) -> NodeDriver:
        """Return the source. Raises OperationSuperseded when it was deleted, with what is on it."""
        if self.source is None:
            raise OperationSuperseded("The node was deleted.")
        return self.source

    def require_target(self) -> NodeDriver:
        """Return the target. Raises NodeRefused when it was deleted."""
        if self.target is None:
            raise NodeRefused(self.target_id, "The node was deleted.")
        return self.target


def transfer(job: Job, open_driver: DriverFactory) -> None:
    """Bring the instance to the target, or back.

    Afterwards it is on the target with its files, runs if it is to run, and the operation has
    ended; or the operation is told to undo, and its next turn does that.
    """
    plan = job.operation["transfer"]
    with ExitStack() as stack:

        def open_node(node: Node | None) -> NodeDriver | None:
            if node is None:
                return None
            return stack.enter_context(closing(open_driver(node, authorize=job.check_lease)))

        find = job.store.nodes.find
        both = _Transfer(
            job, open_node(find(plan["source_id"])), open_node(find(plan["target_id"]))
        )
        try:
            try:
                if job.undoing is None:
                    _go(both)
                else:
                    _return(both)
            except NodeFailure:
                job.read_instance()  # of one that goes nothing is tried again
                raise
        except OperationSuperseded:
            _leave(both)
            raise


def _go(both: _Transfer) -> None:
    job = both.job
    job.read_instance()
    if not job.has_done("copy"):
        source, target = both.require_source(), both.require_target()
        if target.pulls and not job.has_done("pull"):
            job.step("pull", lambda: _pull(job, target))
        job.step("stop", lambda: _stop(both, source))
        job.step("copy", lambda: _copy(both, source, target))
    _settle(both)


def _pull(job: Job, target: NodeDriver) -> None:
    image = job.read_instance()["image"]
    target.pull(image, checkpoint=job.checkpoint, report=job.report)


def _stop(both: _Transfer, source: NodeDriver) -> None:
    job = both.job
    instance = job.read_instance()
    status = source.status(instance["_id"])
    if status is None:
        raise NodeRefused(instance["node_id"], "There is no container that could be transferred.")
    job.begin_replacement(found=True, run=should_run(status))
    status = set_power(job, source, instance, PowerAction.STOP)
    _require_stopped(source, both.instance_id, both.source_id)
    seen = observe(source, instance, status)
    job.check_lease()
    job.store.instances.update(instance["_id"], seen)


def _require_stopped(driver: NodeDriver, instance_id: str, node_id: str) -> None:
    status = driver.status(instance_id)
    if status is not None and status.power != Power.STOPPED:
        raise NodeFailure(node_id, "The container does not stay stopped.")


def _copy(both: _Transfer, source: NodeDriver, target: NodeDriver) -> None:
    """Make the container on the target, with the same files. What an earlier attempt made goes."""
    job = both.job
    left = target.remove(both.instance_id)
    if left is not None:
        raise NodeRefused(both.target_id, f"The volume cannot be emptied: {left.reason}")
    status = target.create(make_copy_spec(_wanted(job)), checkpoint=job.checkpoint)
    if status.power == Power.RUNNING:
        set_power(job, target, _wanted(job), PowerAction.KILL)
    copy_volume(job, source, target)
    _require_stopped(source, both.instance_id, both.source_id)  # else the files may have changed
    # From now on the source is not needed, should it go down.
    job.go_on_at(both.target_id)


def _settle(both: _Transfer) -> None:
    """Bring the power on the target in line with what is wanted, and end the operation with it."""
    job, ended = both.job, False
    while not ended:
        instance, run = _wanted(job), both.read()["replacement"]["run"]
        seen: dict[str, object] = {}
        job.step("start", partial(_start, both, instance, run, seen))
        ended = job.store.transaction(partial(_end, both, (instance["suspended"], run), seen))


def _start(both: _Transfer, instance: Instance, run: bool | None, seen: dict[str, object]) -> None:
    """Start or stop the container on the target, and put into `seen` how it is then."""
    job, target = both.job, both.require_target()
    _require_source_stopped(both)
    runs = run and not instance["suspended"]
    try:
        status = set_power(job, target, instance, PowerAction.START if runs else PowerAction.STOP)
        if runs:
            status = await_steady(job, target, status)
    except NodeRefused as refused:
        reason = instances.hide_secrets(instance, explain(target, instance, refused.reason))
        raise NodeRefused(both.target_id, reason) from refused
    seen.update(observe(target, instance, status))


def _require_source_stopped(both: _Transfer) -> None:
    """Raise NodeRefused where somebody started the container on the source past Skyquay.

    A source that does not answer was seen to have stopped it, and starts nothing by itself.
    """
    try:
        status = both.require_source().status(both.instance_id)
    except NodeUnreachable:
        return
    if status is not None and status.power == Power.RUNNING:
        raise NodeRefused(
            both.source_id,
            "Somebody started the container on its node after its files were copied.",
        )


def _end(
    both: _Transfer, wish: tuple[bool, bool | None], seen: dict[str, object], session: Session
) -> bool:
    """End the operation. False when somebody wanted another power meanwhile, or a deletion."""
    job, store = both.job, both.job.store
    operation = store.operations.get(job.operation["_id"], session=session)
    if not _is_as_wished(both, operation, wish, session):
        return False
    job.finish(OperationStatus.SUCCEEDED, session=session)
    transfers.complete(store, operation, seen, now=job.now(), session=session)
    return True


def _is_as_wished(
    both: _Transfer, operation: Operation, wish: tuple[bool, bool | None], session: Session
) -> bool:
    instance = both.job.store.instances.find(both.instance_id, session=session)
    return (
        instance is not None
        and instance["state"] != InstanceState.DELETING
        and (instance["suspended"], operation["replacement"]["run"]) == wish
    )


def _return(both: _Transfer) -> None:
    """Remove what is on the target, and have the program on the source run as it did."""
    job, source = both.job, both.require_source()
    remains = False

    def clear() -> None:
        nonlocal remains
        remains = not _clear_target(both)

    job.step("undo", clear)
    ended = False
    while not ended:
        instance, run = job.read_instance(), both.read()["replacement"]["run"]
        seen: dict[str, object] = {}
        job.step("restart", partial(_restart, both, source, instance, run, seen))
        wish = instance["suspended"], run
        ended = job.store.transaction(partial(_end_undo, both, wish, seen, remains))


def _clear_target(both: _Transfer) -> bool:
    """Remove all from the target; return whether all is gone. Certainly nothing runs there then."""
    job, target = both.job, both.target
    if target is None:
        return True
    if any(step["name"] == "start" for step in both.read()["steps"]):
        status = target.status(both.instance_id)
        if status is not None and status.power != Power.STOPPED:
            set_power(job, target, job.read_instance(), PowerAction.KILL)
            _require_stopped(target, both.instance_id, both.target_id)
    try:
        return target.remove(both.instance_id) is None
    except NodeFailure:
        return False


def _restart(
    both: _Transfer,
    source: NodeDriver,
    instance: Instance,
    run: bool | None,
    seen: dict[str, object],
) -> None:
    runs = run and not instance["suspended"]
    status = set_power(both.job, source, instance, PowerAction.START if runs else PowerAction.STOP)
    seen.update(observe(source, instance, status))


def _end_undo(
    both: _Transfer,
    wish: tuple[bool, bool | None],
    seen: dict[str, object],
    remains: bool,
    session: Session,
) -> bool:
    job, store = both.job, both.job.store
    operation = store.operations.get(job.operation["_id"], session=session)
    if not _is_as_wished(both, operation, wish, session):
        return False
    cancelled = operation["cancel_requested"]
    status = OperationStatus.CANCELLED if cancelled else OperationStatus.FAILED
    job.finish(status, error=job.undoing, session=session)
    now = job.now()
    store.instances.change(both.instance_id, {**seen, "updated_at": now}, session=session)
    instance = store.instances.get(both.instance_id, session=session)
    arrivals.release(store, instance, may_be_there=remains, now=now, session=session)
    return True


def _leave(both: _Transfer) -> None:
    """Remove what was made on the target although the instance goes, or is gone.

    A deletion has it removed as well, but perhaps before this made it.
    """
    job = both.job
    if (
        both.target is None
        or not job.store.operations.get(job.operation["_id"])["replacement"]["begun"]
    ):
        return
    try:
        both.target.remove(both.instance_id)
    except NodeFailure:
        job.store.transaction(
            lambda session: arrivals.leave(
                job.store, both.instance_id, both.target_id, now=job.now(), session=session
            )
        )


def _wanted(job: Job) -> Instance:
    """Read the instance as it is to be on the target."""
    return with_changes(job.read_instance(), changes_of(job.operation))
