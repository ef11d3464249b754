"""What drivers promise of the files of instances that are copied: see NodeDriver.read_volume."""

import io
import tarfile
from dataclasses import replace

import pytest

from service.drivers import volume_archive
from service.drivers.docker import DockerEngine
from service.drivers.process import ProcessRunner, volume_copy
from service.drivers.volume_archive import CHUNK_BYTES, BadArchive, digest
from service.errors import NodeFailure, NodeRefused, NodeUnreachable
from service.model.driver_traits import OFFERED, traits_of
from service.model.lifecycle import PowerAction
from service.worker.interruptions import LeaseLost
from tests.drivers.test_contract import REAL, Lease, Subject, in_memory, on_skyportd
from tests.support import eventually

pytestmark = pytest.mark.usefixtures("poll_soon")

ODD = r"""
umask 0
put() { printf "$2" > "$1"; chmod "$3" "$1"; touch -d '2001-09-09 01:46:41' "$1"; }
put plain 'a line\n' 640
put empty '' 640
put ./-rf' --no 	"'"'"'\' x 600
put 'two
lines' x 644
put 'späße ☃' x 640
put "$(printf 'not \377\376 utf-8')" x 640
put "$(printf '%0200d' 7)" x 640
deep="$(printf '%050d/%050d/%050d/%050d/%050d/%050d' 1 2 3 4 5 6)"
mkdir -p "$deep"
put "$deep/deep" x 640
mkdir 'nothing in it' a closed
ln -s /etc/passwd 'to a file elsewhere'
ln -s ../../.. 'to a folder elsewhere'
ln -s nowhere 'to nothing'
ln plain 'the same'
ln plain 'a/the same too'
mkfifo -m 620 pipe
dd if=/dev/null of=sparse bs=1048576 seek=41
dd if=/dev/urandom of=long bs=1048577 count=3
if [ "$(id -u)" = 0 ]; then
    chown 1234:5678 plain 'nothing in it'
    chown -h 1234:5678 'to nothing'
fi
chmod 711 'nothing in it'
chmod 555 closed
echo written
exec sleep 600
"""


@pytest.fixture
def lease():
    """What the worker may still change."""
    return Lease()


@pytest.fixture(params=[each for each in REAL if each.id != "podman"])
def pair(request, tmp_path, lease):
    """Two instances of one real node, the first of which has odd files; both stopped."""
    with request.param(tmp_path, authorize=lease) as opened:
        subjects = [Subject(*opened, lease=lease) for _ in range(2)]
        first, second = subjects
        first.spec = replace(first.spec, cmd=ODD)
        try:
            first.create()
            first.power(PowerAction.START)
            assert eventually(lambda: "written" in first.driver.logs(first.instance_id, tail=9))
            first.power(PowerAction.KILL)
            second.create()
            yield first, second
        finally:
            lease.end_after(None)
            for subject in subjects:
                subject.driver.remove(subject.instance_id)


def read(subject):
    """Read the files of an instance."""
    return subject.driver.read_volume(subject.instance_id)


def copy(source, target):
    """Copy the files of one instance to another."""
    target.driver.write_volume(target.instance_id, read(source))


def list_facts(subject):
    """List what is in a volume as Python's own reader sees it, but for the order."""
    whole = io.BytesIO(b"".join(read(subject)))
    with tarfile.open(fileobj=whole) as tar:
        return sorted(
            (
                each.name.removeprefix("./"),
                each.type,
                each.mode & 0o7777,
                each.uid,
                each.gid,
                each.size,
                int(each.mtime) if each.isreg() else None,
                each.linkname,
                tar.extractfile(each).read() if each.isreg() else b"",
            )
            for each in tar.getmembers()
        )


def test_all_files_are_the_same_afterwards(pair):
    """Whatever they are called, whoever they belong to, and whatever they hold."""
    source, target = pair

    copy(source, target)

    facts = list_facts(source)
    assert 25 < len(facts)
    assert facts == list_facts(target)
    assert digest(read(source)) == digest(read(target))


def test_what_was_copied_can_be_copied_back(pair):
    """A volume that was emptied has all of it again."""
    source, target = pair
    copy(source, target)
    before = digest(read(source))
    source.driver.remove(source.instance_id)
    source.create()

    copy(target, source)

    assert before == digest(read(source))


def test_little_of_it_is_in_memory_at_a_time(pair):
    """The pieces are small, however large the files are."""
    sizes = [len(chunk) for chunk in read(pair[0])]

    assert 44 * 2**20 < sum(sizes)
    assert max(sizes) <= CHUNK_BYTES + 2048


def test_what_runs_is_not_copied(pair):
    """Its files would change meanwhile."""
    source, target = pair
    target.spec = replace(target.spec, cmd=("sleep", "600"))
    target.driver.remove(target.instance_id)
    target.create()
    target.power(PowerAction.START)

    with pytest.raises(NodeRefused):
        copy(source, target)
    with pytest.raises(NodeRefused):
        list(read(target))


def test_a_lease_that_ends_in_the_middle_stops_the_copy(pair, lease):
    """A worker that lost it writes no more; what it wrote goes with the container."""
    source, target = pair
    whole = digest(read(source))
    lease.end_after(20)

    with pytest.raises(LeaseLost):
        copy(source, target)

    lease.end_after(None)
    assert whole != digest(read(target))


