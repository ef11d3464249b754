"""What the kernel keeps from the programs of a `process` node, which run as Skyquay's own user.

Landlock (Linux 5.13) takes rights from a thread, and from all that it starts, for good. Here a
program keeps the right to read and execute everything but one folder, and to write to what it is
given. It can neither trace nor read the memory of a process outside, and as of Linux 6.12 not send
it signals. Rights are given, not taken, and what is given to a folder is given to all below it: so
"all but one folder" is each neighbour of that folder, and of the folders that it lies in. They can
then not be listed themselves, and what is put into them later cannot be read.
"""

import ctypes
import logging
import os
import stat
import struct
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")

log = logging.getLogger(__name__)

# The numbers of linux/landlock.h. Those of the system calls are the same for all processors.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION = 1
_PATH_BENEATH = 1
_ABSTRACT_SOCKETS, _SIGNALS = 1, 2
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_RIGHTS_BY_ABI = {1: 13, 2: 14, 3: 15, 4: 15}  # how many there are; 16 as of 5
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_READ = _EXECUTE | _READ_FILE | _READ_DIR
# Who is root could reach a disk through a device file of its own.
_WRITE = ~(_MAKE_CHAR | _MAKE_BLOCK)
_SET_NO_NEW_PRIVS, _DROP_CAPABILITY = 38, 24
# Of the capabilities of root, those that containers of a `docker` node have too.
_CHOWN, _DAC_OVERRIDE, _FOWNER, _KILL, _SETGID, _SETUID, _BIND = 0, 1, 3, 5, 6, 7, 10
_KEPT = {_CHOWN, _DAC_OVERRIDE, _FOWNER, _KILL, _SETGID, _SETUID, _BIND}

_DEV = Path("/dev")
_FOR_ALL = [
    *(Path(path) for path in ("/tmp", "/var/tmp")),  # noqa: S108 - programs expect them
    *(_DEV / name for name in ("null", "zero", "full", "random", "urandom")),
    *(_DEV / name for name in ("tty", "ptmx", "pts", "shm")),
]

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


@cache
def find_abi() -> int:
    """Tell which version of Landlock the kernel has. 0 for none, which the log says once."""
    try:
        return _call(_CREATE_RULESET, 0, 0, _ASK_VERSION)
    except OSError as exc:
        log.warning(
            "the kernel has no Landlock (%s): programs of process nodes can read Skyquay's data "
            "folder, with its keys",
            exc.strerror,
        )
        return 0


def call_confined(
    function: Callable[[], Result], *, hidden: Path, writable: Iterable[Path]
) -> Result:
    """Call the function in a thread that is confined, as everything is that it starts.

    It reads nothing in `hidden` but what is `writable`, and writes nothing but that and what is for
    all programs, such as /tmp where `hidden` is not in it. Without Landlock, it is just called.
    """
    if find_abi() == 0:
        return function()

    def call() -> Result:
        _confine(hidden.resolve(), writable)
        return function()

    # A thread of its own, since nothing undoes this.
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(call).result()


def _confine(hidden: Path, writable: Iterable[Path]) -> None:
    abi = find_abi()
    rights = (1 << _RIGHTS_BY_ABI.get(abi, 16)) - 1
    scopes = _ABSTRACT_SOCKETS | _SIGNALS if abi >= 6 else 0
    # An older kernel takes the longer structure too, as long as what it does not know is 0.
    attributes = struct.pack("=QQQ", rights, 0, scopes)
    ruleset = _call(_CREATE_RULESET, attributes, len(attributes), 0)
    try:
        for path in _list_around(hidden):
            _allow(ruleset, path, rights & _READ)
        for path in (*_list_for_all(hidden), *writable):
            _allow(ruleset, path, rights & _WRITE)
        _drop_capabilities()
        _prctl(_SET_NO_NEW_PRIVS, 1)
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _drop_capabilities() -> None:
    """Take from root what Landlock does not rule, such as to load modules and to read memory.

    Whoever is not root has nothing to lose, which is how the kernel refuses it.
    """
    for capability in set(range(64)) - _KEPT:
        with suppress(OSError):  # nor has anybody what this kernel does not know
            _prctl(_DROP_CAPABILITY, capability)


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
        _call(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0)
    finally:
        os.close(descriptor)


def _call(number: int, *arguments: int | bytes) -> int:
    """Make a system call. Bytes are handed over by their address."""
    words = [each if isinstance(each, bytes) else ctypes.c_long(each) for each in arguments]
    return _check(_libc.syscall(ctypes.c_long(number), *words))


def _prctl(option: int, argument: int) -> None:
    none = ctypes.c_ulong(0)
    _check(_libc.prctl(option, ctypes.c_ulong(argument), none, none, none))


def _check(answer: int) -> int:
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer
