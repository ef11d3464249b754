"""An engine that is stopped and started again: one of the test's own."""

import subprocess
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import docker
import pytest

from service.drivers.docker.engine import DockerEngine
from service.drivers.docker.labels import LABEL
from service.errors import NodeUnreachable
from tests.docker_images import ensure_image, require_engine
from tests.support import eventually, need

pytestmark = [pytest.mark.docker, pytest.mark.spawns]

NAME = "ipower0000"


class OwnEngine:
    """A dockerd with folders of its own, without networks."""

    def __init__(self, folder):
        self._folder = folder
        self.url = f"unix://{folder}/docker.sock"
        self._process = None

    def start(self):
        """Start it, and wait until it answers."""
        # Without a bridge dockerd removes that of any other. So it has a network of its own, and
        # mounts of its own, which go when it does.
        words = [need("unshare"), "--net", "--mount", need("dockerd"),
                 "--data-root", f"{self._folder}/data", "--exec-root",
                 f"{self._folder}/exec", "--pidfile", f"{self._folder}/pid", "-H", self.url,
                 "--bridge=none", "--iptables=false", "--storage-driver=vfs"]  # fmt: skip
        with (self._folder / "log").open("a") as log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log)
        assert eventually(self._answers, timeout_s=60)

    def stop(self):
        """Stop it, and all that it runs."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
            self._process = None

    def _answers(self):
        with suppress(NodeUnreachable), open_driver(self) as driver:
            return driver.probe()


def open_driver(own):
    """Open the driver of the engine."""
    return closing(DockerEngine("node", base_url=own.url, connect_timeout_s=3, read_timeout_s=30))


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
        with closing(require_engine()) as client, closing(docker.DockerClient(own.url)) as there:
            image = client.images.get(ensure_image(client, "skyquay-test/python:1"))
            there.images.load(b"".join(image.save(named=True)))
            container = there.containers.run(
                image.tags[0], ["sleep", "600"], name=NAME, labels={LABEL: NAME}, detach=True,
                network_mode="none", restart_policy={"Name": "unless-stopped"}, stop_signal="KILL",
            )  # fmt: skip
            with open_driver(own) as driver, closing(driver.follow_power(None)) as feed:
                own.stop()
                assert hear(feed, 137)
                with pytest.raises(NodeUnreachable):
                    read_on(feed)
                cursor = feed.cursor
            own.start()
            with open_driver(own) as driver, closing(driver.follow_power(cursor)) as feed:
                assert hear(feed, None)
                container.kill()

                assert hear(feed, 137)
