"""The files of an instance as a tar archive that is streamed: read piece by piece, and never kept.

The archive has one folder at its top, the volume itself, and all else below that. What is in one
was chosen by the program that wrote the files: whoever extracts it trusts no name and no link.
"""

import hashlib
import math
import tarfile
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from service.drivers.boundary import Interruption
from service.errors import NodeFailure, ServiceError

CHUNK_BYTES = 256 * 1024
"""How much of an archive is in memory at a time."""

MAX_HEADER_BYTES = 2**20
"""How much may say what an entry is: its name, its link, and its extended attributes."""

MAX_PATH = 4096
"""How long the name of an entry may be, as for programs. What is deeper would take much memory."""

TOP = "data"
"""The name of the volume in its archive."""

_BLOCK = 512
_EXTENDED = "SCHILY.xattr."
_END = bytes(2 * _BLOCK)
_DIGEST_BYTES = 32


class BadArchive(Exception):
    """It is no whole archive of a volume, or has what no volume may have."""


@dataclass(frozen=True, slots=True)
class VolumeDigest:
    """What is in a volume: equal for two that have the same, in whichever order they list it."""

    entries: int
    size_bytes: int
    """Of the files together."""
    digest: bytes
    """The sum of the SHA-256 of each entry: its path, kind, rights, owner, and what it holds. The
    times of files count as whole seconds; those of folders and links do not."""


def digest(archive: Iterable[bytes]) -> VolumeDigest:
    """Read an archive to its end, and say what is in it. Raises BadArchive."""
    entries = size = total = 0
    for member, content in read(archive):
        held = hashlib.sha256()
        for part in content:
            held.update(part)
        facts = (
            split(member.name),
            member.type,
            None if member.issym() or member.islnk() else member.mode & 0o7777,
            None if member.islnk() else (member.uid, member.gid),
            (member.size, int(member.mtime // 1)) if member.isreg() else None,
            split(member.linkname) if member.islnk() else member.linkname,
            held.hexdigest(),
        )
        each = hashlib.sha256(repr(facts).encode("utf-8", "surrogateescape")).digest()
        total = (total + int.from_bytes(each)) % 2 ** (8 * _DIGEST_BYTES)
        entries, size = entries + 1, size + (member.size if member.isreg() else 0)
    return VolumeDigest(entries, size, total.to_bytes(_DIGEST_BYTES))


def read(archive: Iterable[bytes]) -> Iterator[tuple[tarfile.TarInfo, Iterator[bytes]]]:
    """Read what is in an archive, one after the other, each with the pieces of its content.

    A content must be read before the next entry. Raises BadArchive for one that does not end as one
    does, as something may be missing of it; for one that would take more memory than its files are
    worth; and for what no volume has, such as devices.
    """
    source = _Source(archive)
    with (
        _reported(),
        tarfile.open(fileobj=source, mode="r|", bufsize=CHUNK_BYTES) as tar,  # type: ignore[call-overload] # nothing else is called
    ):
        while (member := _read_header(source, tar)) is not None:
            _check(tar, member)
            yield member, _read_content(tar, member)
            tar.members.clear()  # else all of them would be kept
    source.end_at(tar.offset)


def split(name: str) -> tuple[str, ...]:
    """Return where something is in the volume, part by part. Raises BadArchive for elsewhere."""
    top, *parts = [part for part in name.split("/") if part not in ("", ".")] or [""]
    if len(name) > MAX_PATH:
        raise BadArchive(f"The archive of the files has a name of {len(name)} characters.")
    if top != TOP or ".." in parts or name.startswith("/"):
        raise BadArchive(f"The archive of the files has {name!r}, which is not in the volume.")
    return tuple(parts)


def make_header(member: tarfile.TarInfo) -> bytes:
    """Write what comes before the content of something."""
    # The others say again what the member says, as it was read.
    kept = {key: text for key, text in member.pax_headers.items() if key.startswith(_EXTENDED)}
    member.pax_headers = kept
    return member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def pad(size: int) -> bytes:
    """Fill up what follows a content of so many bytes."""
    return bytes(-size % _BLOCK)


def make_end() -> bytes:
    """Write the end of an archive."""
    return _END


def translating(
    archive: Iterable[bytes], translate: Callable[[Exception], NodeFailure]
) -> Generator[bytes, None, None]:
    """Pass on an archive that a driver reads; every error on the way is translated."""
    try:
        yield from archive
    except (ServiceError, Interruption):
        raise
    except Exception as exc:
        raise translate(exc) from exc


@contextmanager
def _reported() -> Iterator[None]:
    """Translate what tarfile raises for an archive that is none."""
    try:
        yield
    except (tarfile.TarError, ValueError, RecursionError) as exc:
        raise BadArchive(f"The archive of the files is damaged: {exc}.") from exc


def _read_header(source: "_Source", tar: tarfile.TarFile) -> tarfile.TarInfo | None:
    with source.bounded():
        return tar.next()


def _check(tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    if not (
        member.isreg() or member.isdir() or member.issym() or member.islnk() or member.isfifo()
    ):
        raise BadArchive(
            f"{member.name[:MAX_PATH]!r} is a device, or of a kind that is not copied."
        )
    # No engine writes these: a few bytes that stand for any number of zeros, and what is said of
    # all entries at once, all of which would be kept.
    if member.issparse() or tar.pax_headers or not math.isfinite(member.mtime):
        raise BadArchive(
            f"The archive of the files says of {member.name[:MAX_PATH]!r} what none does."
        )


def _read_content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    file = tar.extractfile(member) if member.isreg() else None
    with _reported():
        while file is not None and (part := file.read(CHUNK_BYTES)):
            yield part


class _Source:
    """An archive as a file that is read once, from its beginning to its end."""

    def __init__(self, archive: Iterable[bytes]) -> None:
        self._chunks = iter(archive)
        self._rest = b""
        self._passed = 0
        self._zeros_from = 0
        """Where nothing but zeros follows, as far as was read."""
        self._left: float = MAX_HEADER_BYTES
        """How much may still be read of a header; it begins with one."""

    @contextmanager
    def bounded(self) -> Iterator[None]:
        """Raise BadArchive where a header is long: it is kept, as long as it says that it is."""
        self._left = MAX_HEADER_BYTES
        yield
        self._left = math.inf

    def read(self, size: int) -> bytes:
        """Read so many bytes, and fewer only at the end."""
        self._left -= size
        if self._left < 0:
            raise BadArchive("The archive of the files has a header that does not end.")
        parts, missing = [], size
        while missing > 0:
            if not self._rest:
                self._rest = next(self._chunks, b"")
                if not self._rest:
                    break
                if something := len(self._rest.rstrip(b"\0")):
                    self._zeros_from = self._passed + something
                self._passed += len(self._rest)
            part, self._rest = self._rest[:missing], self._rest[missing:]
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def end_at(self, end: int) -> None:
        """Read what is left, which is nothing but zeros from here on. Raises BadArchive.

        A header that is damaged looks like the end, and what follows it would be missing.
        """
        with self.bounded():
            while self.read(CHUNK_BYTES):
                pass
        if self._zeros_from > end or self._passed - end < len(_END):
            raise BadArchive("The archive of the files has no end: something is missing.")
