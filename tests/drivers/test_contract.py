"""The contract of all drivers, as the docstrings of NodeDriver promise it. One suite runs them all.

A driver joins by one entry in DRIVERS, or in REAL: a function that yields a driver, and the image
it can run.
"""

import itertools
import json
import os
import secrets
import signal
import socket
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial

import pytest
import requests

from service.drivers import ContainerSpec, Delivery, always
from service.drivers.docker import DockerEngine
from service.drivers.last_output import LONG_LINE
from service.drivers.memory import MemoryNode, OpenedNode
from service.drivers.process import ProcessRunner
from service.drivers.skyportd import Skyportd
from service.errors import NodeRefused, PortInUse
from service.instances import make_id
from service.model.container import MAX_LINE_BYTES
from service.model.driver_traits import RUN_FACTS, traits_of
from service.model.lifecycle import Power, PowerAction
from service.model.ports import parse
from service.security.certificates import make_context
from service.worker.interruptions import LeaseLost, OperationSuperseded
from tests.docker_images import SOCKET, ensure_image, require_engine
from tests.fake_skyportd import FakeSkyportd
from tests.podman_service import IMAGE, shared_podman
from tests.support import eventually, free_port
from tests.tls import Authority, TlsProxy

pytestmark = pytest.mark.usefixtures("poll_soon")

SERVE = (
    'echo "$GREETING from $PRIMARY_PORT" > index.html; exec python3 -m http.server $PRIMARY_PORT'
)


@contextmanager
def in_memory(tmp_path, authorize=always):
    """A node in memory."""
    node = MemoryNode("node")

    def prints(instance_id, text):
        node.containers[instance_id].log = text

    yield OpenedNode(node, authorize), "any", prints


@contextmanager
def on_docker(tmp_path, authorize=always):
    """The Docker Engine of this machine."""
    with closing(require_engine()) as client:
        image = ensure_image(client, "skyquay-test/python:1")
    engine = DockerEngine(
        "node",
        base_url=f"unix://{SOCKET}",
        connect_timeout_s=3,
        read_timeout_s=30,
        authorize=authorize,
    )
    with closing(engine):
        yield engine, image, None


@contextmanager
def on_docker_over_tls(tmp_path, authorize=always):
    """The same, over TCP with certificates."""
    with closing(require_engine()) as client:
        image = ensure_image(client, "skyquay-test/python:1")
    authority = Authority()
    ours = authority.issue()
    with TlsProxy(authority, SOCKET) as proxy:
        engine = DockerEngine(
            "node",
            base_url=f"tcp://127.0.0.1:{proxy.port}",
            connect_timeout_s=3,
            read_timeout_s=30,
            tls=make_context(ca=authority.pem, cert=ours.cert, key=ours.key),
            authorize=authorize,
        )
        with closing(engine):
            yield engine, image, None


@contextmanager
def on_podman(tmp_path, authorize=always):
    """Podman's service, which speaks as a Docker Engine does."""
    engine = DockerEngine(
        "node",
        base_url=f"unix://{shared_podman()}",
        connect_timeout_s=20,
        read_timeout_s=30,
        authorize=authorize,
        was_podman=True,
    )
    with closing(engine):
        yield engine, IMAGE, None


@contextmanager
def as_process(tmp_path, authorize=always):
    """Processes of this machine."""
    yield ProcessRunner("node", root=tmp_path / "instances", authorize=authorize), "any", None


@contextmanager
def on_skyportd(tmp_path, authorize=always):
    """The double of a node daemon."""
    with FakeSkyportd() as daemon:
        driver = Skyportd(
            "node",
            base_url=daemon.url,
            key=daemon.key,
            connect_timeout_s=3,
            read_timeout_s=5,
            authorize=authorize,
        )
        with closing(driver):
            yield driver, "any", partial(print_on, daemon)


