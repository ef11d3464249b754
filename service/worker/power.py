"""What is done to a container's power, and how what was seen of it is written down."""

from service.drivers import STOP_GRACE_S, NodeDriver
from service.errors import PortInUse
from service.model.container import ContainerStatus
from service.model.container_settings import settings_of
from service.model.documents import Instance
from service.model.lifecycle import PowerAction
from service.worker.job import Job
from service.worker.observation import observe


def set_power(
    job: Job, driver: NodeDriver, instance: Instance, action: PowerAction
) -> ContainerStatus:
    """Start, stop or kill the container, a stop by the instance's own command first.

    A host port that something else on the node has is written down there.
    """
    job.check_lease()
    try:
        return driver.power(
            instance["_id"],
            action,
            stop_command=instance["stop_command"],
            stop_timeout_s=settings_of(instance)["stop_grace_s"] or STOP_GRACE_S,
        )
    except PortInUse as refusal:
        job.store.held_ports.record(instance["node_id"], refusal.port, now=job.now())
        raise


def store_status(job: Job, driver: NodeDriver, status: ContainerStatus) -> None:
    """Write down how the container is, unless the instance is gone."""
    instance = job.store.instances.find(job.operation["instance_id"])
    if instance is not None:
        seen = observe(driver, instance, status)
        job.check_lease()
        job.store.instances.update(instance["_id"], seen)
