"""Archives that a node makes up: they take little memory and time, and are refused."""

import tarfile
from itertools import chain, count, repeat

import pytest

from service.drivers import volume_archive
from service.drivers.volume_archive import MAX_HEADER_BYTES, MAX_PATH, BadArchive, digest

TOP = volume_archive.make_header(tarfile.TarInfo("data"))
END = volume_archive.make_end()
ENOUGH = 3 * MAX_HEADER_BYTES


def a_header(kind, size=0, name="data/x", **facts):
    """Make what comes before a content, which says that this has so many bytes."""
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    member.pax_headers = {each.replace("__", "."): str(fact) for each, fact in facts.items()}
    return member.tobuf(tarfile.PAX_FORMAT if facts else tarfile.GNU_FORMAT)


def an_old_sparse_file():
    """Begin a file that says block by block where its zeros are."""
    header = bytearray(a_header(tarfile.GNUTYPE_SPARSE))
    header[482] = 1  # there is more to be said
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def a_sparse_file(size):
    """Begin a file of nothing but zeros, which are not in the archive."""
    facts = {"GNU__sparse__major": 1, "GNU__sparse__minor": 0, "GNU__sparse__realsize": size}
    return a_header(tarfile.REGTYPE, 512, **facts)


ENDLESS = {
    "an extended header": (a_header(tarfile.XHDTYPE, 2**40), b"a" * 2**16),
    "a long name": (a_header(tarfile.GNUTYPE_LONGNAME, 2**40), b"a" * 2**16),
    "a long link": (a_header(tarfile.GNUTYPE_LONGLINK, 2**40), b"a" * 2**16),
    "where the zeros are": (a_sparse_file(2**40) + b"1000000000\n", b"1\n" * 2**15),
    "the same of old": (an_old_sparse_file(), b"00000000001\0" * 42 + b"\1" + bytes(7)),
    "headers of headers": (b"", a_header(tarfile.REGTYPE, a="b")[:-512]),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDLESS)
def test_a_header_that_does_not_end_is_not_kept(name):
    """
    Little of it is read, although it would go on for ever.
    """
    begin, more = ENDLESS[name]
    taken = count()

    with pytest.raises(BadArchive):
        digest(chain([TOP + begin], (piece for piece, _ in zip(repeat(more), taken, strict=False))))

    assert next(taken) * len(more) < ENOUGH


FILE = a_header(tarfile.REGTYPE)
REFUSED = {
    "zeros that are not there": a_sparse_file(2**60)
    + b"1\n1152921504606846976\n0\n".ljust(512, b"\0"),
    "something said of all": tarfile.TarInfo.create_pax_global_header({"a": "b"}) + FILE,
    "a time that is none": a_header(tarfile.REGTYPE, mtime="inf"),
    "a sparse file that is none": a_sparse_file(1) + b"x".ljust(512, b"\0"),
    "a content that is cut off": a_header(tarfile.REGTYPE, 10**6),
    "less than nothing": a_header(tarfile.REGTYPE, -512),
    "a damaged header": b"x" + FILE[1:] + FILE,
    "an end that does not end": bytes(4 * MAX_HEADER_BYTES),
    "half an end": FILE + b"x" + bytes(511),
    "a device": a_header(tarfile.BLKTYPE),
    "a kind that is none": a_header(b"Z", 512) + bytes(512),
    "a depth that no program reaches": volume_archive.make_header(
        tarfile.TarInfo("data" + "/d" * (MAX_PATH // 2))
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_volume_has_is_refused(name):
    """
    At once, and as what it is: damage of the archive's.
    """
    with pytest.raises(BadArchive):
        digest([TOP + REFUSED[name] + END])


def test_attributes_of_files_are_no_such_thing():
    """
    As many as an engine may put before a file.
    """
    attributes = {f"SCHILY__xattr__user__{number}": "v" * 60_000 for number in range(4)}

    found = digest([TOP + a_header(tarfile.REGTYPE, **attributes) + END])

    assert 2 == found.entries
