"""A few rounds of the soak: what is acknowledged survives `kill -9`, whatever was under way."""

import random

import pytest

from tests.soak.arena import open_arena
from tests.soak.crash import Soak

pytestmark = [pytest.mark.spawns, pytest.mark.slow]

SEED = 1
LONGEST_S = 1.5
"""How long clients ask in a round, at the most."""


@pytest.mark.docker
@pytest.mark.parametrize("processes", [1, 2])
def test_nothing_acknowledged_is_lost_on_docker(processes):
    """Documents, containers and what clients were told agree after every crash."""
    lose_nothing("docker", rounds=2, processes=processes)


def test_nothing_acknowledged_is_lost_as_processes():
    """The same where instances are child processes, which outlive who started them."""
    lose_nothing("process", rounds=2, processes=2)


def lose_nothing(driver, *, rounds, processes):
    """Play rounds of the soak, with the same choices each time; the soak itself makes others.

    Nothing moves, for what waits longest are drains: tests/fleet does that.
    """
    with open_arena(driver, node_count=1) as arena:
        soak = Soak(arena, random.Random(SEED), processes=processes)
        lost = [soak.play(longest_s=LONGEST_S).lost for _ in range(rounds)]
    assert soak.told.outcomes["deploy 201"]
    assert [] == [thing for found in lost for thing in found]
