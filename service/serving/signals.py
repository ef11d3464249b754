"""How a process that runs until it is told to stop hears of that."""

import signal
from collections.abc import Callable

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def leave_on_signals() -> None:
    """Have signals unwind the command in order, once: what follows is bounded."""
    on_signals(_leave)


def _leave() -> None:
    raise SystemExit(0)


def on_signals(act: Callable[[], None]) -> None:
    """Act at the first SIGTERM, Ctrl-C or SIGHUP, and ignore those that follow.

    SIGHUP comes from a terminal that closes, from a service manager's reload, or from the parent
    that replaces this process. Where it is ignored, as `nohup` has it, that stays so.
    """

    def handle(*_: object) -> None:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        act()

    for number in _SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handle)
