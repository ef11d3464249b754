"""What only processes of this machine have: found again, kept apart, ended with their children."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from service.app import make_drivers, make_worker
from service.drivers.process import landlock, logs, records
from service.drivers.process.runner import ProcessRunner
from service.drivers.process.tree import FOLDER_MARK, MARK
from service.errors import NodeRefused
from service.model.lifecycle import Power, PowerAction
from tests.drivers.process.running import WITHOUT_LANDLOCK, living, run
from tests.support import a_node, eventually

pytestmark = pytest.mark.spawns

NOBODY = 65534


def read_record(root, spec):
    """Read what the driver remembers of the instance."""
    return json.loads((root / spec.instance_id / "instance.json").read_text())


def read_log(root, spec):
    """Read what the program printed."""
    path = root / spec.instance_id / "log"
    return path.read_text() if path.exists() else ""


def test_nothing_of_our_environment_gets_in(runner, root, spec, monkeypatch):
    """The program sees what the image and the instance say, and none of Skyquay's own secrets."""
    monkeypatch.setenv("SKYQUAY_SECRET_KEY", "secret")
    run(runner, replace(spec, cmd=("env",)))

    assert eventually(lambda: MARK in read_log(root, spec))
    names = {line.partition("=")[0] for line in read_log(root, spec).splitlines()}
    marks = {MARK, FOLDER_MARK}
    assert {"GREETING", "HOME", "LANG", "PATH", "PRIMARY_PORT"} | marks == names - {"PWD", "OLDPWD"}


def test_the_primary_port_is_the_one_outside(runner, root, spec):
    """A process listens on the host's side, as there is nothing in between."""
    run(runner, replace(spec, cmd="echo port $PRIMARY_PORT", env={"PRIMARY_PORT": "1"}))

    assert eventually(lambda: read_log(root, spec) == f"port {spec.primary.host}\n")


def test_another_skyquay_finds_it(runner, root, spec):
    """What one driver started, another one finds running."""
    run(runner, spec)

    assert Power.RUNNING == ProcessRunner("node", root=root).status(spec.instance_id).power


def test_it_outlives_who_started_it(runner, root, spec):
    """What a process started that is gone now still runs, and can be stopped."""
    runner.create(spec, checkpoint=lambda: None)
    program = (
        "import sys, pathlib;"
        "from service.drivers.process.runner import ProcessRunner, PowerAction;"
        "runner = ProcessRunner('node', root=pathlib.Path(sys.argv[1]));"
        "runner.power(sys.argv[2], PowerAction.START)"
    )
    subprocess.run([sys.executable, "-c", program, root, spec.instance_id], check=True)
    assert living(spec)

    runner.power(spec.instance_id, PowerAction.STOP)

    assert [] == living(spec)


def test_what_should_run_is_started_again(runner, root, spec):
    """After a reboot, which no process survives, a worker starts what was not stopped."""
    run(runner, spec)
    os.kill(read_record(root, spec)["process"][0], signal.SIGKILL)
    assert eventually(lambda: runner.status(spec.instance_id).power == Power.STOPPED)

    runner.recover()

    assert Power.RUNNING == runner.status(spec.instance_id).power


def test_a_worker_starts_again_what_died(runner, root, spec, config, store):
    """It has the node recover after a probe that was answered."""
    settings = replace(config, data_dir=root.parent)
    open_driver = make_drivers(settings)
    a_node(store, open_driver, driver="process")
    run(runner, spec)
    os.kill(read_record(root, spec)["process"][0], signal.SIGKILL)
    assert eventually(lambda: runner.status(spec.instance_id).power == Power.STOPPED)

    worker = make_worker(settings, store, open_driver)
    worker.start()

    try:
        assert eventually(lambda: runner.status(spec.instance_id).power == Power.RUNNING)
    finally:
        worker.stop()


def test_a_recycled_pid_is_nobody_we_know(runner, root, spec):
    """A process of the recorded pid that began at another time is neither ours nor touched."""
    run(runner, spec)
    runner.power(spec.instance_id, PowerAction.STOP)
    with subprocess.Popen(["sleep", "300"], start_new_session=True) as stranger:
        record = read_record(root, spec)
        record["process"] = [stranger.pid, 1, "another boot"]
        (root / spec.instance_id / "instance.json").write_text(json.dumps(record))

        status = runner.status(spec.instance_id)
        runner.power(spec.instance_id, PowerAction.KILL)

        alive = stranger.poll() is None
        stranger.kill()
    assert (Power.STOPPED, True) == (status.power, alive)


