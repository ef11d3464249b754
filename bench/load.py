"""wrk: what it sends, and what it counts."""

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import click

from bench.seed import KEY

CLIENTS = 16

MOST_BROKEN = 0.01
"""How many connections may break, for each request that is answered."""


@dataclass(frozen=True)
class Work:
    """One kind of request; `body` is what wrk sends, with an id of `ids` in place of `%s`."""

    name: str
    path: str
    body: str | None = None
    ids: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    """Ids of instances of which 1 % changes 50 times a second meanwhile: for each of the clients at
    least as many since it asked last."""
    only_ours: bool = False
    """Whether the peers have no such thing."""
    knows: bool = False
    """Whether the clients say what they know, to those who give an ETag."""


class Load(NamedTuple):
    """What wrk counted in one round."""

    rate: float
    """Answers a second."""

    p50_ms: float
    p99_ms: float
    documents: float
    """How many mongod examined for each answer."""


def run_wrk(url: str, work: Work, script: Path, seconds: int, *, etag: str | None = None) -> str:
    """Have wrk send the work; return what it prints.

    Some connections may break on a machine that is busy. Raises ClickException for any answer but a
    success, and when too many break.
    """
    script.write_text(write_script(work, etag), "utf-8")
    printed = subprocess.run(
        [
            *("wrk", "-t1", f"-c{CLIENTS}", f"-d{seconds}s", "--timeout", "30s", "--latency"),
            *("-s", str(script), f"{url}{work.path}"),
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    broken = sum(map(int, re.findall(r"\d+", _find(r"(Socket errors.*|$)", printed))))
    if "Non-2xx" in printed or broken > MOST_BROKEN * count_requests(printed):
        raise click.ClickException(f"{url}, {work.name}: {printed}")
    if broken:
        click.echo(f"{url}, {work.name}: {broken} connections broke.", err=True)
    return printed


def count_requests(printed: str) -> int:
    """Read how many requests wrk says were answered."""
    return int(_find(r"(\d+) requests in", printed))


def read_load(printed: str, examined: int) -> Load:
    """Read what wrk printed; mongod examined as many documents meanwhile."""
    return Load(
        float(_find(r"Requests/sec: +([\d.]+)", printed)),
        *(_read_ms(_find(rf" {part}% +([\d.]+[a-z]+)", printed)) for part in (50, 99)),
        examined / max(1, count_requests(printed)),
    )


def write_script(work: Work, etag: str | None) -> str:
    """Write the work for wrk, in its Lua."""
    lines = [f'wrk.headers["x-api-key"] = "{KEY}"']
    if etag is not None:
        lines.append(f"wrk.headers['If-None-Match'] = '{etag}'")
    if work.body is not None:
        ids = ",".join(f'"{each}"' for each in work.ids)
        lines += [
            'wrk.method = "POST"',
            'wrk.headers["content-type"] = "application/json"',
            f"local ids = {{{ids}}}",
            "function request()",
            "  local id = ids[math.random(#ids)]",
            f"  return wrk.format(nil, nil, nil, string.format('{work.body}', id))",
            "end",
        ]
    return "\n".join(lines)


def _find(pattern: str, printed: str) -> str:
    found = re.search(pattern, printed)
    assert found is not None, printed
    return found[1]


def _read_ms(printed: str) -> float:
    """Read a time of wrk's: `1.23ms`, `870.00us`, `1.05s`, `1.10m`."""
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", printed).groups()
    return float(number) * {"us": 1e-3, "ms": 1, "s": 1e3, "m": 6e4}[unit]