@contextmanager
def on_skyportd_over_tls(tmp_path, authorize=always):
    """The double of a node daemon, behind HTTPS."""
    authority = Authority()
    with (
        FakeSkyportd() as daemon,
        TlsProxy(authority, ("127.0.0.1", daemon.port), ask_client=False) as proxy,
    ):
        driver = Skyportd(
            "node",
            base_url=f"https://127.0.0.1:{proxy.port}",
            key=daemon.key,
            connect_timeout_s=3,
            read_timeout_s=5,
            tls=make_context(ca=authority.pem),
            authorize=authorize,
        )
        with closing(driver):
            yield driver, "any", partial(print_on, daemon)


ENGINES = [
    pytest.param(on_docker, id="docker", marks=pytest.mark.docker),
    # All that an engine does, once more: a few tests of test_node_tls.py show that it is reached.
    pytest.param(
        on_docker_over_tls, id="docker over TLS", marks=[pytest.mark.docker, pytest.mark.slow]
    ),
    pytest.param(on_podman, id="podman", marks=[pytest.mark.podman, pytest.mark.spawns]),
]
"""Those that speak as a Docker Engine does."""
REAL = [
    *ENGINES,
    pytest.param(as_process, id="process", marks=pytest.mark.spawns),
]
"""Those that run programs here; the nodes of the others are doubles."""
CHANGES_POLICIES = [each for each in REAL if each.id != "podman"]
"""Those where what ends at its stop command is never started again, even for a moment."""
DRIVERS = [
    pytest.param(in_memory, id="memory"),
    pytest.param(on_skyportd, id="skyportd"),
    pytest.param(on_skyportd_over_tls, id="skyportd over TLS", marks=pytest.mark.heavy),
    *REAL,
]


NAMES = {DockerEngine: "docker", ProcessRunner: "process", Skyportd: "skyportd",
         OpenedNode: "memory"}  # fmt: skip
"""What the drivers are called in the documents of nodes."""


def known_facts(status):
    """List what is known of a container's runs."""
    return {name for name in RUN_FACTS if getattr(status, name) is not None}


def print_on(daemon, instance_id, text):
    """Have the double of a node daemon show what a program printed."""
    daemon.containers[instance_id].log = text.removesuffix("\n").split("\n")


class Lease:
    """What a worker may still change: anything, or no more than is `left`."""

    def __init__(self):
        self.left = None
        self.asked = self.refused = 0

    def __call__(self):
        """Allow one change, or raise LeaseLost."""
        self.asked += 1
        if self.left is not None and self.asked > self.left:
            self.refused += 1
            raise LeaseLost

    def end_after(self, left):
        """Allow so many more changes; None: any number."""
        self.left = left
        self.asked = self.refused = 0