def test_a_start_that_was_not_recorded_is_not_repeated(runner, root, spec):
    """After a crash between start and record the process is found, not started twice."""
    run(runner, spec)
    record = read_record(root, spec)
    [pid] = living(spec)
    record["process"] = None
    (root / spec.instance_id / "instance.json").write_text(json.dumps(record))

    runner.power(spec.instance_id, PowerAction.START)

    assert [pid] == living(spec)


def test_children_end_with_it(runner, root, spec):
    """A stop ends the whole family, also those who ignore being asked."""
    run(runner, replace(spec, cmd="trap '' TERM; sleep 300 & (trap '' TERM; sleep 301) & wait"))
    assert eventually(lambda: len(living(spec)) >= 3)

    runner.power(spec.instance_id, PowerAction.STOP, stop_timeout_s=1)

    assert [] == living(spec)


def test_memory_is_limited(runner, root, spec):
    """A program that takes more than its memory does not get it."""
    greedy = f"exec {sys.executable} -c 'x = bytearray(200 * 2**20)'"

    run(runner, replace(spec, cmd=greedy))

    assert eventually(lambda: "MemoryError" in read_log(root, spec))


def test_an_early_death_is_told(runner, root, spec):
    """A program that ends at once is seen stopped, with its code."""
    status = run(runner, replace(spec, cmd="exit 3"))

    assert (Power.STOPPED, 3, "It ended by itself.") == (
        status.power,
        status.exit_code,
        status.reason,
    )


@pytest.mark.parametrize("auto_start", [True, False])
def test_a_program_that_ended_by_itself_is_started_again_where_that_is_wanted(
    runner, root, spec, auto_start
):
    """With `autoStart` false it stays as it ended, until somebody starts it."""
    status = run(runner, replace(spec, cmd="exit 3", auto_start=auto_start))
    before = read_record(root, spec)["process"]

    runner.recover()

    assert Power.STOPPED == status.power
    assert auto_start == (before != read_record(root, spec)["process"])
    if not auto_start:
        runner.power(spec.instance_id, PowerAction.START)
        assert before != read_record(root, spec)["process"]


def test_signals_that_we_ignore_are_not_ignored_inside(runner, root, spec):
    """A program started while Skyquay ignores signals can still be asked to end."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        run(runner, spec)
    finally:
        signal.signal(signal.SIGTERM, before)
    pid = read_record(root, spec)["process"][0]

    ignored = next(
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "SigIgn" in line
    )

    assert 0 == int(ignored.split()[1], 16) & (1 << (signal.SIGTERM - 1))


@pytest.mark.parametrize("instance_id", ["", "..", "../x", "a/b", "/etc", "A", "a" * 65, "a\0b"])
def test_an_id_never_leaves_the_folder(runner, instance_id):
    """What could be a path is no id."""
    with pytest.raises(NodeRefused):
        runner.remove(instance_id)


def test_an_image_without_a_command_is_refused(runner, spec):
    """There is nothing to run in an image that says only what is in a container."""
    with pytest.raises(NodeRefused, match="no command"):
        runner.create(replace(spec, cmd=None), checkpoint=lambda: None)


def test_a_log_that_grew_long_is_put_aside(runner, root, spec):
    """A start begins a new log when the old one is too long."""
    runner.create(spec, checkpoint=lambda: None)
    (root / spec.instance_id / "log").write_bytes(b"x" * (logs.ROTATE_BYTES + 1))

    runner.power(spec.instance_id, PowerAction.START)

    assert "" == read_log(root, spec)


def test_nobody_else_reads_it(runner, root, spec):
    """The record, which has the variables, and the files are their owner's only."""
    run(runner, spec)
    folder = root / spec.instance_id

    modes = [
        oct((folder / name).stat().st_mode & 0o777) for name in ("instance.json", "data", "log")
    ]

    assert ["0o600", "0o700", "0o600"] == modes


