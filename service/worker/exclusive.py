"""Nodes that bear one creation of a container at a time."""

from collections.abc import Iterator
from contextlib import contextmanager

from service.drivers import NodeDriver
from service.errors import NodeUnreachable
from service.model.documents import Deploying
from service.worker.job import Job, backoff_s


@contextmanager
def one_at_a_time(job: Job, driver: NodeDriver) -> Iterator[None]:
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
        job.release_node()
        raise
    job.release_node()


def find_lock(job: Job, instance_id: str) -> Deploying | None:
    """Find what holds the node for a deployment of this instance, whose end is not known."""
    for node in job.store.nodes.list_deploying():
        held = node["deploying"]
        if held is not None and held["instance_id"] == instance_id:
            return held
    return None