class Subject:
    """A driver under test, with one instance that is removed afterwards.

    `prints` has a program of a double print a text; others run what prints it.
    """

    def __init__(self, driver, image, prints, lease=None):
        self.driver = driver
        self.name = NAMES[type(driver)]
        self.lease = lease
        self.prints = prints
        self.instance_id = make_id()
        host = free_port()
        ports = parse(f"{host}:{host}")
        self.url = f"http://127.0.0.1:{host}/"
        self.spec = ContainerSpec(
            instance_id=self.instance_id,
            image=image,
            cmd=SERVE,
            env={"GREETING": "hello", "PRIMARY_PORT": "1"},
            memory_mib=64,
            cpu_milli=500,
            ports=ports,
            primary=ports[0],
        )

    def create(self, checkpoint=lambda: None):
        """Create the instance."""
        self.created = self.driver.create(self.spec, checkpoint=checkpoint)
        return self.created

    def print(self, *lengths):
        """Create the instance, whose program prints lines of these lengths, and waits."""
        lines = [f"{number:0{length}d}" for number, length in enumerate(lengths)]
        if self.prints:
            self.create()
            self.prints(self.instance_id, "".join(f"{line}\n" for line in lines))
        else:
            each = [f"printf '%0{length}d\\n' {number};" for number, length in enumerate(lengths)]
            self.spec = replace_cmd(self.spec, " ".join([*each, "exec sleep 600"]))
            self.create()
            self.power(PowerAction.START)
        return lines

    def read(self, tail):
        """Read the last lines that were printed, without their ends."""
        return self.driver.logs(self.instance_id, tail=tail).splitlines()

    def power(self, action, **options):
        """Change the instance's power."""
        return self.driver.power(self.instance_id, action, **options)

    def discard(self):
        """Remove the container, and keep the files."""
        self.driver.discard(self.instance_id, checkpoint=lambda: None)

    def status(self):
        """Look at the instance."""
        return self.driver.status(self.instance_id)

    def end_program(self):
        """End the program past the driver, as far as there is a way."""
        if isinstance(self.driver, ProcessRunner):
            record = self.driver._folders.root / self.instance_id / "instance.json"
            os.kill(json.loads(record.read_text())["process"][0], signal.SIGKILL)
        else:
            self.power(PowerAction.KILL)

    def await_end(self):
        """End the program, and look at the instance once the node knows."""
        self.end_program()
        assert eventually(lambda: self.status().power == Power.STOPPED)
        return self.status()

    def is_heard(self, feed):
        """Read once, and see whether the instance is named."""
        return self.instance_id in {hint.instance_id for hint in feed.read(0.5)}

    def body(self):
        """Ask the program for its page; None when nothing answers."""
        try:
            return requests.get(self.url, timeout=5).text
        except requests.RequestException:
            return None


@pytest.fixture
def subject(request, tmp_path):
    """A driver with an instance that is not yet created."""
    lease = Lease()
    with request.param(tmp_path, lease) as (driver, image, prints):
        subject = Subject(driver, image, prints, lease)
        yield subject
        lease.end_after(None)
        if not isinstance(driver, OpenedNode):
            driver.remove(subject.instance_id)


every_driver = pytest.mark.parametrize("subject", DRIVERS, indirect=True)
real_drivers = pytest.mark.parametrize("subject", REAL, indirect=True)
changes_policies = pytest.mark.parametrize("subject", CHANGES_POLICIES, indirect=True)


@every_driver
def test_a_probe_tells_version_and_engine(subject):
    """A node that is well tells of itself."""
    report = subject.driver.probe()

    assert report.version
    assert report.engine
    assert report.memory_mib > 0


@every_driver
def test_what_is_created_is_there(subject):
    """Afterwards a container exists, with an id that is not the instance's."""
    created = subject.create()

    assert created.container_id == subject.status().container_id
    assert created.container_id not in ("", subject.instance_id)


@every_driver
def test_creating_again_adopts(subject):
    """What exists already is adopted as it is."""
    first = subject.create()
    subject.power(PowerAction.START)

    second = subject.create()

    assert (first.container_id, Power.RUNNING) == (second.container_id, second.power)


@every_driver
def test_what_a_checkpoint_raises_goes_through(subject):
    """A creation that is no longer wanted ends with the checkpoint's own error."""

    def unwanted():
        raise OperationSuperseded("deleted meanwhile")

    with pytest.raises(OperationSuperseded):
        subject.create(checkpoint=unwanted)


@every_driver
def test_what_was_never_there_has_no_status(subject):
    """None is the word for what does not exist."""
    assert subject.status() is None


@every_driver
@pytest.mark.parametrize("action", PowerAction)
def test_power_needs_a_container(subject, action):
    """Changing the power of what does not exist is refused."""
    with pytest.raises(NodeRefused):
        subject.power(action)


@every_driver
def test_starting_twice_is_a_success(subject):
    """Starting what runs leaves it running."""
    subject.create()
    subject.power(PowerAction.START)

    assert Power.RUNNING == subject.power(PowerAction.START).power