def test_nothing_is_left_of_it(runner, root, spec):
    """After a removal the folder is gone."""
    run(runner, spec)

    runner.remove(spec.instance_id)

    assert [] == list(root.iterdir())


def test_many_may_remove_the_same_folder(tmp_path):
    """A probe clears away what a removal has just begun to; neither minds the other."""
    for number in range(20):
        folder = tmp_path / str(number)
        for name in "abcdefgh":
            (folder / name / "files").mkdir(parents=True)
        begin = threading.Barrier(4)

        def erase(folder=folder, begin=begin):
            begin.wait()
            records.erase(folder)

        with ThreadPoolExecutor(4) as threads:
            ended = [threads.submit(erase) for _ in range(4)]

        assert ([None] * 4, False) == ([each.result() for each in ended], folder.exists())


def test_an_early_exit_code_is_remembered(runner, root, spec):
    """Another driver, which is not the program's parent, still tells how it ended."""
    run(runner, replace(spec, cmd="exit 3"))

    another = ProcessRunner("node", root=root)
    assert 3 == eventually(lambda: another.status(spec.instance_id).exit_code)


def test_a_recovery_waits_for_nobody(runner, root, spec):
    """It leaves an instance alone that somebody is changing."""
    run(runner, spec)
    with runner._folders.locked(spec.instance_id):
        began = time.monotonic()
        runner.recover()

    assert time.monotonic() - began < 10


def test_a_late_exit_code_is_remembered(runner, root, spec):
    """An exit code is told once: whoever looks first writes it down for the others."""
    run(runner, replace(spec, cmd="sleep 0.6; exit 5"))
    assert eventually(lambda: runner.status(spec.instance_id).power == Power.STOPPED)

    again = ProcessRunner("node", root=root).status(spec.instance_id)

    assert (Power.STOPPED, 5) == (again.power, again.exit_code)


def test_children_that_outlive_the_program_are_not_doubled(runner, spec):
    """A start after the program ended ends what it left running, marked or not."""
    child = "env -i sleep 298 & sleep 299 & exit 0"
    run(runner, replace(spec, cmd=child))
    assert eventually(lambda: runner.status(spec.instance_id).power == Power.STOPPED)
    before = {p.pid for p in sleepers("298", "299")}

    runner.power(spec.instance_id, PowerAction.START)

    assert 2 == len(before)
    assert before.isdisjoint(p.pid for p in sleepers("298", "299"))


def sleepers(*seconds):
    """List the processes that sleep for so long."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if words[:1] == ["sleep"] and words[1:] and words[1] in seconds:
            found.append(process)
    return found


def test_a_record_that_is_rubbish_spoils_nobody_else_s(runner, root, spec):
    """The node is well, the other instances are listed, and the broken one can be removed."""
    run(runner, spec)
    broken = root / "ibroken"
    broken.mkdir()
    (broken / "instance.json").write_text("{")

    runner.recover()
    listed = runner.list()
    runner.remove("ibroken")

    assert (Power.RUNNING, "Its record cannot be read.") == (
        listed[spec.instance_id].power,
        listed["ibroken"].reason,
    )
    assert not broken.exists()


def test_a_removal_that_broke_off_is_finished(runner, root, spec):
    """What an earlier removal left is removed by the next one, and is in nobody's way."""
    left = root / f".gone-{spec.instance_id}"
    (left / "data").mkdir(parents=True)
    run(runner, spec)

    runner.remove(spec.instance_id)

    assert [] == list(root.iterdir())


@contextmanager
def an_ordinary_user(folder):
    """Be somebody to whom permissions mean something, and own the folder."""
    if os.geteuid() != 0:
        yield
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_what_another_removes_meanwhile_is_removed(runner, root, spec, monkeypatch):
    """Whoever waits for it finds it gone, which is what was wanted."""
    run(runner, spec)
    other, removing = ProcessRunner("node", root=root), ExitStack()
    removing.enter_context(records.locked("node", root / spec.instance_id, timeout_s=0))

    def wait(_):
        # The other one was first, and is done before the lock is asked for again.
        removing.close()
        monkeypatch.undo()
        other.remove(spec.instance_id)

    monkeypatch.setattr(records, "time", SimpleNamespace(monotonic=time.monotonic, sleep=wait))

    runner.remove(spec.instance_id)

    assert {} == runner.list()


