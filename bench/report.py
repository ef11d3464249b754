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

BySize = dict[int, list[Load]]
"""The rounds of one work of one server, by how many instances there are."""


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


def print_growth(found: dict[str, dict[str, BySize]]) -> list[str]:
    """Lay out how answers take as long, and read as much, however many instances there are."""
    lines = [
        "## By size",
        "",
        "Each size is asked in turn with the least, and compared with it in the same round.",
        "",
        "| work | of | instances | p50 ms | ratio | p99 ms | ratio | documents examined |",
        "| --- " * 8 + "|",
    ]
    for work, by_name in found.items():
        for name, by_size in by_name.items():
            base = next(iter(by_size.values()))
            for size, loads in by_size.items():
                p50 = _grow(loads, base, lambda load: load.p50_ms)
                p99 = _grow(loads, base, lambda load: load.p99_ms)
                documents = statistics.median(load.documents for load in loads)
                lines.append(f"| {work} | {name} | {size:,} | {p50} | {p99} | {documents:.1f} |")
    return [*lines, ""]


def _compare(by_server: dict[str, list[Load]], name: str, other: str) -> str:
    """Write the median, the smallest and the largest ratio of the rounds."""
    pairs = zip(by_server[name], by_server[other], strict=True)
    ratios = [load.rate / base.rate for load, base in pairs if base.rate]
    if not ratios:
        return "-"
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def _grow(loads: list[Load], base: list[Load], read: Callable[[Load], float]) -> str:
    """Write the median, and how it compares."""
    ratios = [read(load) / read(other) for load, other in zip(loads, base, strict=True)]
    took = statistics.median(map(read, loads))
    return f"{took:.2f} | {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
