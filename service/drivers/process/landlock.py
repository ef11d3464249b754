"""What the kernel keeps from the programs of a `process` node, which run as Skyquay's own user.

Landlock (Linux 5.13) takes rights from a thread, and from all that it starts, for good. Here a
program keeps the right to read and execute everything but one folder, and to write to what it is
given. It can neither trace nor read the memory of a process outside, and as of Linux 6.12 not send
it signals. Rights are given, not taken, and what is given to a folder is given to all below it: so
"all but one folder" is each neighbour of that folder, and of the folders that it lies in. They can
then not be listed themselves, and what is put into them later cannot be read.
"""

import logging
import os
import stat
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from service.drivers.process.keeper import (
    ADD_RULE,
    CREATE_RULESET,
    PATH_BENEATH,
    SCOPE_SIGNALS,
    syscall,
)

log = logging.getLogger(__name__)

# The numbers of linux/landlock.h.
_ASK_VERSION = 1
_ABSTRACT_SOCKETS = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_RIGHTS_BY_ABI = {1: 13, 2: 14, 3: 15, 4: 15}  # how many there are; 16 as of 5
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_READ = _EXECUTE | _READ_FILE | _READ_DIR
# Who is root could reach a disk through a device file of its own.
_WRITE = ~(_MAKE_CHAR | _MAKE_BLOCK)

_DEV = Path("/dev")
_FOR_ALL = [
    *(Path(path) for path in ("/tmp", "/var/tmp")),  # noqa: S108 - programs expect them
    *(_DEV / name for name in ("null", "zero", "full", "random", "urandom")),
    *(_DEV / name for name in ("tty", "ptmx", "pts", "shm")),
]


@cache
def find_abi() -> int:
    """Return which version of Landlock the kernel has. 0 for none, which the log says once."""
    try:
        return syscall(CREATE_RULESET, 0, 0, _ASK_VERSION)
    except OSError as exc:
        log.warning(
            "the kernel has no Landlock (%s): programs of process nodes can read Skyquay's data "
            "folder, with its keys",
            exc.strerror,
        )
        return 0


@contextmanager
def ruleset(*, hidden: Path, writable: Iterable[Path]) -> Iterator[int | None]:
    """Make a ruleset, which takes from whoever is restricted by it all rights but these.

    It reads nothing in `hidden` but what is `writable`, and writes nothing but that and what is for
    all programs, such as /tmp where `hidden` is not in it. Answers a descriptor, which is closed
    afterwards. None without Landlock.
    """
    abi = find_abi()
    if abi == 0:
        yield None
        return
    hidden = hidden.resolve()
    rights = (1 << _RIGHTS_BY_ABI.get(abi, 16)) - 1
    scopes = _ABSTRACT_SOCKETS | SCOPE_SIGNALS if abi >= 6 else 0
    # An older kernel takes the longer structure too, as long as what it does not know is 0.
    attributes = struct.pack("=QQQ", rights, 0, scopes)
    descriptor = syscall(CREATE_RULESET, attributes, len(attributes), 0)
    try:
        for path in _list_around(hidden):
            _allow(descriptor, path, rights & _READ)
        for path in (*_list_for_all(hidden), *writable):
            _allow(descriptor, path, rights & _WRITE)
        yield descriptor
    finally:
        os.close(descriptor)


def _list_around(hidden: Path) -> Iterator[Path]:
    """List what is beside a folder, and beside the folders that it lies in; not the devices."""
    apart = {hidden, *hidden.parents, _DEV}
    for folder in hidden.parents:
        with suppress(PermissionError):  # nor can the programs list it
            yield from (path for path in folder.iterdir() if path not in apart)


def _list_for_all(hidden: Path) -> Iterator[Path]:
    for path in _FOR_ALL:
        actual = path.resolve()
        if actual != hidden and actual not in hidden.parents:
            yield actual


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return  # It is gone, or out of our own reach.
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISLNK(mode):
            return  # Where it leads has rights of its own.
        if not stat.S_ISDIR(mode):
            rights &= _OF_FILES
        syscall(ADD_RULE, ruleset, PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0)
    finally:
        os.close(descriptor)
