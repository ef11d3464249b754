"""An engine that is stopped and started again: one of the test's own."""

from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory

import docker
import pytest

from service.drivers.docker.labels import LABEL
from service.errors import NodeUnreachable
from tests.own_engine import OwnEngine
from tests.support import eventually

pytestmark = [pytest.mark.docker, pytest.mark.spawns]

NAME = "ipower0000"


def hear(feed, exit_code):
    """Wait for a container that began (None) or ended."""

    def listen():
        return any(hint.exit_code == exit_code for hint in feed.read(0.5))

    return eventually(listen, timeout_s=60)


def read_on(feed):
    """Read until that raises."""
    while True:
        feed.read(0.5)


@pytest.fixture
def short_path():
    """A folder whose name is short: the sockets in it may have 107 characters."""
    with TemporaryDirectory(prefix="sq") as folder:
        yield Path(folder)


def test_an_engine_that_restarts_is_heard_again(short_path):
    """With the end of all that it ran, and what begins and ends afterwards."""
    own = OwnEngine(short_path)
    with ExitStack() as stack:
        stack.callback(own.stop)
        own.start()
        image = own.load("skyquay-test/python:1")
        with closing(docker.DockerClient(own.url)) as there:
            container = there.containers.run(
                image, ["sleep", "600"], name=NAME, labels={LABEL: NAME}, detach=True,
                network_mode="none", restart_policy={"Name": "unless-stopped"}, stop_signal="KILL",
            )  # fmt: skip
            with own.open() as driver, closing(driver.follow_power(None)) as feed:
                own.stop()
                assert hear(feed, 137)
                with pytest.raises(NodeUnreachable):
                    read_on(feed)
                cursor = feed.cursor
            own.start()
            with own.open() as driver, closing(driver.follow_power(cursor)) as feed:
                assert hear(feed, None)
                container.kill()

                assert hear(feed, 137)
