"""The private mongod, on the real program."""

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from service.serving import embedded_mongod
from service.serving.embedded_mongod import log_file
from service.serving.embedded_mongod.program import EmbeddedError, find_mongod
from tests.support import a_user, eventually

pytestmark = pytest.mark.spawns

UNAUTHORIZED = 13
AUTHENTICATION_FAILED = 18

START_AND_LINGER = """
import signal, sys
from pathlib import Path
from service.serving import embedded_mongod
mongod = embedded_mongod.start(Path(sys.argv[1]))
print(mongod.process.pid, flush=True)
signal.pause()
"""

START_AND_HANG_AFTER = """
import signal, sys
from pathlib import Path
from pymongo import monitoring
from service.serving import embedded_mongod

data_dir, last_command = Path(sys.argv[1]), sys.argv[2]

class Hang(monitoring.CommandListener):
    def started(self, event):
        pass

    def succeeded(self, event):
        if event.command_name == last_command:
            print(embedded_mongod.find_running(data_dir).process.pid, flush=True)
            signal.pause()

    failed = succeeded

monitoring.register(Hang())
embedded_mongod.start(data_dir)
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A mongod for the tests that only look, with its data folder."""
    data_dir = tmp_path_factory.mktemp("running") / "data"
    with embedded_mongod.start(data_dir) as mongod:
        yield mongod, data_dir


@pytest.fixture
def orphan(tmp_path):
    """The pid of a mongod whose Skyquay was killed, in `tmp_path`."""
    parent = subprocess.Popen(
        [sys.executable, "-c", START_AND_LINGER, tmp_path], stdout=subprocess.PIPE, text=True
    )
    with parent:
        pid = int(parent.stdout.readline())
        parent.kill()
    yield pid
    if psutil.pid_exists(pid):
        os.kill(pid, signal.SIGKILL)


