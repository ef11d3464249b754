"""What `make run` needs of a machine: looked for before anything is installed.

It is run by the machine's own Python, which has none of our packages yet:
`python3 -m service.preflight [HOST:PORT]`.
"""

import ctypes
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec

from service.config import Config, ConfigError
from service.listening import bind

_MONGODB = ("SKYQUAY_MONGODB_URI", "SKYQUAY_MONGODB_URI_FILE")


def find_problem(listen: str | None) -> str | None:
    """Say what is in the way of a first start, and how it is mended; None when nothing is.

    `listen` takes the place of SKYQUAY_LISTEN.
    """
    given = {} if listen is None else {"SKYQUAY_LISTEN": listen}
    try:
        bind(Config.from_env({**os.environ, **given})).close()
    except ConfigError as exc:
        return f"Error: {exc}"
    missing = " ".join(_list_missing())
    return f'Error: Something is missing: run "apt-get install {missing}".' if missing else None


def _list_missing() -> Iterator[str]:
    """Name the packages of Debian that have what is missing."""
    if not shutil.which("curl"):
        yield "curl"
    if not _runs_mongod():
        yield "libcurl4"
    if not find_spec("ensurepip") or not find_spec("venv"):
        yield "python3-venv"


def _runs_mongod() -> bool:
    """Tell whether a database is there, or the one that is installed will find its library."""
    if any(os.environ.get(name) for name in _MONGODB) or shutil.which("mongod"):
        return True
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return True  # there is none to install
    try:
        ctypes.CDLL("libcurl.so.4")
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(find_problem(next(iter(sys.argv[1:]), None)))
