"""How it is seen that programs are ready, on a real Docker Engine, by workers that are killed."""

import signal
import sys
from contextlib import closing
from pathlib import Path

import pytest

from service import instances, nodes
from service.app import make_drivers, utc_now
from service.model.lifecycle import InstanceState, NotReady, Phase
from service.model.node_policy import NodePolicy
from service.model.origin import Origin
from service.model.ports import parse
from service.worker.loop import Worker
from tests.docker_images import SOCKET, ensure_image, require_engine
from tests.support import a_user, an_image, an_order, eventually, free_port

pytestmark = pytest.mark.docker

BRIEF_WORKER = (Path(sys.executable), "-m", "tests.brief_worker")
WHEN_TOLD = "while [ ! -f go ]; do sleep 0.05; done; "
LEASE_S = 3.0


class OnDocker:
    """An instance on the Docker Engine of this machine."""

    def __init__(self, store, config, engine, driver, node):
        self.store = store
        self.config = config
        self.engine = engine
        self.driver = driver
        self.node = node
        self.id = None

    def deploy(self, kind, value, cmd, *, timeout_s=300):
        """Take on an instance whose program does this."""
        image = an_image(
            self.store,
            image=ensure_image(self.engine, "skyquay-test/python:1"),
            cmd=cmd,
            ready={"kind": kind, "value": value, "timeout_s": timeout_s},
        )
        port = free_port()
        order = an_order(
            a_user(self.store), self.node, image,
            memory_mib=64, ports=parse(f"{port}:{port}"), primary=str(port),
        )  # fmt: skip
        origin = Origin(utc_now())
        self.id = instances.deploy(self.store, order, origin=origin)[0]["_id"]

    def tell(self, what="go"):
        """Have the program go on."""
        self.engine.containers.get(self.id).exec_run(["sh", "-c", f"echo >/app/data/{what}"])

    @property
    def phase(self):
        """How far it is, and why it is not ready."""
        instance = self.store.instances.get(self.id)
        if instance["state"] != InstanceState.READY:
            return instance["state"], instance["error"]
        return instance["phase"], instance["not_ready"]

    def comes_to(self, phase, why=None):
        """Return whether it comes so far."""
        assert eventually(lambda: self.phase == (phase, why)), self.phase
        return True


@pytest.fixture
def subject(store, config, database):
    """An instance that is removed afterwards."""
    database["meta"].delete_one({"_id": "phases"})
    open_driver = make_drivers(config, store)
    with closing(require_engine()) as engine:
        node = nodes.create(
            store,
            open_driver,
            {"name": "docker", "driver": "docker", "address": f"unix://{SOCKET}"},
            policy=NodePolicy(),
            trusted_address=True,
            now=utc_now(),
        )
        with closing(open_driver(node)) as driver:
            subject = OnDocker(store, config, engine, driver, node)
            yield subject
            if subject.id is not None:
                driver.remove(subject.id)
    database["meta"].delete_one({"_id": "phases"})


@pytest.fixture
def real_worker(store, config):
    """A worker that works on real nodes."""
    open_driver = make_drivers(config, store)
    worker = Worker(store, open_driver, threads=2, probe_interval_s=1.0, now=utc_now)
    worker.start()
    yield worker
    worker.stop()


@pytest.mark.parametrize(
    ("kind", "value", "then"),
    [
        ("log", "Done (", 'echo "Done (0.1s)!"; exec sleep 600'),
        ("pattern", r"Done \(\d", 'echo "Done (1)"; exec sleep 600'),
        ("port", "", 'exec nc -ll -p "$PRIMARY_PORT" -e cat'),
        ("http", "/", 'exec python3 -m http.server "$PRIMARY_PORT"'),
    ],
)
def test_it_is_ready_when_it_serves(subject, real_worker, kind, value, then):
    """And not before."""
    subject.deploy(kind, value, WHEN_TOLD + then)
    assert subject.comes_to(Phase.STARTING)
    subject.tell()

    assert subject.comes_to(Phase.READY)


def test_it_never_becomes_ready(subject, real_worker):
    """Its image's time passes, and that is the reason."""
    subject.deploy("port", "", "exec sleep 600", timeout_s=1)

    assert subject.comes_to(Phase.STARTING, NotReady.TIMEOUT)


def test_the_engine_starts_it_again(subject, real_worker):
    """That is another start, which is not ready before it says so itself."""
    wait = "while [ ! -f {} ]; do sleep 0.05; done; "
    program = [
        "N=$(cat n 2>/dev/null); N=$((N+1)); echo $N >n; ",
        wait.format("go$N"),
        'echo "Done ($N)"; ',
        wait.format("end$N"),
        "exit 1",
    ]
    subject.deploy("log", "Done (", "".join(program))
    assert subject.comes_to(Phase.STARTING)
    subject.tell("go1")
    assert subject.comes_to(Phase.READY)
    subject.tell("end1")

    assert subject.comes_to(Phase.STARTING)
    subject.tell("go2")
    assert subject.comes_to(Phase.READY)


@pytest.mark.spawns
def test_another_worker_goes_on_after_a_kill(subject, programs):
    """Whatever the first one was about to do."""
    first = programs(*BRIEF_WORKER, str(LEASE_S))
    subject.deploy("log", "Done (", WHEN_TOLD + 'echo "Done (0.1s)!"; exec sleep 600')
    assert subject.comes_to(Phase.STARTING)
    first.send_signal(signal.SIGKILL)
    first.wait()
    subject.tell()
    assert (Phase.STARTING, None) == subject.phase

    programs(*BRIEF_WORKER, str(LEASE_S))

    assert subject.comes_to(Phase.READY)
