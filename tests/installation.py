"""A new installation, as `make run` makes one."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil


@dataclass(frozen=True)
class Installation:
    """A Skyquay that serves, and what its terminal showed until it did."""

    printed: str

    @property
    def url(self) -> str:
        """Where it serves."""
        return re.findall(r"http://127\.0\.0\.1:\d+", self.printed)[0]

    @property
    def key(self) -> str:
        """The first API key."""
        return re.findall(r"sq_[\w-]+", self.printed)[0]


def import_image(data_dir: Path, document: dict[str, Any]) -> None:
    """Import an image on the machine itself: only there it may be one that runs as a process."""
    file = data_dir / "image.json"
    file.write_text(json.dumps(document))
    subprocess.run(
        [Path(sys.executable).with_name("skyquay"), "images", "import", file],
        env={**os.environ, "SKYQUAY_DATA_DIR": str(data_dir)},
        check=True,
        stdout=subprocess.DEVNULL,
    )


@contextmanager
def new_installation(data_dir: Path) -> Iterator[Installation]:
    """Run `skyquay up` on an empty folder, with this machine as its node for processes."""
    environ = {name: text for name, text in os.environ.items() if not name.startswith("SKYQUAY_")}
    settings = {
        "SKYQUAY_DATA_DIR": str(data_dir),
        "SKYQUAY_LISTEN": "127.0.0.1:0",
        "SKYQUAY_LOCAL_NODE": "process",
    }
    terminal, screen = pty.openpty()
    with (
        data_dir.joinpath("skyquay.log").open("w") as log,
        subprocess.Popen(
            [Path(sys.executable).with_name("skyquay"), "up"],
            env={**environ, **settings},
            stdout=screen,
            stderr=log,
        ) as process,
        open(terminal, closefd=True) as shown,
    ):
        printed = ""
        while not printed.endswith("'\n\n") and (line := shown.readline()):
            printed += line
        try:
            yield Installation(printed)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=40)
            os.close(screen)
            _kill_programs(data_dir)


def _kill_programs(data_dir: Path) -> None:
    """Kill what is left of instances, which outlive Skyquay: some start others meanwhile."""
    while left := [
        each
        for each in psutil.process_iter(["cwd", "status"])
        if (each.info["cwd"] or "").startswith(str(data_dir))
        and each.info["status"] != psutil.STATUS_ZOMBIE
    ]:
        for each in left:
            with suppress(psutil.NoSuchProcess):
                each.kill()
