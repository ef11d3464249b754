"""What is done on nodes for instances that are deleted and kept."""

from service.drivers import NodeDriver
from service.model.documents import Instance
from service.model.lifecycle import OperationStatus, Power, PowerAction
from service.worker.exclusive import find_lock
from service.worker.interruptions import NodeBusy
from service.worker.job import Job
from service.worker.observation import observe
from service.worker.power import set_power


def keep(job: Job, driver: NodeDriver) -> None:
    """Stop the container, if there is one. It stays, with its volume."""
    instance = job.read_instance()
    held = find_lock(job, instance["_id"]) if driver.exclusive else None
    if held is not None and driver.status(instance["_id"]) is None:
        raise NodeBusy("Its deployment has not come to its end.")

    def stop() -> None:
        seen: dict[str, object] = {"power": Power.STOPPED, "container_id": None}
        if driver.status(instance["_id"]) is not None:
            status = set_power(job, driver, instance, PowerAction.STOP)
            seen = observe(driver, instance, status)
        job.check_lease()
        job.store.deleted.update(instance["_id"], seen)

    job.step("stop", stop)
    job.finish(OperationStatus.SUCCEEDED)
    if held is not None:  # nobody else ends the deployment that it held the node for
        job.store.nodes.unlock_deploy(job.operation["node_id"], operation_id=held["operation_id"])


def await_ports(job: Job, instance: Instance) -> None:
    """Raise NodeBusy while a deleted instance is not stopped that listens on a port of this one."""
    ports = {pair["host"] for pair in instance["port_map"]}
    if ports & job.store.deleted.list_bound_ports(instance["node_id"]):
        raise NodeBusy("A deleted instance that had one of its ports is being stopped.")
