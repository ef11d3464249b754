"""Lines for the programs of a `process` node, and what they use."""

from dataclasses import replace

import pytest

from service.drivers import Delivery
from service.drivers.process import usage
from service.model.container import MAX_LINE_BYTES
from tests.drivers.process.running import run
from tests.support import eventually

pytestmark = pytest.mark.spawns


def test_a_program_that_does_not_read_is_sent_no_more_than_fits(runner, spec):
    """A line is written whole or not at all, and nobody waits for the program."""
    run(runner, replace(spec, cmd=("sleep", "300")))
    line = "x" * MAX_LINE_BYTES

    sent = [runner.command(spec.instance_id, line) for _ in range(40)]

    assert {Delivery.SENT, Delivery.UNREAD} == set(sent)
    assert sorted(sent) == sent


def test_files_are_measured(runner, spec):
    """What the volume takes on the disk, in bytes."""
    run(runner, replace(spec, cmd="head -c 1000000 /dev/zero > file; exec sleep 300"))

    assert eventually(lambda: runner.usage(spec.instance_id).disk_bytes >= 1_000_000)


def test_too_many_files_are_not_measured(runner, spec, monkeypatch):
    """Their sizes would take too long to read."""
    monkeypatch.setattr(usage, "MAX_FILES", 1)
    run(runner, replace(spec, cmd="touch a b; exec sleep 300"))

    assert eventually(lambda: runner.usage(spec.instance_id).disk_bytes is None)


def test_children_are_measured_too(runner, spec):
    """All processes of the instance count."""
    alone = replace(spec, cmd="exec sleep 300")
    run(runner, alone)
    before = runner.usage(spec.instance_id).memory_bytes
    runner.remove(spec.instance_id)

    run(runner, replace(spec, cmd="sleep 300 & sleep 300 & sleep 300 & wait"))

    assert eventually(lambda: runner.usage(spec.instance_id).memory_bytes > 2 * before)
