"""The part of the contract of all drivers that shows when a program is ready."""

import json
import os
import signal

import pytest

from service.drivers.process import ProcessRunner
from service.errors import NodeRefused
from service.model.documents import ReadyKind
from service.model.driver_traits import DOCKER, MEMORY, PROCESS, SKYPORTD
from service.model.lifecycle import Power, PowerAction
from tests.drivers import test_contract
from tests.drivers.test_contract import (
    as_process,
    every_driver,
    in_memory,
    on_docker,
    on_skyportd,
    real_drivers,
    replace_cmd,
)
from tests.support import eventually, free_port

subject = test_contract.subject
pytestmark = pytest.mark.usefixtures("poll_soon")

COUNT = 'N=$(cat n 2>/dev/null); N=$((N+1)); echo $N >n; echo "Done ($N)"; '
"""Prints which start of the program it is."""

WITH_OUTPUT = [
    pytest.param(in_memory, id="memory"),
    pytest.param(on_docker, id="docker", marks=pytest.mark.docker),
    pytest.param(as_process, id="process", marks=pytest.mark.spawns),
]


class Counting:
    """An instance whose program prints which start of it it is."""

    def __init__(self, subject, then="exec sleep 600"):
        self.subject = subject
        self.count = 0
        subject.spec = replace_cmd(subject.spec, COUNT + then)
        subject.create()

    def start(self):
        """Start it, and wait until it has printed."""
        subject = self.subject
        subject.power(PowerAction.START)
        self.count += 1
        if subject.prints:
            log = subject.driver.logs(subject.instance_id, tail=1000)
            subject.prints(subject.instance_id, f"{log}Done ({self.count})\n")
        return eventually(lambda: f"Done ({self.count})" in self.printed())

    def printed(self):
        """Read what it printed since its last start."""
        return self.subject.driver.printed(self.subject.instance_id)


@pytest.mark.parametrize("subject", WITH_OUTPUT, indirect=True)
def test_only_the_last_start_counts(subject):
    """What the program printed before is in the logs, and not in this."""
    program = Counting(subject)
    assert program.start()
    assert "Done (1)" in program.printed()
    subject.power(PowerAction.KILL)

    assert program.start()
    assert ["Done (2)"] == program.printed().splitlines()
    assert ["Done (1)", "Done (2)"] == subject.read(10)


@pytest.mark.parametrize("subject", WITH_OUTPUT, indirect=True)
def test_what_does_not_run_printed_what_it_did(subject):
    """At its last start; it is not looked at, but the answer is no error."""
    program = Counting(subject)
    assert "" == program.printed()
    program.start()
    subject.power(PowerAction.KILL)

    program.printed()


@pytest.mark.parametrize("subject", WITH_OUTPUT, indirect=True)
def test_what_is_not_there_printed_nothing(subject):
    """Which is no error."""
    assert "" == subject.driver.printed(subject.instance_id)


@pytest.mark.docker
@pytest.mark.parametrize("subject", [on_docker], indirect=True)
def test_a_start_by_the_engine_is_another(subject):
    """It starts again at once what ended by itself."""
    program = Counting(subject, then='[ "$N" -ge 3 ] || exit 1; exec sleep 600')
    subject.power(PowerAction.START)

    assert eventually(lambda: "Done (3)" in program.printed())
    assert ["Done (3)"] == program.printed().splitlines()


@pytest.mark.spawns
@pytest.mark.parametrize("subject", [as_process], indirect=True)
def test_a_long_log_is_put_aside(subject):
    """A start after that has its own output."""
    program = Counting(subject)
    program.start()
    subject.power(PowerAction.KILL)
    folder = subject.driver._folders.root / subject.instance_id
    with (folder / "log").open("a") as log:
        log.write("x\n" * 2**20)

    assert program.start()
    assert ["Done (2)"] == program.printed().splitlines()


@pytest.mark.spawns
@pytest.mark.parametrize("subject", [as_process], indirect=True)
def test_what_an_earlier_version_started_printed_all(subject):
    """It did not note where a start begins."""
    program = Counting(subject)
    program.start()
    (subject.driver._folders.root / subject.instance_id / "log_begin").unlink()

    assert ["Done (1)"] == program.printed().splitlines()


@pytest.mark.spawns
@pytest.mark.parametrize("subject", [as_process], indirect=True)
def test_a_start_of_what_ended_by_itself_is_another(subject):
    """It is started again after a probe."""
    program = Counting(subject)
    program.start()
    assert isinstance(subject.driver, ProcessRunner)
    record = json.loads(
        (subject.driver._folders.root / subject.instance_id / "instance.json").read_text()
    )
    os.kill(record["process"][0], signal.SIGKILL)
    assert eventually(lambda: subject.status().power == Power.STOPPED)

    subject.driver.recover()

    assert eventually(lambda: "Done (2)" in program.printed())
    assert "Done (1)" not in program.printed()


@pytest.mark.parametrize("subject", [on_skyportd], indirect=True)
def test_the_daemon_cannot_tell(subject):
    """What its console shows may be of any start."""
    subject.create()

    with pytest.raises(NodeRefused):
        subject.driver.printed(subject.instance_id)


def test_the_traits_say_so():
    """Of all drivers."""
    said = [ReadyKind.LOG in each.ready_checks for each in (DOCKER, PROCESS, MEMORY, SKYPORTD)]

    assert [True, True, True, False] == said


@real_drivers
def test_a_port_is_served_when_the_program_does_so(subject):
    """And not as soon as it is published."""
    port = subject.spec.primary.host
    serve = subject.spec.cmd
    subject.spec = replace_cmd(subject.spec, f"while [ ! -f go ]; do sleep 0.1; done; {serve}")
    subject.create()
    reach = subject.driver.reach
    assert [False, False] == [reach.accepts(port), reach.answers(port, "/")]
    subject.power(PowerAction.START)
    assert [False, False] == [reach.accepts(port), reach.answers(port, "/")]

    subject.discard()
    subject.spec = replace_cmd(subject.spec, serve)
    subject.create()
    subject.power(PowerAction.START)

    assert eventually(lambda: reach.accepts(port))
    assert [True, False] == [reach.answers(port, "/"), reach.answers(port, "/nothing")]


@every_driver
def test_nobody_serves_a_port_that_is_free(subject):
    """Doubles have no programs, but nodes have addresses."""
    port = free_port()

    assert [False, False] == [
        subject.driver.reach.accepts(port),
        subject.driver.reach.answers(port, "/"),
    ]