@pytest.mark.parametrize("error", [LeaseLost(), NodeUnreachable("other", "silent")])
def test_what_the_source_raises_goes_through(pair, error):
    """It is no word about the node that is written to."""

    def broken():
        for number, chunk in enumerate(read(pair[0])):
            if number == 10:
                raise error
            yield chunk

    with pytest.raises(type(error)) as raised:
        pair[1].driver.write_volume(pair[1].instance_id, broken())

    assert raised.value is error


def an_archive(*members, end=True):
    """Make an archive of a volume with these entries: name, kind, link."""
    made = volume_archive.make_header(a_member("data", tarfile.DIRTYPE))
    for name, kind, link in members:
        member = a_member(name, kind, link)
        content = b"evil" if kind == tarfile.REGTYPE else b""
        member.size = len(content)
        made += volume_archive.make_header(member) + content + volume_archive.pad(len(content))
    return [made + (volume_archive.make_end() if end else b"")]


def a_member(name, kind, link=""):
    """Make one entry."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.mode = kind, link, 0o755
    return member


FILE, LINK, SAME = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
HOSTILE = {
    "a name above": [("data/../../OUT/evil", FILE, "")],
    "a name elsewhere": [("OUT/evil", FILE, "")],
    "through a link": [("data/s", LINK, "OUT"), ("data/s/evil", FILE, "")],
    "through a link above": [("data/s", LINK, "../.."), ("data/s/evil", FILE, "")],
    "over a link": [("data/s", LINK, "OUT/evil"), ("data/s", FILE, "")],
    "a hard link to elsewhere": [("data/h", SAME, "OUT/theirs"), ("data/h", FILE, "")],
    "a hard link above": [("data/h", SAME, "data/../../OUT/theirs"), ("data/h", FILE, "")],
    "a hard link through a link": [("data/s", LINK, "OUT"), ("data/h", SAME, "data/s/theirs"),
                                   ("data/h", FILE, "")],
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_is_written_elsewhere(pair, tmp_path_factory, name):
    """Whatever names and links an archive has."""
    target = pair[1].driver, pair[1].instance_id
    out = tmp_path_factory.mktemp("out")
    (out / "theirs").write_text("theirs")
    hostile = [
        (path.replace("OUT", str(out).lstrip("/")), kind, link.replace("OUT", str(out)))
        for path, kind, link in HOSTILE[name]
    ]

    try:
        target[0].write_volume(target[1], an_archive(*hostile))
    except NodeFailure:
        refused = True
    else:
        refused = False

    assert refused or isinstance(target[0], DockerEngine)
    assert {"theirs": "theirs"} == {each.name: each.read_text() for each in out.iterdir()}
    if isinstance(target[0], ProcessRunner):
        folders = target[0]._folders.root
        assert not list(folders.rglob("evil"))


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_a_process_node_makes_no_devices(tmp_path, kind):
    """They would be ways to other people's disks."""
    with pytest.raises(BadArchive):
        volume_copy.write(tmp_path, an_archive(("data/sda", kind, "")), lambda: None)

    assert [] == list(tmp_path.iterdir())


def test_an_archive_without_an_end_is_damaged(pair):
    """Whoever made it stopped in the middle, and something is missing."""
    with pytest.raises(BadArchive):
        digest(an_archive(("data/a", FILE, ""), end=False))


@pytest.mark.parametrize(
    "other",
    [
        an_archive(("data/a", FILE, "")),
        an_archive(("data/b", LINK, "a"), ("data/a", FILE, ""), ("data/c", FILE, "")),
        an_archive(("data/b", LINK, "c"), ("data/a", FILE, "")),
        an_archive(("data/b", SAME, "data/a"), ("data/a", FILE, "")),
        an_archive(("data/c", FILE, ""), ("data/b", LINK, "a")),
    ],
)
def test_the_digest_tells_volumes_apart(other):
    """But not by the order in which a node lists its files."""
    ours = an_archive(("data/a", FILE, ""), ("data/b", LINK, "a"))
    turned = an_archive(("data/b", LINK, "a"), ("data/a", FILE, ""))

    assert digest(ours) == digest(turned)
    assert digest(ours) != digest(other)


def test_the_digest_counts():
    """Entries, and the bytes of files."""
    found = digest(an_archive(("data/a", FILE, ""), ("data/b", FILE, "")))

    assert (3, 8) == (found.entries, found.size_bytes)


def test_nodes_in_memory_copy_names(tmp_path):
    """The double keeps the promise for the files that it has."""
    with in_memory(tmp_path) as opened:
        source, target = Subject(*opened), Subject(*opened)
        source.create()
        target.create()
        source.driver.volumes[source.instance_id] += ["world", "späße"]

        copy(source, target)

    assert ["world", "späße"] == target.driver.volumes[target.instance_id]


def test_a_daemon_that_cannot_copy_refuses(tmp_path):
    """Its traits say so, so that nobody asks."""
    with on_skyportd(tmp_path) as opened:
        subject = Subject(*opened)
        with pytest.raises(NodeRefused):
            subject.driver.read_volume(subject.instance_id)
        with pytest.raises(NodeRefused):
            subject.driver.write_volume(subject.instance_id, [])

    formats = {name: traits_of(name).volume_format for name in OFFERED}
    assert {"docker": "container", "process": "process", "skyportd": None} == formats
