"""Threads that take turn after turn, whatever goes wrong in one."""

import logging
import threading
from collections.abc import Callable
from functools import partial

from service.drivers.boundary import Interruption
from service.errors import ServiceError

log = logging.getLogger(__name__)


def make_loop(
    name: str,
    turn: Callable[[], bool],
    pause: Callable[[], object],
    *,
    until: threading.Event,
) -> threading.Thread:
    """Make the thread that takes turns, with a pause after each in which nothing was to be done."""

    def loop() -> None:
        while not until.is_set():
            if not attempt(turn):
                pause()

    return threading.Thread(target=loop, name=name, daemon=True)


def start(work: Callable[[], object]) -> None:
    """Have a thread do something."""
    # A daemon, so that a call that hangs does not keep the process from ending.
    threading.Thread(target=attempt, args=(work,), name="loop", daemon=True).start()


def attempt(work: Callable[..., object], *args: object, **kwargs: object) -> object:
    """Do something; None when it fails, which is logged."""
    try:
        return work(*args, **kwargs)
    except (ServiceError, Interruption) as exc:
        # Not the arguments of what was to be done: a node's document is among them.
        function = work.func if isinstance(work, partial) else work
        facts = {"doing": function.__name__, "cause": str(exc.__cause__ or "")}
        log.warning(str(exc), extra=facts)
    except Exception:
        # A bug must not end the worker: the lease runs out, and the operation is tried again.
        log.exception("worker.crashed")
    return None
