"""Keys that are made once, each in a file that only its owner can read."""

import os
from collections.abc import Callable
from pathlib import Path


def keep(path: Path, make: Callable[[], str]) -> str:
    """Read the key; make it if need be. A crash leaves a file with a whole key, or none.

    What others could read until now, such as a copy, they cannot any more.
    """
    if not path.exists():
        draft = path.with_name(f"{path.name}.new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{make()}\n")
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    elif path.stat().st_mode & 0o077:
        path.chmod(0o600)
    return path.read_text().strip()
