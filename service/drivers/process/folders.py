"""The folders of the instances on this machine: what is in one, and which there are.

Each instance has a folder::

    instance.json    what runs, whether it is wanted running, and which process it is
    lock             flock of who changes the instance right now
    exit_code        of the program that ended last, written by its keeper
    stdin            a FIFO that the program reads, for its stop command
    log              what the program printed; log.1 before that
    log_begin        how much of log is of the starts before
    data/            its files, where it starts; all that it may write, with its stdin and log

One that goes is renamed first, so that no half of it is ever taken for an instance.
"""

import re
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import ParamSpec, TypeVar

from service.drivers import Authorize
from service.drivers.process import records
from service.drivers.process.records import LOCK_TIMEOUT_S, Record
from service.errors import NodeRefused

Params = ParamSpec("Params")
Result = TypeVar("Result")

GONE = ".gone-"
_ID = re.compile(r"[a-z0-9][a-z0-9-]{1,63}", re.ASCII)


class Folders:
    """The folders below `root`, which is made when it is needed. Each change asks `authorize`."""

    def __init__(self, node_id: str, root: Path, authorize: Authorize) -> None:
        self.node_id = node_id
        self.root = root
        self.authorize = authorize

    def find(self, instance_id: str) -> Path:
        """Return where the instance's folder is, or would be."""
        if not _ID.fullmatch(instance_id):
            raise NodeRefused(self.node_id, f"{instance_id!r} cannot be an instance's id.")
        return self.root / instance_id

    def list_all(self) -> list[Path]:
        """List the folders of all instances."""
        return sorted(
            path.parent
            for path in self.root.glob("*/instance.json")
            if _ID.fullmatch(path.parent.name)
        )

    def require(self, folder: Path) -> Record:
        """Read the record of an instance that is to be there. Raises NodeRefused."""
        record = records.read(folder)
        if record is None:
            raise NodeRefused(self.node_id, f"There is no instance {folder.name} here.")
        return record

    def locked(
        self, instance_id: str, *, timeout_s: float = LOCK_TIMEOUT_S
    ) -> AbstractContextManager[None]:
        """Keep all others from changing the instance: see records.locked."""
        return records.locked(self.node_id, self.find(instance_id), timeout_s=timeout_s)

    def change(
        self, work: Callable[Params, Result], *args: Params.args, **options: Params.kwargs
    ) -> Result:
        """Change something of an instance: the one way, which asks first whether that may be."""
        self.authorize()
        return work(*args, **options)

    def put_away(self, folder: Path) -> None:
        """Rename the folder of an instance that goes; it is to be erased."""
        folder.rename(self.root / f"{GONE}{folder.name}-{secrets.token_hex(4)}")

    def list_gone(self) -> list[Path]:
        """List the folders of instances that are gone, of earlier attempts too."""
        return list(self.root.glob(f"{GONE}*"))
