"""Rounds of the soak, in which instances move between three nodes while processes are killed."""

import random

import pytest

from tests.soak.arena import open_arena
from tests.soak.crash import Soak

pytestmark = [pytest.mark.fleet, pytest.mark.spawns, pytest.mark.timeout(1200)]

SEED = 1
ROUNDS = 2


def test_nothing_is_lost_while_instances_move():
    """Documents, containers, files and what clients were told agree after every crash."""
    with open_arena("process") as arena:
        soak = Soak(arena, random.Random(SEED), processes=2)
        lost = [soak.play(longest_s=10).lost for _ in range(ROUNDS)]
        ends = soak.count_ends()

    assert [] == [thing for found in lost for thing in found]
    assert ends["transfer succeeded"]
