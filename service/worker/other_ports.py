"""Other host ports for an instance that is being deployed, where something else has those found."""

from collections.abc import Callable

from service import port_choice
from service.drivers import NodeDriver
from service.errors import NoFreePorts, PortInUse
from service.model.lifecycle import InstanceState
from service.store.collection import Session
from service.worker.interruptions import LeaseLost, OperationSuperseded
from service.worker.job import Job

STEP = "ports"

MOST = 5
"""How often an operation finds other ports."""


def start_on_others(
    job: Job, driver: NodeDriver, start: Callable[[], None], create: Callable[[], None]
) -> None:
    """Start the program; where a host port is in use that Skyquay found, on others.

    Raises PortInUse for a port that somebody named, when no others are free, and past MOST.
    """
    left = MOST - sum(step["name"] == STEP for step in job.operation["steps"])
    while True:
        try:
            job.step("start", start)
        except PortInUse as refusal:
            if left <= 0:
                raise
            left -= 1
            _find_others(job, driver, refusal)
            job.step("create", create)
        else:
            return


def _find_others(job: Job, driver: NodeDriver, refusal: PortInUse) -> None:
    """Remove the container, whose ports are fixed, and give its instance others.

    In this order: what is made anew is made of the document, and a container with other ports than
    that would be adopted by whoever takes the operation over. The volume stays.
    """
    instance_id = job.operation["instance_id"]

    def write(session: Session) -> None:
        if not job.store.claims.fence(job.operation["_id"], job.token, session=session):
            raise LeaseLost
        instance = job.store.instances.find(instance_id, session=session)
        if instance is None or instance["state"] != InstanceState.INSTALLING:
            raise OperationSuperseded("The instance is being deleted or gone.")
        try:
            others = port_choice.choose_others(
                job.store, instance, refusal.port, now=job.now(), session=session
            )
        except NoFreePorts:
            raise refusal from None
        changes = {**others, "container_id": None, "updated_at": job.now()}
        job.store.instances.change(instance_id, changes, session=session)

    def work() -> None:
        driver.discard(instance_id, checkpoint=job.check_lease)
        job.check_lease()
        job.store.transaction(write)

    if not port_choice.may_move(job.read_instance(), refusal.port):
        raise refusal
    job.step(STEP, work)