def test_a_folder_that_nobody_may_write_is_removed():
    """A program may take rights away; an ordinary user's Skyquay removes it all the same."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        locked = root / "ilocked" / "data" / "locked"
        locked.mkdir(parents=True)
        (locked / "file").write_text("x")
        (root / "ilocked" / "instance.json").write_text("{")
        locked.chmod(0o500)

        with an_ordinary_user(root):
            ProcessRunner("node", root=root).remove("ilocked")

        assert [] == list(root.iterdir())


def test_a_log_that_grows_while_it_runs_is_cut(runner, root, spec, monkeypatch):
    """A worker puts aside what was printed, and the program goes on printing."""
    monkeypatch.setattr(logs, "CUT_BYTES", 100)
    run(runner, replace(spec, cmd="while :; do echo 0123456789; sleep 0.01; done"))
    assert eventually(lambda: len(read_log(root, spec)) > 200)

    runner.recover()

    assert eventually(lambda: 0 < len(read_log(root, spec)) < 200)
    assert runner.logs(spec.instance_id, tail=500).count("0123456789") > 10


confined = pytest.mark.skipif(not landlock.find_abi(), reason="this kernel has no Landlock")


def run_to_its_end(runner, root, spec, cmd):
    """Run a shell's line: its exit code, and what it printed."""
    run(runner, replace(spec, cmd=cmd))
    assert eventually(lambda: runner.status(spec.instance_id).power == Power.STOPPED)
    return runner.status(spec.instance_id).exit_code, read_log(root, spec)


@confined
@pytest.mark.parametrize(
    "path",
    [
        "{data}/secret.key",
        "{data}/mongod.key",
        "{data}/instances/another/data/file",
        "{data}/instances/{id}/instance.json",
        "../../../secret.key",
        "/proc/self/root{data}/secret.key",
        "/proc/{pid}/root{data}/secret.key",
        "/proc/{pid}/environ",
        "/proc/{pid}/mem",
    ],
)
def test_a_program_cannot_read(runner, root, spec, path):
    """Skyquay's secrets, its memory and other instances' files are closed to what it runs."""
    secrets = [root.parent / "secret.key", root.parent / "mongod.key", root / "another/data/file"]
    for secret in secrets:
        secret.parent.mkdir(parents=True, exist_ok=True)
        secret.write_text("secret")
    place = path.format(data=root.parent, id=spec.instance_id, pid=os.getpid())

    code, printed = run_to_its_end(runner, root, spec, ["cat", place])

    assert (1, f"cat: {place}: Permission denied\n") == (code, printed)


@confined
@pytest.mark.parametrize("path", ["{data}", "{data}/instances", "{data}/instances/{id}"])
def test_a_program_cannot_list(runner, root, spec, path):
    """It does not learn what else there is in the data folder."""
    place = path.format(data=root.parent, id=spec.instance_id)

    code, printed = run_to_its_end(runner, root, spec, ["ls", place])

    assert (2, True) == (code, "Permission denied" in printed)


@confined
@pytest.mark.parametrize(
    "path",
    ["{data}/secret.key", "{data}/new", "{data}/instances/{id}/new", "{beside}/file", "/etc/new"],
)
def test_a_program_cannot_write(runner, root, spec, path):
    """It changes nothing in the data folder but its own files, and nothing of the machine."""
    (root.parent / "secret.key").write_text("secret")
    beside = root.parent.with_name(f"{root.parent.name}-beside")
    beside.mkdir()
    (beside / "file").write_text("old")
    place = path.format(data=root.parent, id=spec.instance_id, beside=beside)

    code, printed = run_to_its_end(runner, root, spec, f"echo x > {place}")

    assert (2, True) == (code, "Permission denied" in printed)


