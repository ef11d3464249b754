"""What a worker writes down of a container that it saw."""

from service import instances
from service.drivers import NodeDriver
from service.errors import NodeFailure
from service.model.container import ContainerStatus, to_fields
from service.model.documents import Instance

LAST_LINES = 10
"""How many lines of its output tell why a container ended."""


def observe(driver: NodeDriver, instance: Instance, status: ContainerStatus) -> dict[str, object]:
    """Put what a driver says of a container into the fields of its instance.

    Where it tells why the container does not run, the last lines that it printed follow.
    """
    error = explain(driver, instance, status.reason) if status.reason else None
    return to_fields(instance, status, error=error)


def explain(driver: NodeDriver, instance: Instance, reason: str) -> str:
    """Add the last lines that the container printed, where there are any, to a reason."""
    try:
        printed = driver.logs(instance["_id"], tail=LAST_LINES)
    except NodeFailure:
        return reason
    lines = instances.hide_secrets(instance, printed).strip()
    return f"{reason}\nIts last lines:\n{lines}" if lines else reason
