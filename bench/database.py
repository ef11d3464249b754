"""The mongod of a bench."""

import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from service.serving import embedded_mongod
from service.serving.embedded_mongod import EmbeddedMongod


def start_mongod(stack: ExitStack) -> tuple[Path, EmbeddedMongod]:
    """Start a mongod in a folder of its own. Both are gone when the stack closes, by SIGTERM too.

    That ends no process by itself that was started, and is from now on an exit like others.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    return folder, stack.enter_context(embedded_mongod.start(folder))
