"""The keeper of an instance of a `process` node: nothing that its program started outlives it."""

import json
import os
import secrets
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from service.drivers.process import landlock
from service.drivers.process import tree as process_tree
from service.drivers.process.runner import ProcessRunner
from service.drivers.process.tree import FOLDER_MARK, KEEPER_MARK, MARK
from service.model.lifecycle import Power, PowerAction
from tests.drivers.process.running import WITHOUT_LANDLOCK, living, run
from tests.support import eventually

pytestmark = pytest.mark.spawns

one_signal = pytest.mark.skipif(
    landlock.find_abi() < 6, reason="this kernel does not confine signals"
)

FORK_AND_END = """
import os
held = os.open("held", os.O_WRONLY)
while True:
    if os.fork(): os._exit(0)
"""
"""A program that is another process at every moment, and holds the FIFO `held` open in each."""


@pytest.fixture
def word():
    """A word by which a test finds what it started, whatever its environment. All that is ended."""
    word = f"w{secrets.token_hex(8)}"
    yield word
    for pid in find_by(word):
        os.kill(pid, signal.SIGKILL)


def find_by(word):
    """Find the living processes that have the word among theirs."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        if word in (process.info["cmdline"] or []) and process.info["status"] != "zombie":
            found.append(process.pid)
    return found


def find_keepers(root, spec):
    """Find the keepers of the instance, which are not its own programs."""
    return process_tree.find_family(root / spec.instance_id, None).keepers


def sleeper(word):
    """Make the words of a process that does nothing for long, and is found by its word."""
    # `sleep` itself takes no words.
    return f"sh -c 'while :; do sleep 300; done' {word}"


def hidden(word):
    """Make the shell's line that starts such a process without mark, session and parent."""
    return f'env -i setsid sh -c "setsid {sleeper(word)} & exit"'


