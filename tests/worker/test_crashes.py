"""A few rounds of the soak: what is acknowledged survives `kill -9`, whatever was under way."""

import random

import pytest

from tests.soak.crash import Told, open_arena, play

pytestmark = pytest.mark.spawns

SEED = 1


@pytest.mark.docker
@pytest.mark.parametrize("processes", [1, 2])
def test_nothing_acknowledged_is_lost_on_docker(processes):
    """Documents, containers and what clients were told agree after every crash."""
    lose_nothing("docker", rounds=2, processes=processes)


def test_nothing_acknowledged_is_lost_as_processes():
    """The same where instances are child processes, which outlive who started them."""
    lose_nothing("process", rounds=2, processes=2)


def lose_nothing(driver, *, rounds, processes):
    """Play rounds of the soak, with the same choices each time; the soak itself makes others."""
    told, lots = Told(), random.Random(SEED)
    with open_arena(driver) as arena:
        lost = [play(arena, told, lots, processes=processes).lost for _ in range(rounds)]
    repeat = (
        f"repeat it: python -m tests.soak.crash --driver {driver} --rounds {rounds} "
        f"--processes {processes} --seed {SEED}"
    )
    assert told.outcomes["deploy 201"], repeat
    assert [] == [thing for found in lost for thing in found], repeat
