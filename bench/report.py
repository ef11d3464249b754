"""What bench/compare.py counted, as tables."""

import json
import os
import platform
import re
import statistics
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from bench.load import Load

FIRST = "FastAPI"
"""What the others are compared with."""

OURS = "Skyquay"


Rates = dict[str, dict[str, list[Load]]]
"""The rounds of each work, by server."""


def describe_machine(peers: Path, installed: Path) -> str:
    """Say what the figures were measured on."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    listed = subprocess.run(
        [installed / "venv" / "bin" / "python", "-m", "pip", "list", "--format=json"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    versions = {each["name"].lower(): each["version"] for each in json.loads(listed)}
    express = json.loads((peers / "package.json").read_text())["dependencies"]
    return (
        f"{os.cpu_count()} cores ({cpu[1] if cpu else 'unknown'}), Python "
        f"{platform.python_version()}, Node {node.strip()}, Linux {platform.release()}; "
        f"Flask {version('flask')}, PyMongo {version('pymongo')}; "
        f"FastAPI {versions['fastapi']}, uvicorn {versions['uvicorn']}, "
        f"granian {versions['granian']}, Express {express['express']}"
    )


def print_table(size: int, rates: Rates) -> list[str]:
    """Lay out the rates, by work and server, as ratios to the first server."""
    names = list(max(rates.values(), key=len))
    lines = [
        f"## {size:,} instances",
        "",
        f"| work | {FIRST}, answers a second | {' | '.join(names[1:])} |",
        "| --- " * (len(names) + 1) + "|",
    ]
    for work, by_server in rates.items():
        if FIRST in by_server:
            first = statistics.median(load.rate for load in by_server[FIRST])
            cells = [_compare(by_server, name, FIRST) for name in names[1:]]
            lines.append(f"| {work} | {first:.0f} | {' | '.join(cells)} |")
    lines += [
        "",
        f"{OURS} to the others, in the same rounds:",
        "",
        f"| work | {' | '.join(name for name in names if name != OURS)} |",
        "| --- " * len(names) + "|",
    ]
    for work, by_server in rates.items():
        if len(by_server) > 1:
            cells = [_compare(by_server, OURS, name) for name in names if name != OURS]
            lines.append(f"| {work} | {' | '.join(cells)} |")
    return [*lines, ""]


def print_growth(by_size: dict[int, Rates]) -> list[str]:
    """Lay out how our answers take as long, and read as much, however many instances there are."""
    least, *_ = by_size
    lines = [
        f"## {OURS} by size",
        "",
        f"Ratios to {least:,} instances are of other minutes: only their order of size counts.",
        "",
        "| work | instances | p50 ms | ratio | p99 ms | ratio | documents examined |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for size, rates in by_size.items():
        for work, by_server in rates.items():
            if work in by_size[least] and all(work in each for each in by_size.values()):
                ours, base = by_server[OURS], by_size[least][work][OURS]
                p50, p50_ratio = _grow(ours, base, lambda load: load.p50_ms)
                p99, p99_ratio = _grow(ours, base, lambda load: load.p99_ms)
                documents = statistics.median(load.documents for load in ours)
                lines.append(
                    f"| {work} | {size:,} | {p50:.2f} | {p50_ratio:.2f} | {p99:.2f} | "
                    f"{p99_ratio:.2f} | {documents:.1f} |"
                )
    return [*lines, ""]


def _compare(by_server: dict[str, list[Load]], name: str, other: str) -> str:
    """Write the median, the smallest and the largest ratio of the rounds."""
    pairs = zip(by_server[name], by_server[other], strict=True)
    ratios = [load.rate / base.rate for load, base in pairs if base.rate]
    if not ratios:
        return "-"
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def _grow(ours: list[Load], base: list[Load], read: Callable[[Load], float]) -> tuple[float, float]:
    took = statistics.median(map(read, ours))
    return took, took / statistics.median(map(read, base))