@every_driver
def test_a_run_is_described(subject):
    """What the driver knows of runs is said of one that goes on, and of one that has ended."""
    subject.create()
    running = subject.power(PowerAction.START)
    ended, traits = subject.await_end(), traits_of(subject.name)

    begins, ends = {"restarts", "started_at"}, {"exit_code", "oom_killed"}
    assert begins & traits.run_facts == known_facts(running)
    assert (begins | ends) & traits.run_facts == known_facts(ended)
    assert (running.started_at, 0) == (ended.started_at, ended.restarts)


@pytest.mark.heavy
@every_driver
def test_what_begins_and_ends_is_heard(subject):
    """Within moments, whoever does it; what becomes of it the status says."""
    assert traits_of(subject.name).tells_power
    subject.create()
    subject.power(PowerAction.STOP)
    with closing(subject.driver.follow_power(None)) as feed:
        subject.power(PowerAction.START)
        assert eventually(lambda: subject.is_heard(feed))
        subject.end_program()
        assert eventually(lambda: subject.is_heard(feed))
        assert Power.STOPPED == subject.status().power


@every_driver
def test_a_run_begins_anew(subject):
    """How the one before ended is not said of one that goes on."""
    subject.create()
    subject.power(PowerAction.START)
    subject.await_end()
    again = subject.power(PowerAction.START)

    assert {"restarts", "started_at"} & traits_of(subject.name).run_facts == known_facts(again)


@every_driver
@pytest.mark.parametrize("action", [PowerAction.STOP, PowerAction.KILL])
def test_stopping_twice_is_a_success(subject, action):
    """Stopping what does not run leaves it stopped."""
    subject.create()
    subject.power(PowerAction.START)
    subject.power(action, stop_timeout_s=1)

    assert Power.STOPPED == subject.power(action, stop_timeout_s=1).power


@every_driver
def test_removing_takes_the_container(subject):
    """After a removal there is no container, even if it ran."""
    subject.create()
    subject.power(PowerAction.START)

    subject.driver.remove(subject.instance_id)

    assert subject.status() is None


@every_driver
def test_removing_again_is_a_success(subject):
    """What is gone already, or was never there, is removed with success."""
    subject.create()
    subject.driver.remove(subject.instance_id)

    subject.driver.remove(subject.instance_id)

    assert subject.status() is None


@every_driver
def test_what_is_discarded_is_gone(subject):
    """A container that is discarded is neither seen nor listed, and may be discarded again."""
    subject.create()
    subject.power(PowerAction.START)
    subject.discard()

    subject.discard()

    assert subject.status() is None
    assert subject.instance_id not in subject.driver.list()


@every_driver
def test_another_takes_the_place_of_what_was_discarded(subject):
    """A new container of the same instance is made as its own specification says."""
    subject.create()
    subject.discard()
    subject.spec = replace(subject.spec, memory_mib=96)

    subject.create()
    started = subject.power(PowerAction.START)

    assert Power.RUNNING == started.power
    assert 96 == subject.driver.describe(subject.instance_id).memory_mib


@every_driver
def test_what_is_there_is_listed(subject):
    """The list has what runs and what does not, and is true of each."""
    subject.create()
    created = subject.driver.list()[subject.instance_id]
    subject.power(PowerAction.START)

    running = subject.driver.list()[subject.instance_id]

    assert (subject.created.power, Power.RUNNING) == (created.power, running.power)
    assert subject.status().container_id == running.container_id


@every_driver
def test_what_is_gone_is_not_listed(subject):
    """The list is complete: what is not in it does not exist."""
    subject.create()
    subject.driver.remove(subject.instance_id)

    assert subject.instance_id not in subject.driver.list()


@every_driver
def test_what_was_made_is_described(subject):
    """A node knows what a container was made from, so that it can become an instance again."""
    subject.create()

    described = subject.driver.describe(subject.instance_id)
    known = ("instance_id", "image", "memory_mib", "ports", "primary")
    assert "hello" == described.env["GREETING"]
    assert {name: getattr(subject.spec, name) for name in known} == {
        name: getattr(described, name) for name in known
    }


@every_driver
def test_what_is_not_there_is_not_described(subject):
    """Nothing is known of what does not exist."""
    assert subject.driver.describe(subject.instance_id) is None


@every_driver
def test_what_is_not_there_printed_nothing(subject):
    """Reading the output of what does not exist is no error."""
    assert subject.driver.logs(subject.instance_id, tail=5) == ""


def look_all_over(subject):
    """Make each call that only looks; return what can be seen of the container."""
    subject.driver.probe()
    subject.driver.logs(subject.instance_id, tail=5)
    described = subject.driver.describe(subject.instance_id)
    listed = subject.driver.list()[subject.instance_id]
    seen = subject.status()
    return described, (listed.container_id, listed.power), (seen.container_id, seen.power)


@every_driver
@pytest.mark.parametrize(
    "actions", [(), (PowerAction.START,), (PowerAction.START, PowerAction.KILL)]
)
def test_looking_changes_nothing(subject, actions):
    """What was created, what runs and what was stopped is as it was, however often one looks."""
    subject.create()
    for action in actions:
        subject.power(action)
    before = look_all_over(subject)

    assert [before] * 2 == [look_all_over(subject) for _ in range(2)]


@every_driver
def test_looking_starts_nothing_that_died(subject):
    """Who looks at a node, as `skyquay doctor` does, does not become the parent of its programs."""
    subject.create()
    subject.power(PowerAction.START)
    subject.end_program()
    assert eventually(lambda: subject.status().power == Power.STOPPED)

    look_all_over(subject)

    assert Power.STOPPED == subject.status().power


@every_driver
def test_a_recovery_leaves_what_was_stopped(subject):
    """What somebody stopped stays stopped, what runs runs on, and what is gone is no error."""
    subject.driver.recover()
    subject.create()
    subject.power(PowerAction.START)
    subject.driver.recover()
    running = subject.status().power
    subject.power(PowerAction.KILL)

    subject.driver.recover()

    assert (Power.RUNNING, Power.STOPPED) == (running, subject.status().power)


@every_driver
def test_a_line_that_the_bound_cuts_is_left_out(subject):
    """What is read begins with the beginning of a line, however much was printed."""
    *_, third, last = subject.print(150_000, 60_000, 190_000, 20_000)

    assert eventually(lambda: subject.read(100) == [third, last]), list(map(len, subject.read(100)))


@every_driver
def test_a_line_longer_than_the_bound_is_named(subject):
    """Where nothing is left without it, a line says what is missing."""
    subject.print(3, 300_000)

    assert eventually(lambda: subject.read(100) == [LONG_LINE.strip()])


@every_driver
def test_a_long_line_is_read_whole(subject):
    """Docker cuts lines into pieces, and counts those: nobody notices."""
    *_, last = subject.print(70_000, 50_000)

    assert eventually(lambda: subject.read(1) == [last]), list(map(len, subject.read(1)))


@every_driver
def test_a_line_is_sent_to_what_runs(subject):
    """A running program is sent a line; there is none for what does not run, or does not exist."""
    send = partial(subject.driver.command, subject.instance_id)
    before = send("never")
    subject.spec = replace_cmd(subject.spec, "exec sleep 600")
    subject.create()
    subject.power(PowerAction.START)
    running = send("save-all")
    subject.power(PowerAction.KILL)

    assert [Delivery.NOT_RUNNING, Delivery.SENT, Delivery.NOT_RUNNING] == [
        before,
        running,
        send("too late"),
    ]


@every_driver
def test_the_usage_of_what_runs_is_measured(subject):
    """What runs uses memory since a time; what does not run, or does not exist, uses nothing."""
    measure = partial(subject.driver.usage, subject.instance_id)
    before = measure()
    subject.create()
    subject.power(PowerAction.START)
    running = measure()
    subject.power(PowerAction.KILL)

    assert (None, None) == (before, measure())
    assert running.memory_bytes > 0
    assert running.started_at is not None


@every_driver
def test_what_runs_has_samples(subject):
    """Who runs is counted, and its volume added up; who does not run is left out."""
    sample = partial(subject.driver.sample, [subject.instance_id, "iabcdefghijk"])
    before = sample()
    subject.create()
    subject.power(PowerAction.KILL)
    stopped = sample()
    subject.power(PowerAction.START)
    running = sample()
    volumes = subject.driver.measure_volumes([subject.instance_id])
    subject.power(PowerAction.KILL)

    assert ({}, {}, {}) == (before, stopped, sample())
    assert [subject.instance_id] == list(running)
    found = running[subject.instance_id]
    assert found.memory_bytes > 0
    assert (found.disk_bytes is None) == (list(volumes) == [subject.instance_id])


CHANGES = {
    "create": lambda subject: subject.create(),
    "start": lambda subject: subject.power(PowerAction.START),
    "stop": lambda subject: subject.power(PowerAction.STOP, stop_command="x", stop_timeout_s=1),
    "kill": lambda subject: subject.power(PowerAction.KILL),
    "command": lambda subject: subject.driver.command(subject.instance_id, "x"),
    "discard": lambda subject: subject.discard(),
    "remove": lambda subject: subject.driver.remove(subject.instance_id),
}
"""Every call of a driver that changes its node."""


def make_ready_for(subject, change):
    """Bring the instance into a state in which the change has everything to do."""
    subject.driver.remove(subject.instance_id)
    if change != "create":
        subject.create()
        subject.power(PowerAction.KILL if change == "start" else PowerAction.START)


def lose_lease(subject, change, *, left):
    """Begin the change with a lease that allows `left` parts of it; answer the status before."""
    make_ready_for(subject, change)
    before = subject.status()
    subject.lease.end_after(left)
    with pytest.raises(LeaseLost):
        CHANGES[change](subject)
    return before


@every_driver
@pytest.mark.parametrize("change", CHANGES)
def test_nothing_is_changed_without_a_lease(subject, change):
    """Each call that changes something asks first, and lets the answer through."""
    subject.spec = replace_cmd(subject.spec, "exec sleep 600")

    before = lose_lease(subject, change, left=0)

    assert (before, 1) == (subject.status(), subject.lease.refused)


@every_driver
@pytest.mark.parametrize("change", CHANGES)
def test_a_lease_that_is_lost_in_the_middle_ends_the_change(subject, change):
    """Whatever parts a change has, none is begun after one that was not allowed."""
    subject.spec = replace_cmd(subject.spec, "exec sleep 600")

    refused = []
    for left in itertools.count(1):  # how many parts there are depends on how soon programs end
        make_ready_for(subject, change)
        subject.lease.end_after(left)
        try:
            CHANGES[change](subject)
        except LeaseLost:
            refused.append(subject.lease.refused)
            subject.lease.end_after(None)
        else:
            break

    assert ([1] * (left - 1), 0) == (refused, subject.lease.refused)


@every_driver
def test_a_stop_that_loses_its_lease_leaves_the_program_running(subject):
    """A program that does not heed its command is not ended by who has no right to any more."""
    subject.spec = replace_cmd(subject.spec, "exec sleep 600")
    make_ready_for(subject, "stop")
    subject.lease.end_after(None)
    CHANGES["stop"](subject)
    parts = subject.lease.asked
    subject.lease.end_after(None)

    lose_lease(subject, "stop", left=parts - 1)

    assert Power.RUNNING == subject.status().power


@every_driver
def test_looking_needs_no_lease(subject):
    """What changes nothing is allowed to everybody."""
    subject.create()
    subject.lease.end_after(0)

    subject.driver.probe()
    subject.driver.list()
    subject.driver.describe(subject.instance_id)
    subject.driver.logs(subject.instance_id, tail=1)
    subject.driver.usage(subject.instance_id)
    subject.driver.sample([subject.instance_id])
    subject.driver.measure_volumes([subject.instance_id])

    assert subject.status() is not None
    assert 0 == subject.lease.asked


