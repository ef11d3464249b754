"""Images for tests, made of busybox, because no test may need a registry of the outside."""

import io
import os
import socket
import tarfile
from pathlib import Path

import docker
import pytest

from tests.support import eventually

SOCKET = "/var/run/docker.sock"
BUSYBOX = Path("/bin/busybox")
COMMANDS = (
    "cat",
    "chmod",
    "echo",
    "httpd",
    "id",
    "ls",
    "mount",
    "nc",
    "ping",
    "sh",
    "sleep",
    "wget",
)

# Enough of Python to be the image of a static web server.
PYTHON = b"""#!/bin/sh
[ "$1 $2" = "-m http.server" ] || exit 64
[ -f index.html ] || echo 'A folder.' > index.html
exec httpd -f -p "$3" -h .
"""


def require_engine():
    """Answer a client of the Docker Engine here; skip the test, or fail where one is required."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(SOCKET)
        except OSError as exc:
            if os.environ.get("SKYQUAY_REQUIRE_DOCKER") == "1":
                pytest.fail(f"no Docker Engine answers: {exc}")
            pytest.skip("no Docker Engine answers")
    return docker.DockerClient(base_url=f"unix://{SOCKET}")


def ensure_image(client, reference):
    """Make an image of this name, unless there is one: busybox, and a `python3` that can serve."""
    try:
        client.images.get(reference)
    except docker.errors.ImageNotFound:
        repository, _, tag = reference.rpartition(":")
        client.api.import_image_from_data(make_root_file_system(), repository=repository, tag=tag)
    return reference


def make_root_file_system():
    """Make the archive of an image's files."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        for folder in ("bin", "tmp", "usr/local/bin"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name, content in (("bin/busybox", BUSYBOX.read_bytes()),
                              ("usr/local/bin/python3", PYTHON)):  # fmt: skip
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
        for command in COMMANDS:
            entry = tarfile.TarInfo(f"bin/{command}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
    return written.getvalue()


def run_inside(container, line):
    """Run a line in the container; answer its exit code, and what came of its output."""
    done = container.exec_run(["sh", "-c", line])
    return done.exit_code, done.output.decode()


def print_inside(container, line):
    """Run a line that prints something and changes nothing; answer what it printed.

    An engine may lose the output of a process that ends at once, so it is run until there is some.
    """
    return eventually(lambda: run_inside(container, line)[1])
