"""What a worker that is killed followed, another follows, and misses nothing."""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack

import pytest

from service import instances
from service.drivers.process import ProcessRunner
from service.model.lifecycle import InstanceState, Power, PowerAction
from service.model.ports import parse
from tests.support import AT_NOON, a_node, a_user, an_image, an_order, eventually, free_port

pytestmark = pytest.mark.spawns

LONG_S = 120.0
"""A worker is a process that has to start, and its lease has to run out."""


def a_worker(config):
    """Start a process that works."""
    environ = {
        **os.environ,
        "SKYQUAY_MONGODB_URI": config.mongodb_uri,
        "SKYQUAY_DATABASE": config.database,
        "SKYQUAY_DATA_DIR": str(config.data_dir),
        "SKYQUAY_SECRET_KEY": "a secret key of the tests",
        "SKYQUAY_ALLOW_PROCESS": "1",
        "SKYQUAY_PROBE_INTERVAL_S": "3600",
    }
    skyquay = os.path.join(os.path.dirname(sys.executable), "skyquay")
    return subprocess.Popen([skyquay, "worker"], env=environ, stdout=subprocess.DEVNULL)


def test_an_end_is_seen_after_a_worker_was_killed(store, config):
    """By the worker that follows the node then, although no probe is due for an hour."""
    runner = ProcessRunner("node", root=config.data_dir / "instances")
    node = a_node(store, lambda _, **__: runner, driver="process", address="", name="here")
    image = an_image(store, cmd=["sleep", "600"])
    port = free_port()
    order = an_order(a_user(store), node, image, ports=parse(f"{port}:{port}"), primary=str(port))
    with ExitStack() as stack:
        first, second = (stack.enter_context(a_worker(config)) for _ in range(2))
        stack.callback(first.kill)
        stack.callback(second.kill)
        # The first one has everything to do, until it is killed.
        second.send_signal(signal.SIGSTOP)
        instance, _ = instances.deploy(store, order, origin=AT_NOON)
        stack.callback(runner.remove, instance["_id"])

        def find():
            return store.instances.get(instance["_id"])

        assert eventually(lambda: find()["state"] == InstanceState.READY, timeout_s=LONG_S)
        assert eventually(store.watches.find_holders, timeout_s=LONG_S)
        first.kill()
        second.send_signal(signal.SIGCONT)
        runner.power(instance["_id"], PowerAction.KILL)

        assert eventually(lambda: find()["power"] == Power.STOPPED, timeout_s=LONG_S)
        assert 137 == find()["exit_code"]