def test_a_node_in_memory_counts_what_it_made():
    """Tests that need to know can tell a container that was made from one that was adopted."""
    with in_memory(None) as (node, image, prints):
        subject = Subject(node, image, prints)
        subject.create()
        subject.create()

    assert 1 == node.created


@real_drivers
def test_the_program_answers_on_its_port(subject):
    """The primary port's users reach the program, which knows the port it must listen on."""
    subject.create()
    subject.power(PowerAction.START)

    expected = f"hello from {subject.spec.primary.host}\n"
    assert eventually(lambda: subject.body() == expected), subject.body()


@real_drivers
def test_a_stopped_program_answers_nothing(subject):
    """Stopping closes the port."""
    subject.create()
    subject.power(PowerAction.START)
    assert eventually(subject.body)

    subject.power(PowerAction.STOP, stop_timeout_s=1)

    assert subject.body() is None


@real_drivers
def test_a_stopped_one_stays_stopped(subject):
    """A recovery, which starts what should run, starts nothing that was stopped."""
    subject.create()
    subject.power(PowerAction.START)
    subject.power(PowerAction.STOP, stop_timeout_s=1)

    subject.driver.recover()

    assert Power.STOPPED == subject.status().power


@real_drivers
def test_the_last_lines_are_read(subject):
    """Of all that a program printed, the last lines are read, oldest first."""
    subject.spec = replace_cmd(subject.spec, "echo one; echo two; echo three; exec sleep 600")
    subject.create()
    subject.power(PowerAction.START)

    read = lambda: subject.driver.logs(subject.instance_id, tail=2)  # noqa: E731

    assert eventually(lambda: read() == "two\nthree\n"), read()


LISTENING = """trap 'echo asked >> words' TERM
while read word; do echo "$word" >> words; [ "$word" = stop ] && exit 0; done"""


@changes_policies
def test_a_stop_command_comes_first(subject):
    """A program that ends at its own command is not asked in any other way, and stays away."""
    subject.spec = replace_cmd(subject.spec, f"{LISTENING}; exit 1")
    subject.create()
    subject.power(PowerAction.START)

    stopped = subject.power(PowerAction.STOP, stop_command="stop", stop_timeout_s=20)
    subject.driver.recover()

    assert (Power.STOPPED, 0) == (stopped.power, stopped.exit_code)
    assert Power.STOPPED == subject.status().power