@confined
@pytest.mark.parametrize(
    "line",
    [
        "ln {data}/secret.key mine",
        "mv {data}/secret.key mine",
        "mv {data}/instances/{id}/instance.json mine",
        "rm -f {data}/secret.key",
        "mkfifo ../fifo",
    ],
)
def test_a_program_cannot_move(runner, root, spec, line):
    """It can bring nothing into its own folder that it could not read, and remove nothing."""
    (root.parent / "secret.key").write_text("secret")
    line = line.format(data=root.parent, id=spec.instance_id)

    code, _ = run_to_its_end(runner, root, spec, line)

    assert (1, "secret") == (code, (root.parent / "secret.key").read_text())
    assert (root / spec.instance_id / "instance.json").exists()


@pytest.mark.skipif(landlock.find_abi() < 6, reason="this kernel lets everybody send signals")
def test_a_program_cannot_signal(runner, root, spec):
    """It cannot end Skyquay, its database, or another instance."""
    code, printed = run_to_its_end(runner, root, spec, f"kill -0 {os.getpid()}")

    assert (True, True) == (code != 0, "not permitted" in printed)


@confined
def test_a_program_of_root_s_is_not_almighty(runner, root, spec):
    """Where Skyquay runs as root, a program has no more capabilities than in a container."""
    line = "sed -n 's/^CapEff:\t//p' /proc/self/status"

    _, printed = run_to_its_end(runner, root, spec, line)

    assert 0 == int(printed, 16) & ~0b100_1110_1011


def test_a_program_has_its_folder(runner, root, spec):
    """In its folder it makes, changes, moves, runs and removes what it likes."""
    line = (
        "set -e; mkdir -p a/b; echo 'echo hello' > a/b/c; echo '#' >> a/b/c; ln -s a s; mv s/b b;"
        "ln b/c d; : > b/c; mkfifo f; rm f; cp /bin/echo mine; chmod +x mine; ./mine hello;"
        "rm -r a b d; ls"
    )

    assert (0, "hello\nmine\ns\n") == run_to_its_end(runner, root, spec, line)


@pytest.mark.parametrize(
    "line",
    [
        "echo x > /dev/null",
        "head -c 1 /dev/urandom > file",
        "echo x > /dev/stderr",
        "true < /dev/stdin",
        "cat /proc/self/environ > file",
        "ls /usr/bin > file",
        f"{sys.executable} -c 'import psutil'",
        f"{sys.executable} -c 'import multiprocessing as m; m.Lock()'",
    ],
)
def test_a_program_has_the_system(runner, root, spec, line):
    """What programs expect of a machine is there: devices, tools, Python and what it imports."""
    code, printed = run_to_its_end(runner, root, spec, line)

    assert (0, "") == (code, printed.replace("x\n", ""))


def test_a_program_reads_what_is_beside_the_data_folder(runner, root, spec):
    """Only the data folder is closed, not the project that it lies in."""
    beside = root.parent.with_name(f"{root.parent.name}-beside")
    beside.write_text("beside")

    assert (0, "beside") == run_to_its_end(runner, root, spec, ["cat", str(beside)])


def test_a_program_has_a_folder_for_temporary_files(spec):
    """It can write to /tmp, unless the data folder is in there."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as data, tempfile.TemporaryDirectory() as tmp:
        root = Path(data) / "instances"
        runner = ProcessRunner("node", root=root)

        outcome = run_to_its_end(runner, root, spec, f"echo x > {tmp}/file && cat {tmp}/file")

    assert (0, "x\n") == outcome


def test_nobody_else_is_confined(runner, root, spec):
    """What confines a program leaves Skyquay its rights, and those of what it starts itself."""
    run(runner, spec)
    (root.parent / "secret.key").write_text("secret")

    assert b"secret" == subprocess.check_output(["cat", root.parent / "secret.key"])
    os.kill(os.getppid(), 0)


def test_a_kernel_without_landlock_is_told(runner, root, spec):
    """The report says that programs are not confined, and the log once; they run all the same."""
    secret = root.parent / "secret.key"
    secret.write_text("secret")
    runner.create(replace(spec, cmd=("cat", str(secret))), checkpoint=lambda: None)

    child = [sys.executable, "-c", WITHOUT_LANDLOCK, root, spec.instance_id]
    told = subprocess.run(child, check=True, capture_output=True, text=True)

    assert "{'process (not confined)'}\n" == told.stdout
    assert 1 == told.stderr.count("the kernel has no Landlock")
    assert "secret" == read_log(root, spec)
