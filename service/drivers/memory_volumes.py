"""The files of nodes in memory as archives, for tests: each is its name, which is its content."""

import tarfile
from collections.abc import Iterable, Iterator

from service.drivers import volume_archive
from service.drivers.volume_archive import TOP, make_end, make_header, pad


def read(names: Iterable[str]) -> Iterator[bytes]:
    """Make an archive of files, in pieces as many as there are files."""
    top = tarfile.TarInfo(TOP)
    top.type, top.mode = tarfile.DIRTYPE, 0o700
    yield make_header(top)
    for name in names:
        content = name.encode()
        member = tarfile.TarInfo(f"{TOP}/{name}")
        member.size = len(content)
        yield make_header(member) + content + pad(len(content))
    yield make_end()


def list_names(archive: Iterable[bytes]) -> Iterator[str]:
    """List the files of an archive, as they come."""
    for member, content in volume_archive.read(archive):
        if member.isreg():
            yield b"".join(content).decode()
