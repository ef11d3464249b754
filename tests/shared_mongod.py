"""A mongod for all tests of one worker, which outlasts neither the worker nor its crash."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import disk_usage
from tempfile import mkdtemp

from service.serving import embedded_mongod

SHARED_MEMORY = Path("/dev/shm")
MONGOD_BYTES = 4 * 2**30
"""How much of it must be free: a mongod takes 300 MB at once, and there is one a worker."""

# Ends when its input does, as it does when the worker is killed: then the mongod runs on.
_CLEANER = 'read -r stopped; [ "$stopped" ] || { kill -9 "$1"; sleep 1; }; exec rm -rf "$2"'


@contextmanager
def run_mongod() -> Iterator[str]:
    """Run it; give its address. Its files are in memory, so that it waits for no disk."""
    in_memory = SHARED_MEMORY.is_dir() and disk_usage(SHARED_MEMORY).free > MONGOD_BYTES
    folder = mkdtemp(prefix="skyquay-", dir=SHARED_MEMORY if in_memory else None)
    with embedded_mongod.start(Path(folder)) as mongod:
        cleaner = subprocess.Popen(
            ["sh", "-c", _CLEANER, "sh", str(mongod.process.pid), folder],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        yield mongod.uri
    cleaner.communicate("stopped\n")
