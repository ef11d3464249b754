"""A Docker Engine of a test's own, beside the machine's."""

import subprocess
from contextlib import closing, suppress
from pathlib import Path

import docker

from service.drivers.docker.engine import DockerEngine
from service.errors import NodeUnreachable
from tests.docker_images import ensure_image, require_engine
from tests.support import eventually, need


class OwnEngine:
    """A dockerd with folders and a network namespace of its own, in a folder with a short name.

    Its containers have no networks, unless it `publishes` ports within its namespace.
    """

    def __init__(self, folder: Path, *, publishes: bool = False) -> None:
        self._folder = folder
        self.url = f"unix://{folder}/docker.sock"
        self._process: subprocess.Popen[bytes] | None = None
        self._options = [] if publishes else ["--bridge=none", "--iptables=false"]

    def start(self) -> None:
        """Start it, and wait until it answers."""
        # Without a bridge dockerd removes that of any other. So it has a network of its own, and
        # mounts of its own, which go when it does. Older engines keep their id in /etc/docker.
        line = (
            f"{need('ip')} link set lo up && mkdir -p /etc/docker && "
            f'mount -t tmpfs none /etc/docker && exec {need("dockerd")} "$@"'
        )
        words = [need("unshare"), "--net", "--mount", "sh", "-c", line, "sh",
                 "--data-root", f"{self._folder}/data", "--exec-root",
                 f"{self._folder}/exec", "--pidfile", f"{self._folder}/pid", "-H", self.url,
                 "--storage-driver=vfs", *self._options]  # fmt: skip
        with (self._folder / "log").open("a") as log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log)
        assert eventually(self._answers, timeout_s=60)

    def stop(self) -> None:
        """Stop it, and all that it runs."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
            self._process = None

    def open(self) -> "closing[DockerEngine]":
        """Open its driver."""
        return closing(
            DockerEngine("node", base_url=self.url, connect_timeout_s=3, read_timeout_s=30)
        )

    def load(self, reference: str) -> str:
        """Give it an image that the machine's engine has or makes; return its name."""
        with closing(require_engine()) as client, closing(docker.DockerClient(self.url)) as there:
            image = client.images.get(ensure_image(client, reference))
            there.images.load(b"".join(image.save(named=reference)))
        return reference

    def _answers(self) -> object:
        with suppress(NodeUnreachable), self.open() as driver:
            return driver.probe()
        return None
