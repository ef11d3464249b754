"""The boundary of drivers: no error leaves one but those of ours, whatever a node says."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from service.errors import NodeFailure, ServiceError

CALLS = (
    "probe",
    "recover",
    "pull",
    "create",
    "status",
    "list",
    "describe",
    "logs",
    "printed",
    "read_logs",
    "follow_logs",
    "command",
    "usage",
    "sample",
    "measure_volumes",
    "read_volume",
    "write_volume",
    "power",
    "follow_power",
    "remove",
)
"""What a driver can be asked. See NodeDriver."""

Driver = TypeVar("Driver", bound=type)


class Interruption(Exception):
    """Raised by `authorize`, `checkpoint` or `report`: the rest of the call is not wanted.

    It goes through every driver as it is.
    """


def raises_only_ours(translate: Callable[[str, Exception], NodeFailure]) -> Callable[..., Any]:
    """Make a decorator of driver classes. Every error that a call raises is translated.

    What a checkpoint raises goes through: it is no word about the node.
    """

    def decorate(driver: Driver) -> Driver:
        for name in CALLS:
            setattr(driver, name, _translated(getattr(driver, name), translate))
        return driver

    return decorate


def _translated(
    call: Callable[..., Any], translate: Callable[[str, Exception], NodeFailure]
) -> Callable[..., Any]:
    @wraps(call)
    def translated(driver: Any, *args: Any, **options: Any) -> Any:
        theirs: list[BaseException] = []

        def checkpoint() -> None:
            try:
                options_checkpoint()
            except BaseException as exc:
                theirs.append(exc)
                raise

        if "checkpoint" in options:
            options_checkpoint = options["checkpoint"]
            options["checkpoint"] = checkpoint
        try:
            return call(driver, *args, **options)
        except (ServiceError, Interruption):
            raise
        except Exception as exc:
            if any(exc is each for each in theirs):
                raise
            raise translate(driver._node_id, exc) from exc

    return translated
