"""Kill the serving processes at random moments, and prove that nothing acknowledged was lost.

Run `python -m tests.soak.crash --rounds 100 --driver process`. Each round serves on one database,
and several clients deploy, suspend, delete, keep and restore instances, transfer them between
nodes, and drain and cordon those. Workers are killed with SIGKILL and started again meanwhile, and
at the end some or all that serves. Then it is served again, and waited until all is calm: what was
acknowledged is compared with the documents, and the documents with containers and files.
"""

import itertools
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import requests

from service.model.drains import ACTIVE, DrainStatus
from tests.soak.arena import KEY, NODES, Arena, Served, open_arena
from tests.soak.clients import Client, Told
from tests.soak.invariants import Invariants
from tests.soak.machines import list_twins
from tests.support import eventually

ASKERS = 6
CALM_S = 300.0
LOOK_EVERY_S = 0.1
RESTART_EVERY_S = 4.0
"""How often a worker is killed while clients ask, at the most: it needs seconds to start."""

PAUSED = 0.3
"""How often it stands still instead, longer than its leases last, and goes on."""


@dataclass(frozen=True)
class Round:
    """One round: what was done, and what was found wrong."""

    kills: int
    calm_s: float
    lost: list[str]


class Soak:
    """All rounds on one arena, with what was told in them."""

    def __init__(self, arena: Arena, lots: random.Random, *, processes: int) -> None:
        """Play nothing yet; `processes` serve at the same time."""
        self.told = Told()
        self._arena, self._lots, self._processes = arena, lots, processes
        self._invariants = Invariants(arena, self.told)

    def play(self, *, longest_s: float) -> Round:
        """Play one round: ask, kill, serve again, wait, and look for what was lost."""
        serving = [self._arena.serve() for _ in range(self._processes)]
        with _looking_for_twins(self._arena.config.data_dir) as twins:
            kills = self._ask_and_kill(serving, longest_s)
            began = time.monotonic()
            last = self._arena.serve()
            lost = self._wait_until_calm(last)
            took_s = time.monotonic() - began
        lost += [*twins, *self._invariants.find_violations()]
        for served in [last, *serving]:
            served.kill()
        return Round(kills, took_s, lost)

    def count_ends(self) -> Counter[str]:
        """Count how operations and drains ended, over all rounds."""
        documents = self._arena.documents
        ends = Counter(f"{each['kind']} {each['status']}" for each in documents.operations.find())
        ends["moves of drains"] = documents.audit.count_documents({"action": "drain.move"})
        drains = documents.events.find({"type": {"$regex": "^node.drain_"}})
        return ends + Counter(each["type"] for each in drains)

    def _ask_and_kill(self, serving: list[Served], longest_s: float) -> int:
        lots, over, kills = self._lots, threading.Event(), 0
        with ThreadPoolExecutor(ASKERS) as threads:
            clients = [
                Client(self._arena, self.told, random.Random(lots.random()), serving)
                for _ in range(ASKERS)
            ]
            asked = [threads.submit(client.ask_until, over) for client in clients]
            restarts = lots.randint(0, int(longest_s / RESTART_EVERY_S))
            # The moments of the crashes are what is random here.
            moments = sorted(lots.uniform(0.05, longest_s) for _ in range(restarts + 1))
            *pauses, last_s = [b - a for a, b in itertools.pairwise([0.0, *moments])]
            for pause_s in pauses:
                time.sleep(pause_s)
                victim = lots.choice(serving)
                victim.resume_worker()
                if lots.random() < PAUSED:
                    victim.pause_worker()
                else:
                    victim.restart_worker(self._arena.work)
                    kills += 1
            time.sleep(last_s)
            for served in serving:
                served.resume_worker()
            victims = lots.sample(serving, lots.randint(1, self._processes))
            over.set()  # what is asked by now may have no answer
            for served in victims:
                served.kill()
            for one in asked:
                one.result()
        return kills + 2 * len(victims)

    def _wait_until_calm(self, last: Served) -> list[str]:
        """Wait until nothing is left to do, and have drains begin no more; list what is left."""
        if not eventually(lambda: not self._invariants.list_unsettled(), timeout_s=CALM_S):
            return self._invariants.list_unsettled()
        for drain in self._arena.documents.drains.find({"status": {"$in": sorted(ACTIVE)}}):
            path = f"{last.url}/api/nodes/{drain['_id']}/drain"
            if drain["status"] == DrainStatus.UNDOING:
                _post(path)
            _post(f"{path}/pause")
        if not eventually(lambda: not self._invariants.list_unsettled(), timeout_s=CALM_S):
            return self._invariants.list_unsettled()
        return []


def _post(url: str) -> None:
    answer = requests.post(url, headers={"x-api-key": KEY}, timeout=30)
    if answer.status_code not in (200, 202, 409):  # 409: it ended meanwhile
        raise RuntimeError(f"{url}: {answer.status_code} {answer.text}")


@contextmanager
def _looking_for_twins(root: Path) -> Iterator[list[str]]:
    """Look all the time for instances that run twice; answer those that were found."""
    found: list[str] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_EVERY_S):
            found.extend(twin for twin in list_twins(root) if twin not in found)

    with ThreadPoolExecutor(1) as thread:
        looking = thread.submit(look)
        try:
            yield found
        finally:
            over.set()
            looking.result()


@click.command(help=__doc__)
@click.option("--rounds", default=100, show_default=True)
@click.option("--processes", default=1, show_default=True, help="That serve at the same time.")
@click.option("--driver", type=click.Choice(list(NODES)), default="docker")
@click.option("--seed", type=int, default=None, help="Of an earlier run, to repeat its choices.")
@click.option("--longest", "longest_s", default=15.0, help="Seconds until a crash, at the most.")
def main(rounds: int, processes: int, driver: str, seed: int | None, longest_s: float) -> None:
    """Play rounds, print what happened, and tell by the exit code whether anything was lost."""
    seed = random.randrange(10**6) if seed is None else seed
    began, kills, lost = time.monotonic(), 0, 0
    click.echo(f"seed {seed}")
    with open_arena(driver) as arena:
        soak = Soak(arena, random.Random(seed), processes=processes)
        for number in range(rounds):
            played = soak.play(longest_s=longest_s)
            kills += played.kills
            lost += len(played.lost)
            click.echo(
                f"round {number}: {played.kills} killed, calm in {played.calm_s:.1f} s, "
                f"{len(played.lost)} lost"
            )
            for text in played.lost:
                click.echo(f"  {text}")
        ends = soak.count_ends()
    minutes = (time.monotonic() - began) / 60
    click.echo(f"{rounds} rounds in {minutes:.1f} minutes, {kills} kills, {lost} lost")
    for counted in (soak.told.outcomes, ends):
        click.echo(", ".join(f"{what}: {count}" for what, count in sorted(counted.items())))
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
