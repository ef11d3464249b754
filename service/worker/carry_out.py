"""How a claimed operation comes to its end, whatever its node does.

An operation that fails is tried again, later and later; one that nobody wants any more ends.
"""

import logging
from contextlib import closing

from service import deletions, instances, operations, replacements
from service.drivers import DriverFactory, NodeDriver
from service.errors import NodeFailure, NodeRefused, NodeUnreachable, PortInUse, ServiceError
from service.model.lifecycle import (
    PULLING,
    REMAKING,
    InstanceState,
    NodeStatus,
    OperationKind,
    OperationStatus,
)
from service.model.replacements import changes_of, with_changes
from service.store.collection import Session
from service.worker.bulk import OpenSecret, have_no_key, take_turn
from service.worker.interruptions import (
    LeaseLost,
    NodeBusy,
    OperationCancelled,
    OperationSuperseded,
)
from service.worker.job import UNEXPECTED, Job, backoff_s
from service.worker.observation import explain
from service.worker.steps import CARRY_OUT
from service.worker.transfer import transfer

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 6
"""How often an operation is tried that the node answers with an error. Silence does not count."""

NODE_BUSY_S = 1.0
"""How long to wait for another deployment on a node that bears one at a time."""


def carry_out(job: Job, open_driver: DriverFactory, open_secret: OpenSecret = have_no_key) -> None:
    """Do the operation, and write down its end or when to try again.

    Once the lease is lost nothing is written and no node is touched: the operation stays as it is
    until its lease has run out in the database too, and whoever takes it over then carries on.
    """
    try:
        if job.operation["kind"] == OperationKind.BULK:
            take_turn(job, open_secret)
        else:
            _end(job, open_driver)
    except LeaseLost:
        log.warning("lease.lost", extra={"kind": job.operation["kind"]})


def _end(job: Job, open_driver: DriverFactory) -> None:
    try:
        _carry_out(job, open_driver)
    except LeaseLost:
        raise
    except OperationSuperseded as exc:
        job.finish(OperationStatus.SUPERSEDED, error=str(exc))
    except OperationCancelled as exc:
        _give_up(job, OperationStatus.CANCELLED, str(exc))
    except NodeBusy as exc:
        job.reschedule(delay_s=NODE_BUSY_S, error=str(exc))
    except NodeFailure as failure:
        _settle_failure(job, failure)
    except ServiceError:
        # The database is away. The lease runs out, and somebody takes the operation over.
        raise
    except Exception:
        log.exception("operation.crashed")
        _settle_failure(job, NodeFailure(job.operation["node_id"], UNEXPECTED))


def _carry_out(job: Job, open_driver: DriverFactory) -> None:
    if job.operation["kind"] == OperationKind.TRANSFER:
        transfer(job, open_driver)
        _reset_unanswered(job)
        return
    node = job.store.nodes.find(job.operation["node_id"])
    if node is None:
        raise OperationSuperseded("The node was deleted.")
    if node["status"] == NodeStatus.OFFLINE:
        job.reschedule(
            delay_s=0, error=node["probe_error"]
        )  # it is not claimed before that changes
        return
    with closing(open_driver(node, authorize=job.check_lease)) as driver:
        try:
            CARRY_OUT[job.operation["kind"]](job, driver)
            _reset_unanswered(job)
        except OperationSuperseded:
            _clean_up(job, driver)
            raise
        except NodeFailure as failure:
            if not _is_final(job, failure):
                raise
            instance = job.store.instances.find(job.operation["instance_id"])
            reason = failure.reason
            if instance is not None:
                wanted = with_changes(instance, changes_of(job.operation))
                reason = instances.hide_secrets(instance, explain(driver, wanted, reason))
            kind = NodeRefused if isinstance(failure, NodeRefused) else NodeFailure
            raise kind(node["_id"], reason) from failure


def _clean_up(job: Job, driver: NodeDriver) -> None:
    """Remove what was made although its instance was forgotten meanwhile.

    No document knows it, and no other will bear its id, so that nobody else ever would.
    """
    instance_id = job.operation["instance_id"]
    if job.operation["kind"] in PULLING and not deletions.is_known(job.store, instance_id):
        log.info("instance.cleaned_up", extra={"instance_id": instance_id})
        driver.remove(instance_id)


def _is_final(job: Job, failure: NodeFailure) -> bool:
    transfer = job.operation.get("transfer")
    if transfer and job.undoing is not None and failure.node_id == transfer["target_id"]:
        return False  # its program may run there, and until it does not, none may here
    leaves = transfer is not None and job.undoing is None
    tried_enough = job.operation["attempts"] >= MAX_ATTEMPTS
    match failure:
        case NodeUnreachable():
            # A program that was stopped for its transfer does not wait for ever to run again.
            return leaves and tried_enough
        case PortInUse() if job.operation["kind"] in REMAKING and not leaves:
            # The program had the port, and was stopped to be made anew. What took it meanwhile,
            # such as a connection that somebody opened, may let it go.
            return tried_enough
        case NodeRefused():
            return True
    return tried_enough


def _settle_failure(job: Job, failure: NodeFailure) -> None:
    job.check_lease()
    if isinstance(failure, NodeUnreachable):
        job.store.nodes.count_unanswered(failure.node_id)
    else:
        _reset_unanswered(job)
    if _is_final(job, failure):
        _give_up(job, OperationStatus.FAILED, failure.reason)
        return
    if job.operation["kind"] not in REMAKING:
        _store_reason(job, failure.reason)
    job.reschedule(delay_s=backoff_s(job.operation["attempts"]), error=failure.reason, tried=True)


def _reset_unanswered(job: Job) -> None:
    """End the trial of a node that has finished something: what waits for it is due at once."""
    if job.store.nodes.reset_unanswered(job.operation["node_id"]):
        job.store.operations.retry_now_on_node(job.operation["node_id"])


def _give_up(job: Job, status: OperationStatus, reason: str) -> None:
    instance_id = job.operation["instance_id"]
    replaces = job.operation["kind"] in REMAKING
    if replaces:
        replacement = job.store.operations.get(job.operation["_id"])["replacement"]
        if replacement["begun"] and job.undoing is None:
            job.begin_undo(reason)
            return
        if job.undoing is not None:
            reason = f"{job.undoing}\nWhat was there before could not be made again: {reason}"

    def end(session: Session) -> None:
        job.finish(status, error=reason, session=session)
        if replaces:
            replacements.drop(job.store, job.operation, now=job.now(), session=session)
        if job.operation["kind"] == OperationKind.DEPLOY:
            operations.fail_deploy(job.store, instance_id, reason, now=job.now(), session=session)
        elif status == OperationStatus.FAILED and (not replaces or job.undoing is not None):
            _store_reason(job, reason, session=session)

    job.store.transaction(end)


def _store_reason(job: Job, reason: str, *, session: Session | None = None) -> None:
    """Write down what keeps the operation from its end. What FAILED keeps why it did."""
    instance = job.store.instances.find(job.operation["instance_id"], session=session)
    if instance is not None and instance["state"] != InstanceState.FAILED:
        job.store.instances.update(instance["_id"], {"error": reason}, session=session)
