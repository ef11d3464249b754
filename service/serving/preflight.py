"""What `make run` needs of a machine: looked for before anything is installed.

It is run by the machine's own Python, which has none of our packages yet:
`python3 -m service.serving.preflight [HOST:PORT]`.
"""

import ctypes
import os
import platform
import shutil
import sys
from importlib.util import find_spec

from service.config import Config, ConfigError
from service.serving.listening import bind

PACKAGES = ("curl", "libcurl4", "python3-venv")
"""Those of Debian that have what is looked for."""


def find_problem(listen: str | None) -> str | None:
    """Say what is in the way of a first start, and how it is mended; None when nothing is.

    `listen` takes the place of SKYQUAY_LISTEN.
    """
    try:
        config = Config.from_env(os.environ, listen=listen)
        bind(config).close()
    except ConfigError as exc:
        return f"Error: {exc}"
    found = (
        shutil.which("curl"),
        _runs_mongod(config),
        find_spec("ensurepip") and find_spec("venv"),
    )
    missing = " ".join(package for package, there in zip(PACKAGES, found, strict=True) if not there)
    return f'Error: Something is missing: run "apt-get install {missing}".' if missing else None


def _runs_mongod(config: Config) -> bool:
    """Return whether a database is there, or the one that is installed will find its library."""
    if config.mongodb_uri or shutil.which("mongod"):
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