@contextmanager
def a_mongod_left_after(data_dir, command):
    """The pid of a mongod whose Skyquay was killed after that command of the first start."""
    with subprocess.Popen(
        [sys.executable, "-c", START_AND_HANG_AFTER, data_dir, command],
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        pid = int(parent.stdout.readline())
        parent.kill()
    try:
        yield pid
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def a_stranger(mongod, username=None, password=None, database="admin"):
    """A client that does not know the password."""
    return MongoClient(
        "127.0.0.1",
        mongod.port,
        directConnection=True,
        username=username,
        password=password,
        authSource=database,
    )


def listens(port):
    """Return whether somebody listens on the port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def a_program(folder, script):
    """Put a program in place of mongod."""
    program = folder / "a-mongod"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
    return program


def test_start_answers_with_a_primary(running):
    """
    A client of the address can write in a transaction at once.
    """
    mongod, _ = running

    with MongoClient(mongod.uri) as client, client.start_session() as session:
        with session.start_transaction():
            client.a.b.insert_one({"_id": 1}, session=session)

        assert [{"_id": 1}] == list(client.a.b.find())


def test_it_listens_on_loopback_only(running):
    """
    There is one TCP port, on 127.0.0.1, and no Unix socket in a folder that others can read.
    """
    mongod, _ = running

    listening = [
        (each.family, each.laddr)
        for each in mongod.process.net_connections(kind="all")
        if each.status == psutil.CONN_LISTEN or each.family == socket.AF_UNIX
    ]

    assert [(socket.AF_INET, ("127.0.0.1", mongod.port))] == listening


def test_only_the_owner_can_read_the_data(running):
    """
    The data folder and the database in it are 0700, the log and the password 0600.
    """
    _, data_dir = running
    names = (".", "mongod", "mongod.log", "mongod.key")

    modes = [(data_dir / name).stat().st_mode & 0o777 for name in names]

    assert [0o700, 0o700, 0o600, 0o600] == modes


@pytest.mark.parametrize(
    "command",
    [
        {"listDatabases": 1},
        {"replSetGetConfig": 1},
        {"createUser": "me", "pwd": "mine", "roles": ["root"]},
        {"shutdown": 1},
    ],
    ids=lambda command: next(iter(command)),
)
def test_without_the_password_nothing_is_answered(running, command):
    """
    Who reaches the port but has no password reads nothing, changes nothing and becomes no user.
    """
    mongod, _ = running

    with a_stranger(mongod) as client, pytest.raises(OperationFailure) as raised:
        client.admin.command(command)

    assert UNAUTHORIZED == raised.value.code


def test_nobody_else_makes_the_first_user(tmp_path):
    """
    A mongod on an empty database, whose Skyquay died before it did anything, is closed too.
    """
    with a_mongod_left_after(tmp_path / "data", "hello") as pid:
        mongod = embedded_mongod.find_running(tmp_path / "data")
        with a_stranger(mongod) as client, pytest.raises(OperationFailure) as raised:
            client.admin.command("createUser", "me", pwd="mine", roles=["root"])

    assert (pid, UNAUTHORIZED) == (mongod.process.pid, raised.value.code)


def test_the_password_is_on_no_command_line(running):
    """
    Who lists the processes of the machine does not find it.
    """
    mongod, _ = running

    lines = [each.info["cmdline"] or [] for each in psutil.process_iter(["cmdline"])]

    assert mongod.process.cmdline() in lines
    assert [] == [line for line in lines if any(mongod.key in word for word in line)]


def test_the_password_is_not_told(running):
    """
    It is not in mongod's log, and not in what a traceback would show.
    """
    mongod, data_dir = running

    told = (data_dir / "mongod.log").read_text() + repr(mongod)

    assert "mongod.key" in told
    assert mongod.key not in told


def test_our_settings_are_not_handed_to_it(tmp_path, monkeypatch):
    """
    Its environment, which its memory keeps, has none of our secrets; the rest is as ours.
    """
    monkeypatch.setenv("SKYQUAY_SECRET_KEY", "sesame")
    monkeypatch.setenv("TZ", "UTC")

    with embedded_mongod.start(tmp_path / "data") as mongod:
        environ = mongod.process.environ()

    assert [] == [name for name in environ if name.startswith("SKYQUAY_")]
    assert "UTC" == environ["TZ"]


def test_our_settings_are_not_handed_to_what_is_tried(tmp_path, monkeypatch):
    """
    A program of which we only ask the version learns none of our secrets either.
    """
    monkeypatch.setenv("SKYQUAY_SECRET_KEY", "sesame")
    program = a_program(tmp_path, f'echo "${{SKYQUAY_SECRET_KEY:-none}}" > {tmp_path}/learnt')

    find_mongod([program])

    assert "none\n" == (tmp_path / "learnt").read_text()


def test_it_is_in_a_session_of_its_own(running):
    """
    Ctrl-C in Skyquay's terminal does not reach it.
    """
    mongod, _ = running

    assert mongod.process.pid == os.getsid(mongod.process.pid)


def test_the_running_one_is_found(running):
    """
    Another process learns the address of a data folder's mongod.
    """
    mongod, data_dir = running

    assert mongod.uri == embedded_mongod.find_running(data_dir).uri


def test_none_runs_in_a_new_folder(tmp_path):
    """
    In a folder without a database nothing is found.
    """
    assert embedded_mongod.find_running(tmp_path) is None


def test_another_folder_s_mongod_is_not_adopted(running, tmp_path):
    """
    A pid in the lock file that now belongs to another mongod is not taken for ours.
    """
    mongod, _ = running
    (tmp_path / "mongod").mkdir()
    (tmp_path / "mongod" / "mongod.lock").write_text(f"{mongod.process.pid}\n")

    with embedded_mongod.start(tmp_path) as started:
        assert mongod.process.pid != started.process.pid
    assert mongod.process.is_running()


def test_a_recycled_pid_is_not_adopted(tmp_path):
    """
    A pid in the lock file that now belongs to any other program is not taken for ours.
    """
    (tmp_path / "mongod").mkdir()
    (tmp_path / "mongod" / "mongod.lock").write_text(f"{os.getpid()}\n")

    assert embedded_mongod.find_running(tmp_path) is None


def test_data_survives_on_another_port(tmp_path):
    """
    After a restart on another port, which the replica set must be told, everything is there.
    """
    with embedded_mongod.start(tmp_path) as mongod, MongoClient(mongod.uri) as client:
        client.a.b.insert_one({"_id": 1})
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", mongod.port))
        with embedded_mongod.start(tmp_path) as moved, MongoClient(moved.uri) as client:
            client.a.b.insert_one({"_id": 2})

            assert mongod.port != moved.port
            assert [{"_id": 1}, {"_id": 2}] == list(client.a.b.find().sort("_id"))


def test_stop_leaves_no_process(tmp_path):
    """
    After stop the process is gone, and stopping again is fine.
    """
    mongod = embedded_mongod.start(tmp_path)

    mongod.stop()
    mongod.stop()

    assert not psutil.pid_exists(mongod.process.pid)


def test_stop_ends_a_mongod_that_hangs(tmp_path):
    """
    One that does not end in time is killed.
    """
    mongod = embedded_mongod.start(tmp_path)
    mongod.process.suspend()

    mongod.stop(timeout_s=0.1)

    assert not psutil.pid_exists(mongod.process.pid)


def test_an_orphan_is_adopted(orphan, tmp_path):
    """
    The mongod of a Skyquay that was killed goes on in the next one, which can also stop it.
    """
    with embedded_mongod.start(tmp_path) as mongod:
        assert orphan == mongod.process.pid

    assert not psutil.pid_exists(orphan)


def test_a_crashed_mongod_is_started_again(orphan, tmp_path):
    """
    A mongod that was killed left its lock file, and its folder starts all the same.
    """
    os.kill(orphan, signal.SIGKILL)

    with embedded_mongod.start(tmp_path) as mongod:
        assert orphan != mongod.process.pid


def test_a_mongod_that_dies_is_started_again(tmp_path):
    """
    As often as it dies another takes its place, and a client of the first goes on.
    """
    keeper = embedded_mongod._Keeper(tmp_path, embedded_mongod.start(tmp_path))
    dead = [keeper.mongod.process.pid]
    with MongoClient(keeper.mongod.uri) as client:
        client.a.b.insert_one({"_id": 1})
        for _ in range(2):
            os.kill(dead[-1], signal.SIGKILL)
            assert eventually(lambda: keeper.mongod.process.pid not in dead)
            dead.append(keeper.mongod.process.pid)

        found = client.a.b.find_one()

    keeper.stop()
    assert ({"_id": 1}, []) == (found, [pid for pid in dead if psutil.pid_exists(pid)])


def test_a_mongod_that_cannot_be_started_again_ends_it_all(tmp_path):
    """
    The process is told to end, and why stands in the error that is raised then.
    """
    told = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: told.set())
    try:
        with ExitStack() as stack:
            mongod = stack.enter_context(embedded_mongod.keep(tmp_path))
            (tmp_path / "mongod" / "WiredTiger.turtle").write_text("nonsense")
            mongod.process.kill()
            assert told.wait(60)

            with pytest.raises(EmbeddedError, match=r"has died\. .*ended with"):
                stack.close()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_mongod_that_is_about_to_end_is_replaced(orphan, tmp_path):
    """
    One that was told to stop just before is waited for, and its folder starts again.
    """
    os.kill(orphan, signal.SIGTERM)

    with embedded_mongod.start(tmp_path) as mongod:
        assert orphan != mongod.process.pid


@pytest.mark.parametrize("command", ["hello", "replSetInitiate", "usersInfo", "createUser"])
def test_a_start_that_broke_off_is_finished(tmp_path, command):
    """
    Skyquay may be killed after any step of the first start: the next one goes on from there.
    """
    with a_mongod_left_after(tmp_path / "data", command) as pid:
        with embedded_mongod.start(tmp_path / "data") as mongod, MongoClient(mongod.uri) as client:
            client.a.b.insert_one({})

        assert pid == mongod.process.pid


def test_users_that_somebody_made_are_removed(tmp_path):
    """
    Whoever made a user with a password that is not trusted any more is not let in by it.
    """
    with embedded_mongod.start(tmp_path) as mongod, MongoClient(mongod.uri) as client:
        client.a.command("createUser", "me", pwd="mine", roles=["dbOwner"])
    (tmp_path / "mongod.key").chmod(0o640)

    with (
        embedded_mongod.start(tmp_path) as mongod,
        a_stranger(mongod, "me", "mine", "a") as stranger,
    ):
        with pytest.raises(OperationFailure) as raised:
            stranger.a.b.find_one()

        assert AUTHENTICATION_FAILED == raised.value.code


def test_a_password_that_others_could_read_is_replaced(orphan, tmp_path):
    """
    Once the file was open to others its password is not trusted, also where it is in use.
    """
    before = embedded_mongod.find_running(tmp_path)
    (tmp_path / "mongod.key").chmod(0o640)

    with embedded_mongod.start(tmp_path) as mongod, MongoClient(mongod.uri) as client:
        client.a.b.insert_one({})
        old_uri = mongod.uri.replace(mongod.key, before.key)
        with MongoClient(old_uri) as late, pytest.raises(OperationFailure) as raised:
            late.list_database_names()

        assert AUTHENTICATION_FAILED == raised.value.code
        assert 0o600 == (tmp_path / "mongod.key").stat().st_mode & 0o777


def test_a_password_that_was_lost_is_replaced(tmp_path):
    """
    Who owns the files of the database owns the database: without mongod.key, another one is made.
    """
    with embedded_mongod.start(tmp_path) as first, MongoClient(first.uri) as client:
        client.a.b.insert_one({"_id": 1})
    (tmp_path / "mongod.key").unlink()

    with embedded_mongod.start(tmp_path) as second, MongoClient(second.uri) as client:
        assert (True, [{"_id": 1}]) == (first.key != second.key, list(client.a.b.find()))


def test_a_mongod_that_dies_shows_its_errors(tmp_path):
    """
    When it ends at the start, the message quotes the errors in its log and names the log.
    """
    (tmp_path / "mongod").mkdir()
    (tmp_path / "mongod" / "storage.bson").write_bytes(b"garbage")

    with pytest.raises(EmbeddedError) as raised:
        embedded_mongod.start(tmp_path)

    assert "Unable to read the storage engine metadata file" in str(raised.value)
    assert str(tmp_path / "mongod.log") in str(raised.value)


def test_a_program_that_is_no_mongod_shows_what_it_said(tmp_path):
    """
    What is printed before there is a log, such as an unknown option, is quoted as it is.
    """
    program = a_program(tmp_path, "echo Error parsing command line >&2; exit 1")

    with pytest.raises(EmbeddedError, match=r"ended with 1\..*\n  Error parsing command line$"):
        embedded_mongod.start(tmp_path, mongod=program)


def test_a_mongod_that_is_never_ready_is_ended(tmp_path):
    """
    One that is not primary in time is reported, and does not stay behind.
    """
    program = a_program(tmp_path, 'echo $$ > "$2/pid"; exec sleep 60')

    with pytest.raises(EmbeddedError, match=r"not ready after 0\.\d s"):
        embedded_mongod.start(tmp_path, mongod=program, timeout_s=0.5)

    assert not psutil.pid_exists(int((tmp_path / "mongod" / "pid").read_text()))


def test_a_long_log_is_put_aside(tmp_path):
    """
    At a start, a log above the limit moves to mongod.log.1, so there are two at the most.
    """
    with (tmp_path / "mongod.log").open("wb") as log:
        log.truncate(log_file.MAX_LOG_BYTES + 1)

    with embedded_mongod.start(tmp_path):
        sizes = [(tmp_path / name).stat().st_size for name in ("mongod.log.1", "mongod.log")]

    assert log_file.MAX_LOG_BYTES + 1 == sizes[0]
    assert sizes[1] < log_file.MAX_LOG_BYTES


def test_a_second_lock_is_refused(tmp_path):
    """
    Two Skyquays on one data folder: the second gets a sentence that says what to do.
    """
    with (
        embedded_mongod.lock(tmp_path),
        pytest.raises(EmbeddedError, match=r"Another Skyquay is running on .*SKYQUAY_DATA_DIR"),
        embedded_mongod.lock(tmp_path),
    ):
        pass


def test_a_lock_can_be_taken_again(tmp_path):
    """
    A lock that was let go of is free, and the data folder is made for it, readable by us only.
    """
    for _ in range(2):
        with embedded_mongod.lock(tmp_path / "new"):
            pass

    assert 0o700 == (tmp_path / "new").stat().st_mode & 0o777


def test_a_data_folder_that_is_a_file_is_refused(tmp_path):
    """
    A data folder that cannot be one is named, with the reason.
    """
    path = tmp_path / "file"
    path.touch()

    with (
        pytest.raises(EmbeddedError, match="/file cannot be used: File exists"),
        embedded_mongod.lock(path),
    ):
        pass


def test_the_installed_mongod_is_found():
    """
    The wheel's program, or the one on PATH, runs here.
    """
    assert "mongod" == find_mongod().name


def test_no_mongod_says_what_to_install():
    """
    Without any mongod, the sentence names the extra to install.
    """
    with pytest.raises(EmbeddedError, match=r"pip install 'skyquay\[embedded\]'"):
        find_mongod([])


def test_a_missing_libcurl_says_what_to_install(tmp_path):
    """
    A program that the loader refuses for want of libcurl.so.4 leads to the package's name.
    """
    program = a_program(
        tmp_path,
        "echo a-mongod: error while loading shared libraries: libcurl.so.4: cannot open >&2\n"
        "exit 127",
    )

    with pytest.raises(EmbeddedError, match="apt-get install libcurl4"):
        find_mongod([program])


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo version GLIBC_2.35 not found >&2; exit 1", r"\(version GLIBC_2\.35 not found\)"),
        ("kill -ILL $$", r"\(it ended with -4\)"),
    ],
)
def test_a_mongod_that_cannot_run_says_why(tmp_path, script, reason):
    """
    An old C library, or a processor that is too old, is named with a way out.
    """
    with pytest.raises(EmbeddedError, match=f"{reason}.*SKYQUAY_MONGODB_URI"):
        find_mongod([a_program(tmp_path, script)])


def test_the_next_mongod_is_used_when_one_cannot_run(tmp_path):
    """
    A program that is missing or broken is passed over for one that runs.
    """
    works = a_program(tmp_path, "exit 0")

    assert works == find_mongod([Path("/nowhere/mongod"), works])


@pytest.mark.parametrize("number", [1, 2])
def test_every_test_has_an_empty_database(store, look, number):
    """
    What one test stores is gone when the next begins; the indexes are there.
    """
    assert set() == {name for name, documents in look().items() if documents}
    assert [] == store.list_missing_indexes()

    a_user(store)


@pytest.mark.fresh_database
def test_a_fresh_database_does_not_exist(mongo_client, database_name):
    """
    A test that is marked so has a database of its own.
    """
    assert database_name not in mongo_client.list_database_names()