@real_drivers
def test_every_line_is_read(subject):
    """Each line reaches the program, as it is, and none of them ends its input."""
    longest = "é" * (MAX_LINE_BYTES // 2) + "."
    echo = """while read -r line; do printf '%s\\n' "$line"; done; echo closed"""
    subject.spec = replace_cmd(subject.spec, echo)
    subject.create()
    subject.power(PowerAction.START)
    lines = ["save-all", "^C", "say $HOME \\n", longest]

    sent = [subject.driver.command(subject.instance_id, line) for line in lines]

    assert [Delivery.SENT] * 4 == sent
    assert eventually(lambda: subject.read(9) == lines), subject.read(9)


@real_drivers
def test_a_busy_program_uses_a_core(subject):
    """Cores are measured over the last moment, of all processes of the instance."""
    subject.spec = replace_cmd(subject.spec, "(while :; do :; done) & exec sleep 600")
    subject.create()
    subject.power(PowerAction.START)

    assert eventually(lambda: subject.driver.usage(subject.instance_id).cpu_milli > 100)


@real_drivers
def test_samples_count_processor_time(subject):
    """Of two samples it is known how many cores were busy in between."""
    subject.spec = replace_cmd(subject.spec, "while :; do :; done")
    subject.create()
    subject.power(PowerAction.START)
    sample = partial(subject.driver.sample, [subject.instance_id])
    before = sample()[subject.instance_id]

    assert eventually(lambda: sample()[subject.instance_id].cpu_ms > before.cpu_ms)


@changes_policies
def test_a_stop_command_may_be_an_interrupt(subject):
    """^C is no word for the program, but SIGINT."""
    trap = "trap 'exit 7' INT; while :; do sleep 0.1; done"
    subject.spec = replace_cmd(subject.spec, f"echo up; {trap}")
    subject.create()
    subject.power(PowerAction.START)
    assert eventually(lambda: subject.driver.logs(subject.instance_id, tail=1))

    stopped = subject.power(PowerAction.STOP, stop_command="^C", stop_timeout_s=20)

    assert (Power.STOPPED, 7) == (stopped.power, stopped.exit_code)


@real_drivers
def test_a_stop_command_that_is_not_heard_stops_all_the_same(subject):
    """A program that does not read its command is stopped by signals."""
    subject.spec = replace_cmd(subject.spec, "exec sleep 600")
    subject.create()
    subject.power(PowerAction.START)

    stopped = subject.power(PowerAction.STOP, stop_command="stop", stop_timeout_s=1)

    assert Power.STOPPED == stopped.power


@real_drivers
def test_what_its_command_stopped_starts_again(subject):
    """A start after such a stop is a start like any other."""
    subject.spec = replace_cmd(subject.spec, f"{LISTENING}; exit 1")
    subject.create()
    subject.power(PowerAction.START)
    subject.power(PowerAction.STOP, stop_command="stop", stop_timeout_s=20)

    assert Power.RUNNING == subject.power(PowerAction.START).power


@real_drivers
def test_files_do_not_outlive_a_removal(subject):
    """Another instance of the same id finds nothing of the first one's files."""
    marker = secrets.token_hex(8)
    leave = f"[ -f left ] && cat left > index.html || echo {marker} > left"
    subject.spec = replace_cmd(subject.spec, f"{leave}; exec python3 -m http.server $PRIMARY_PORT")
    subject.create()
    subject.power(PowerAction.START)
    assert eventually(subject.body)
    subject.driver.remove(subject.instance_id)

    subject.create()
    subject.power(PowerAction.START)

    assert marker not in eventually(subject.body)


@real_drivers
def test_a_program_is_told_the_ports_that_its_image_names(subject):
    """A variable has the port to listen on, as `PRIMARY_PORT` has the primary one."""
    primary = subject.spec.primary
    query = replace(subject.spec.ports[-1], env="QUERY_PORT")
    others = subject.spec.ports[:-1]
    serve = "echo $QUERY_PORT > index.html; exec python3 -m http.server $PRIMARY_PORT"
    told = primary if query == primary else query
    subject.spec = replace(subject.spec, cmd=serve, ports=(*others, query))
    subject.create()
    subject.power(PowerAction.START)

    assert eventually(subject.body).strip() in (str(told.container), str(told.host))


@real_drivers
def test_files_outlive_what_is_discarded(subject):
    """The next container of the same instance finds the files of the one before."""
    serve = "exec python3 -m http.server $PRIMARY_PORT"
    marker = secrets.token_hex(8)
    subject.spec = replace_cmd(subject.spec, f"echo {marker} > index.html; {serve}")
    subject.create()
    subject.power(PowerAction.START)
    assert eventually(subject.body)
    subject.discard()
    subject.spec = replace_cmd(subject.spec, serve)

    subject.create()
    subject.power(PowerAction.START)

    assert f"{marker}\n" == eventually(subject.body)


@real_drivers
def test_a_port_that_another_program_holds_is_refused(subject):
    """A start on a port that is in use says so in plain words."""
    subject.create()

    with (
        socket.create_server(("0.0.0.0", subject.spec.primary.host)),
        pytest.raises(PortInUse) as refused,
    ):
        subject.power(PowerAction.START)

    assert subject.spec.primary.host == refused.value.port


def replace_cmd(spec, cmd):
    """Make the same spec with another command."""
    return ContainerSpec(**{**{name: getattr(spec, name) for name in spec.__slots__}, "cmd": cmd})