ENDS = {
    "stopped": lambda runner, spec: runner.power(
        spec.instance_id, PowerAction.STOP, stop_timeout_s=1
    ),
    "killed": lambda runner, spec: runner.power(spec.instance_id, PowerAction.KILL),
    "removed": lambda runner, spec: runner.remove(spec.instance_id),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_what_hid_itself_ends_too(runner, spec, word, end):
    """A child without our mark, in a session of its own, whose parent has ended, is no survivor."""
    run(runner, replace(spec, cmd=f"{hidden(word)}; sleep 300"))
    assert eventually(lambda: find_by(word))

    end(runner, spec)

    assert [] == find_by(word)


def test_what_a_program_left_behind_is_not_doubled(runner, spec, word):
    """A start after the program ended ends what it left, hidden or not."""
    run(runner, replace(spec, cmd=f"{hidden(word)}; exit 0"))
    assert eventually(lambda: runner.status(spec.instance_id).power == Power.STOPPED)
    before = eventually(lambda: find_by(word))

    runner.power(spec.instance_id, PowerAction.START)

    assert before
    assert set(before).isdisjoint(find_by(word))


@one_signal
def test_nothing_escapes_by_forking(runner, root, spec):
    """A program that is another process before anybody has found it is ended all the same."""
    cmd = ("env", "-i", "setsid", sys.executable, "-c", FORK_AND_END)
    runner.create(replace(spec, cmd=cmd), checkpoint=lambda: None)
    path = root / spec.instance_id / "data" / "held"
    os.mkfifo(path)
    held = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    runner.power(spec.instance_id, PowerAction.START)
    assert eventually(lambda: is_held(held))

    runner.power(spec.instance_id, PowerAction.KILL)

    assert not is_held(held)
    os.close(held)


def is_held(fifo):
    """Return whether any process has the FIFO open for writing."""
    try:
        return os.read(fifo, 1) != b""
    except BlockingIOError:
        return True


def test_it_is_ended_where_signals_are_not_confined(runner, root, spec, word):
    """On an older kernel the keeper kills its children until none is left."""
    runner.create(replace(spec, cmd=f"{hidden(word)}; sleep 300"), checkpoint=lambda: None)
    child = [sys.executable, "-c", WITHOUT_LANDLOCK, root, spec.instance_id]
    subprocess.run(child, check=True, capture_output=True)
    assert eventually(lambda: find_by(word))

    runner.power(spec.instance_id, PowerAction.KILL)

    assert [] == find_by(word)


def test_what_cannot_be_started_says_why(runner, root, spec):
    """In its log, as a program would, with the exit code of what could not be executed."""
    status = run(runner, replace(spec, env={"TOO_LONG": "x" * 2**18}))

    told = eventually(lambda: runner.logs(spec.instance_id, tail=5))
    assert (Power.STOPPED, 127) == (status.power, status.exit_code)
    assert "The program cannot be started" in told


def test_it_ends_when_nothing_is_left(runner, root, spec):
    """There is a keeper as long as there is something to keep."""
    run(runner, replace(spec, cmd="read word; exit 0"))
    [keeper] = find_keepers(root, spec)

    runner.power(spec.instance_id, PowerAction.STOP, stop_command="end", stop_timeout_s=20)

    runner.status(spec.instance_id)  # whoever looks reaps it
    assert not psutil.pid_exists(keeper)


START = (
    "import sys, pathlib; from service.drivers.process.runner import ProcessRunner, PowerAction;"
    "runner = ProcessRunner('node', root=pathlib.Path(sys.argv[1]));"
    "runner.power(sys.argv[2], PowerAction.START)"
)


def test_an_exit_code_outlives_who_started_it(runner, root, spec):
    """How a program ended is known, though the Skyquay that started it was gone by then."""
    runner.create(replace(spec, cmd="read word; exit 5"), checkpoint=lambda: None)
    subprocess.run([sys.executable, "-c", START, root, spec.instance_id], check=True)

    stopped = runner.power(
        spec.instance_id, PowerAction.STOP, stop_command="end", stop_timeout_s=20
    )

    assert (Power.STOPPED, 5) == (stopped.power, stopped.exit_code)


def test_the_signal_that_ended_it_is_told(runner, spec):
    """As the shell says it, and Docker."""
    run(runner, spec)

    assert 128 + signal.SIGKILL == runner.power(spec.instance_id, PowerAction.KILL).exit_code


def test_a_program_ends_with_its_keeper(runner, root, spec):
    """Should the keeper be killed, the program does not run on unseen; it can be started again."""
    run(runner, replace(spec, cmd="sleep 300 & sleep 301"))
    assert eventually(lambda: len(living(spec)) == 3)
    [keeper] = find_keepers(root, spec)

    os.kill(keeper, signal.SIGKILL)

    assert eventually(lambda: runner.status(spec.instance_id).power == Power.STOPPED)
    left = living(spec)
    assert Power.RUNNING == runner.power(spec.instance_id, PowerAction.START).power
    assert left
    assert set(left).isdisjoint(living(spec))


def test_it_does_not_hurry_a_program(runner, root, spec):
    """It ignores what a machine that shuts down asks of all, so that the program takes its time."""
    run(runner, spec)
    [keeper] = find_keepers(root, spec)

    lines = Path(f"/proc/{keeper}/status").read_text().splitlines()
    ignored = int(next(line for line in lines if "SigIgn" in line).split()[1], 16)

    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        assert ignored & (1 << (number - 1))


def test_nothing_of_the_program_s_environment_gets_in(runner, root, spec):
    """A variable of the instance does not name what the keeper, which is not confined, loads."""
    run(runner, replace(spec, env={"LD_PRELOAD": "/nothing.so", "PYTHONPATH": "/nothing"}))
    [keeper] = find_keepers(root, spec)

    environ = psutil.Process(keeper).environ()

    assert spec.instance_id == environ[KEEPER_MARK]
    assert {KEEPER_MARK, FOLDER_MARK, "LC_CTYPE"} >= set(environ)


@one_signal
def test_a_program_cannot_end_its_keeper(runner, spec):
    """It is outside of what the program may send signals to."""
    run(runner, replace(spec, cmd="kill -9 $PPID; exit 3"))

    assert eventually(lambda: runner.status(spec.instance_id).exit_code) == 3


def test_a_program_that_says_it_is_a_keeper_is_none(runner, spec, word):
    """It is ended as any other."""
    fake = f"env -i {KEEPER_MARK}={spec.instance_id} setsid {sleeper(word)}"
    run(runner, replace(spec, cmd=f"({fake} &); sleep 300"))
    assert eventually(lambda: find_by(word))

    runner.power(spec.instance_id, PowerAction.STOP, stop_timeout_s=1)

    assert [] == find_by(word)


def test_one_whose_start_was_not_recorded_ends_too(runner, root, spec):
    """After a crash in the middle of a start the keeper is found, and ended with the instance."""
    run(runner, spec)
    (root / spec.instance_id / "instance.json").write_text("{")

    runner.remove(spec.instance_id)

    assert [] == find_keepers(root, spec) + living(spec)


def test_the_same_instance_in_another_folder_is_another(runner, tmp_path, spec):
    """One that was transferred, or that a copy of the installation has: each ends its own alone."""
    elsewhere = ProcessRunner("elsewhere", root=tmp_path / "elsewhere")
    run(runner, spec)
    run(elsewhere, spec)
    with_both = len(living(spec))

    elsewhere.remove(spec.instance_id)

    assert (2, 1) == (with_both, len(living(spec)))
    assert Power.RUNNING == runner.status(spec.instance_id).power


def start_as_earlier_versions(runner, root, spec, line):
    """Start the instance without a keeper, as its record says of one that runs since an upgrade."""
    runner.create(spec, checkpoint=lambda: None)
    program = subprocess.Popen(
        ["sh", "-c", line],
        env={**os.environ, MARK: spec.instance_id},
        start_new_session=True,
    )
    path = root / spec.instance_id / "instance.json"
    record = {**json.loads(path.read_text()), "wanted": True}
    record["process"] = process_tree.identify(program.pid)
    path.write_text(json.dumps(record))
    return program


def test_what_an_earlier_version_started_goes_on(runner, root, spec):
    """It is seen running, and is stopped with its children, those who left its session too."""
    program = start_as_earlier_versions(
        runner, root, spec, "sleep 300 & setsid sleep 301 & env -i sleep 302 & wait"
    )
    with program:
        assert eventually(lambda: len(living(spec)) == 3)
        before = ProcessRunner("node", root=root).status(spec.instance_id).power

        after = runner.power(spec.instance_id, PowerAction.STOP, stop_timeout_s=1)

    assert (Power.RUNNING, Power.STOPPED) == (before, after.power)
    assert [] == living(spec)
