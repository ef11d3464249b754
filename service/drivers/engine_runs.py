"""How a container runs and ran, as Docker knows it: read from what its API says."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypedDict

_NEVER = "0001-"
"""How the time begins that stands for none."""


class Run(TypedDict):
    """What is known of a container's runs, by the names of ContainerStatus."""

    exit_code: int | None
    oom_killed: bool | None
    restarts: int | None
    started_at: datetime | None


def read_run(container: Mapping[str, Any], *, runs: bool) -> Run:
    """Read how the container's last run began and, unless it still `runs`, how it ended.

    Raises ValueError, KeyError or TypeError for what makes no sense.
    """
    state = container["State"]
    began = state.get("StartedAt")
    ran = state.get("Status") != "created" and not str(began).startswith(_NEVER)
    ended = ran and not runs
    return Run(
        exit_code=state["ExitCode"] if ended else None,
        oom_killed=bool(state.get("OOMKilled")) if ended else None,
        restarts=container.get("RestartCount"),
        started_at=parse_time(began) if ran and began is not None else None,
    )


def parse_time(text: str) -> datetime:
    """Read a time of the engine's, to the millisecond, which is what is stored."""
    time = datetime.fromisoformat(text).astimezone(UTC)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)
