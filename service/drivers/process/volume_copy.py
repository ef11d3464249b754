"""The files of an instance on this machine, read and written as an archive.

The program that wrote them is not trusted: no link is followed, neither where files are read nor
where they are written, and nothing is written anywhere but below the volume's own folder. A file
is opened part by part of its path, each in the folder before it.
"""

import os
import stat
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from service.drivers.volume_archive import (
    CHUNK_BYTES,
    TOP,
    BadArchive,
    make_end,
    make_header,
    pad,
    split,
)
from service.drivers.volume_archive import read as read_archive

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def read(data: Path) -> Iterator[bytes]:
    """Read all that is below a folder, each folder before what is in it. Sockets are left out."""
    linked: dict[tuple[int, int], str] = {}
    waiting = [""]
    while waiting:
        path = waiting.pop()
        with _opened(data, path.split("/")[:-1]) as folder:
            name = path.rpartition("/")[2] or "."
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISSOCK(found.st_mode):
                continue
            member = _describe(path, found, linked)
            if member.issym():
                member.linkname = os.readlink(name, dir_fd=folder)
            yield make_header(member)
            if member.isreg():
                yield from _read_file(folder, name, member.size)
            elif member.isdir():
                with _opened(data, path.split("/") if path else ()) as inner:
                    names = sorted(os.listdir(inner), reverse=True)
                waiting += [f"{path}/{each}" if path else each for each in names]
    yield make_end()


def write(data: Path, archive: Iterable[bytes], authorize: Callable[[], None]) -> None:
    """Write what is in an archive into a folder that is empty. Raises BadArchive, and OSError."""
    # Those that are open are still written into, which changes their times, and needs the right.
    folders: list[tuple[tuple[str, ...], tarfile.TarInfo]] = []
    for member, content in read_archive(archive):
        authorize()
        parts = split(member.name)
        while folders and parts[: len(folders[-1][0])] != folders[-1][0]:
            _finish_folder(data, *folders.pop())
        if member.isdir():
            _make_folder(data, parts)
            folders.append((parts, member))
        elif not parts:
            raise BadArchive("The archive of the files is of no folder.")
        else:
            with _opened(data, parts[:-1]) as folder:
                _make(data, folder, parts[-1], member, content, authorize)
    while folders:
        _finish_folder(data, *folders.pop())
    os.sync()  # the files that were read may be removed next


def _describe(
    path: str, found: os.stat_result, linked: dict[tuple[int, int], str]
) -> tarfile.TarInfo:
    member = tarfile.TarInfo(f"{TOP}/{path}" if path else TOP)
    member.mode, member.uid, member.gid = stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid
    member.mtime = found.st_mtime
    key = found.st_dev, found.st_ino
    if stat.S_ISDIR(found.st_mode):
        member.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(found.st_mode):
        member.type = tarfile.SYMTYPE
    elif key in linked:
        member.type, member.linkname = tarfile.LNKTYPE, linked[key]
    elif stat.S_ISREG(found.st_mode):
        member.size = found.st_size
    elif stat.S_ISFIFO(found.st_mode):
        member.type = tarfile.FIFOTYPE
    else:
        raise BadArchive(f"{path!r} is a device, which is not copied.")
    if found.st_nlink > 1 and not member.isdir():
        linked.setdefault(key, member.name)
    return member


def _read_file(folder: int, name: str, size: int) -> Iterator[bytes]:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, dir_fd=folder), "rb", buffering=0) as file:
        left = size
        while left:
            chunk = file.read(min(left, CHUNK_BYTES))
            if not chunk:
                raise BadArchive(f"{name!r} became shorter while it was read.")
            left -= len(chunk)
            yield chunk
    yield pad(size)


def _make_folder(data: Path, parts: Sequence[str]) -> None:
    if parts:
        with _opened(data, parts[:-1]) as folder:
            os.mkdir(parts[-1], 0o700, dir_fd=folder)


def _finish_folder(data: Path, parts: Sequence[str], member: tarfile.TarInfo) -> None:
    with _opened(data, parts) as folder:
        os.fchown(folder, member.uid, member.gid)
        os.fchmod(folder, member.mode & 0o7777)
        os.utime(folder, (member.mtime, member.mtime))


def _make(
    data: Path,
    folder: int,
    name: str,
    member: tarfile.TarInfo,
    content: Iterator[bytes],
    authorize: Callable[[], None],
) -> None:
    if member.islnk():
        *parents, linked = split(member.linkname)
        with _opened(data, parents) as there:
            os.link(linked, name, src_dir_fd=there, dst_dir_fd=folder, follow_symlinks=False)
        return
    if member.issym():
        os.symlink(member.linkname, name, dir_fd=folder)
    elif member.isreg():
        _write_file(folder, name, content, authorize)
    else:
        os.mkfifo(name, 0o600, dir_fd=folder)
    os.chown(name, member.uid, member.gid, dir_fd=folder, follow_symlinks=False)
    if not member.issym():  # nothing else can have that name: it was just made here
        os.chmod(name, member.mode & 0o7777, dir_fd=folder)
    os.utime(name, (member.mtime, member.mtime), dir_fd=folder, follow_symlinks=False)


def _write_file(
    folder: int, name: str, content: Iterator[bytes], authorize: Callable[[], None]
) -> None:
    with os.fdopen(os.open(name, _NEW_FILE, 0o600, dir_fd=folder), "wb", buffering=0) as file:
        for part in content:
            authorize()
            if part.count(0) == len(part):
                file.seek(len(part), os.SEEK_CUR)  # a hole, as sparse files have
            else:
                file.write(part)
        file.truncate()


@contextmanager
def _opened(data: Path, parts: Sequence[str]) -> Iterator[int]:
    """Open a folder below another, no part of which is a link."""
    folder = os.open(data, _FOLDER)
    try:
        for part in parts:
            inner = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)
