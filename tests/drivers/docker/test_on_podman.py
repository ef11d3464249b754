"""What of Podman is not as it is of a Docker Engine, on a real one."""

import time
from contextlib import closing
from dataclasses import replace

import docker
import pytest

from service.drivers import ContainerSpec, Delivery
from service.drivers.docker.engine import DockerEngine
from service.errors import NodeRefused
from service.instances import make_id
from service.model.container import MAX_LINE_BYTES
from service.model.lifecycle import Power, PowerAction
from service.model.ports import parse
from service.model.printed_lines import Mark
from tests.podman_service import IMAGE, shared_podman
from tests.support import eventually, free_port

pytestmark = [pytest.mark.podman, pytest.mark.spawns]


@pytest.fixture
def engine():
    """The driver of a Podman here."""
    engine = DockerEngine(
        "node", base_url=f"unix://{shared_podman()}", connect_timeout_s=20, read_timeout_s=30
    )
    with closing(engine):
        yield engine


@pytest.fixture
def run(engine):
    """Run a program; answer its instance's id."""
    made = []

    def run(cmd, **over):
        ports = parse(f"80:{free_port()}")
        spec = ContainerSpec(
            instance_id=make_id(),
            image=IMAGE,
            cmd=cmd,
            env={},
            memory_mib=32,
            cpu_milli=250,
            ports=ports,
            primary=ports[0],
        )
        made.append(spec.instance_id)
        engine.create(replace(spec, **over), checkpoint=lambda: None)
        engine.power(spec.instance_id, PowerAction.START)
        return spec.instance_id

    yield run
    for instance_id in made:
        engine.remove(instance_id)


def read(engine, instance_id):
    """Read what the program printed."""
    return engine.logs(instance_id, tail=20)


LIMITS = """cd /sys/fs/cgroup; cat memory.max memory/memory.limit_in_bytes pids.max pids/pids.max
grep -E 'CapBnd|NoNewPrivs' /proc/self/status; exec sleep 600"""


def test_limits_and_rights_are_as_on_docker(engine, run):
    """The kernel has the limits of memory and processes, and takes the rights away."""
    instance_id = run(f"({LIMITS}) 2>/dev/null")

    expected = [str(32 * 2**20), "512", "CapBnd:\t00000000000004eb", "NoNewPrivs:\t1"]
    assert eventually(lambda: read(engine, instance_id).splitlines() == expected), read(
        engine, instance_id
    )


def test_what_ends_by_itself_is_started_again(engine, run):
    """A program that crashes runs again, until it is stopped."""
    instance_id = run("echo up; sleep 0.2; exit 3")

    assert eventually(lambda: read(engine, instance_id).count("up") > 2)


def test_what_keeps_ending_is_removed(engine, run):
    """Podman refuses to remove what ends at that moment."""
    instance_id = run("exit 3")
    assert eventually(lambda: engine.status(instance_id).restarts > 1)

    engine.remove(instance_id)

    assert engine.status(instance_id) is None


def test_what_ends_at_its_command_is_stopped_in_the_end(engine, run):
    """Podman may start it again meanwhile, because a restart policy cannot be changed."""
    instance_id = run("read -r word; exit 1")

    stopped = engine.power(instance_id, PowerAction.STOP, stop_command="x", stop_timeout_s=4)

    assert Power.STOPPED == stopped.power
    assert not eventually(lambda: engine.status(instance_id).power == Power.RUNNING, timeout_s=1)


def test_files_are_not_copied(engine, run):
    """Podman's archives say of all files that they belong to root."""
    instance_id = run("exec sleep 600")
    engine.power(instance_id, PowerAction.KILL)

    with pytest.raises(NodeRefused, match="owners"):
        list(engine.read_volume(instance_id))
    with pytest.raises(NodeRefused, match="owners"):
        engine.write_volume(instance_id, [])


def test_a_line_that_nobody_reads_is_left_out(engine, run):
    """A program whose input is full gets nothing more."""
    fill = "busybox dd if=/dev/zero of=/proc/1/fd/0 bs=4096 count=16; echo full"
    instance_id = run(f"{fill}; exec sleep 600")
    assert eventually(lambda: "full" in read(engine, instance_id))

    assert Delivery.UNREAD == engine.command(instance_id, "x" * MAX_LINE_BYTES)


def test_there_is_no_input_without_a_shell(engine, run):
    """What has no shell is told nothing."""
    instance_id = run("rm /bin/sh; exec sleep 600")
    assert eventually(lambda: engine.command(instance_id, "x") == Delivery.NO_INPUT)


def take(stream, count):
    """Take so many lines of a stream, or what has come after ten seconds."""
    found, until = [], time.monotonic() + 10
    while len(found) < count and time.monotonic() < until:
        if (line := next(stream)) is not None:
            found.append(line.text)
    return found


THREE_SECONDS = "for n in one two three; do echo $n; sleep 1.1; done; exec sleep 600"


def test_a_time_of_a_log_is_of_whole_seconds(engine, run):
    """Both ends of it, and the tail is taken of it."""
    instance_id = run(THREE_SECONDS)
    assert eventually(lambda: "three" in read(engine, instance_id))
    times = [line.position.time_ns for line in engine.read_logs(instance_id, tail=9)]

    def read_time(tail=9, **bounds):
        return [line.text for line in engine.read_logs(instance_id, tail=tail, **bounds)]

    half_ns = 500_000_000
    assert ["two"] == read_time(since_ns=times[1] + half_ns, until_ns=times[1])
    assert ["two", "three"] == read_time(since_ns=times[1])
    assert ["one", "two"] == read_time(until_ns=times[1] + half_ns)
    assert ["one"] == read_time(tail=1, until_ns=times[0])
    with closing(engine.follow_logs(instance_id, tail=9, since_ns=times[1])) as stream:
        assert ["two", "three"] == take(stream, 2)


def test_lines_of_one_second_are_told_apart(engine, run):
    """So that a log that broke off goes on with the next one, also within a second."""
    instance_id = run("seq 500; exec sleep 600")
    assert eventually(lambda: "500" in read(engine, instance_id))
    found = {line.text: line.position for line in engine.read_logs(instance_id, tail=500)}
    container_id = engine.status(instance_id).container_id

    with closing(
        engine.follow_logs(instance_id, tail=1, after=Mark(container_id, found["490"]))
    ) as stream:
        assert [str(number) for number in range(491, 501)] == take(stream, 10)


def test_a_line_that_is_printed_bit_by_bit_is_one(engine, run):
    """Podman writes each bit down at once."""
    instance_id = run("printf 1; read -r _; printf 2; echo 3; exec sleep 600")
    assert eventually(lambda: read(engine, instance_id) == "1")

    with closing(engine.follow_logs(instance_id, tail=9)) as stream:
        assert next(stream) is None
        engine.command(instance_id, "go")
        assert ["123"] == take(stream, 1)


CHATTY = """line=$(printf '%0500d' 0); read -r _
i=0; while [ $i -lt 30000 ]; do echo "$i $line"; i=$((i+1)); done; echo end; exec sleep 600"""
"""Prints fifteen megabytes, of which Podman keeps the last ones: ten at the most."""


def test_a_log_is_followed_when_it_is_emptied(engine, run):
    """It goes on with the new one, and no line comes twice."""
    instance_id = run(CHATTY)
    with closing(engine.follow_logs(instance_id, tail=0)) as stream:
        assert next(stream) is None
        engine.command(instance_id, "go")
        texts = []
        while texts[-1:] != ["end"]:
            if (line := next(stream)) is not None:
                texts.append(line.text.partition(" ")[0])

    numbers = [int(text) for text in texts[:-1]]
    assert sorted(set(numbers)) == numbers


def ends(heard, instance_id):
    """List how the runs of the instance ended, as far as it was heard."""
    ours = [hint for hint in heard if hint.instance_id == instance_id]
    return [hint.exit_code for hint in ours if hint.exit_code is not None]


def test_how_a_program_ended_is_heard(engine, run):
    """Also what happened while nobody listened."""
    instance_id = run("read -r word; exit 5", auto_start=False)
    with closing(engine.follow_power(None)) as feed:
        cursor = feed.cursor
    engine.command(instance_id, "go")
    assert eventually(lambda: engine.status(instance_id).power == Power.STOPPED)

    heard = []
    with closing(engine.follow_power(cursor)) as feed:
        assert eventually(lambda: heard.extend(feed.read(0.5)) or ends(heard, instance_id))

    assert [5] == ends(heard, instance_id)


def test_what_is_not_ours_is_not_heard(engine, run):
    """Podman tells of all containers, with and without our label."""
    with (
        closing(docker.APIClient(f"unix://{shared_podman()}", version="1.41")) as client,
        closing(engine.follow_power(None)) as feed,
    ):
        another = client.create_container(IMAGE, ["sh", "-c", ":"])["Id"]
        client.start(another)
        client.remove_container(another, force=True)
        instance_id = run("exec sleep 600")
        heard = []
        assert eventually(
            lambda: heard.extend(feed.read(0.5)) or instance_id in {h.instance_id for h in heard}
        )

    assert another not in {hint.container_id for hint in heard}
