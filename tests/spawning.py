"""Which tests may start processes: those that are marked `spawns`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_EVENTS = frozenset(
    {"subprocess.Popen", "os.posix_spawn", "os.fork", "os.forkpty", "os.system", "os.exec"}
)

_watched: str | None = None


class UnmarkedSpawn(BaseException):
    """A test starts a process without being marked so. No test is to catch it."""


def watch(test: str | None) -> None:
    """Let the test that begins start no process; None: let it start what it likes."""
    global _watched  # noqa: PLW0603 - the interpreter's hooks have no other place for it
    _watched = test


@contextmanager
def allowed() -> Iterator[None]:
    """Let what all tests share be started inside."""
    before = _watched
    watch(None)
    try:
        yield
    finally:
        watch(before)


def _hook(event: str, _: object) -> None:
    if _watched is not None and event in _EVENTS:
        raise UnmarkedSpawn(f"{_watched} starts a process: mark it with `spawns`.")


def install() -> None:
    """Watch from now on. Not where coverage is counted: the hook gets in the way of its tracer."""
    sys.addaudithook(_hook)
