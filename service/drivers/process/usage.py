"""What the processes of an instance use, as the kernel counts it."""

import math
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil

from service.model.container import ContainerSample, ContainerUsage

SAMPLE_S = 0.25
"""Between the two looks at how much processor time was used."""

MAX_FILES = 10_000
"""Of how many files the sizes are added up; of more that is not known, as it would take long."""


def measure(leader: int, members: Iterable[int], data: Path) -> ContainerUsage | None:
    """Measure these processes, whose first is the `leader`. None: that has just ended."""
    processes = []
    for pid in members:
        with suppress(psutil.NoSuchProcess):
            processes.append(psutil.Process(pid))
    before = {process: _read_cpu_s(process) for process in processes}
    began = time.monotonic()
    time.sleep(SAMPLE_S)
    used_s = sum(max(0.0, _read_cpu_s(process) - cpu_s) for process, cpu_s in before.items())
    elapsed_s = time.monotonic() - began
    try:
        started_at = datetime.fromtimestamp(psutil.Process(leader).create_time(), UTC)
    except psutil.NoSuchProcess:
        return None
    return ContainerUsage(
        cpu_milli=round(used_s * 1000 / elapsed_s),
        memory_bytes=sum(map(_read_memory, processes)),
        disk_bytes=measure_files(data),
        started_at=started_at,
    )


def count(members: Iterable[int]) -> ContainerSample:
    """Count what these processes have used until now. What ended takes its part along."""
    processes = []
    for pid in members:
        with suppress(psutil.NoSuchProcess):
            processes.append(psutil.Process(pid))
    began = [process.create_time() for process in processes]
    return ContainerSample(
        measured_at=datetime.now(UTC),
        cpu_ms=round(sum(map(_read_cpu_s, processes)) * 1000),
        memory_bytes=sum(map(_read_memory, processes)),
        started_at=datetime.fromtimestamp(min(began), UTC) if began else None,
    )


def _read_cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def _read_memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def measure_files(data: Path, *, until: float = math.inf) -> int | None:
    """Add up what the files take on the disk. None: they are too many, or it takes too long.

    `until` is by `time.monotonic`.
    """
    total = files = 0
    for folder, _, names in os.walk(data):
        files += len(names) + 1
        if files > MAX_FILES or time.monotonic() > until:
            return None
        for name in names:
            with suppress(OSError):
                total += os.lstat(Path(folder, name)).st_blocks * 512
    return total
