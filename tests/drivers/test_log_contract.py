"""The contract of all drivers about logs: what read_logs, follow_logs and LogStream promise."""

import threading
import time
from contextlib import closing
from dataclasses import replace

import pytest

from service.drivers import log_lines
from service.drivers.log_lines import MAX_LOG_LINE_BYTES, LogEnd
from service.model.driver_traits import traits_of
from service.model.lifecycle import PowerAction
from service.model.printed_lines import Mark, Stream
from tests.drivers import test_contract
from tests.drivers.test_contract import (
    DRIVERS,
    ENGINES,
    every_driver,
    real_drivers,
    replace_cmd,
)
from tests.support import eventually

subject = test_contract.subject
pytestmark = pytest.mark.usefixtures("poll_soon")

ECHO = 'while read -r line; do echo "$line"; done'
timed_drivers = pytest.mark.parametrize(
    "subject",
    [each for each in DRIVERS if each.id == "memory" or each in ENGINES],
    indirect=True,
)
exactly_timed_drivers = pytest.mark.parametrize(
    "subject",
    [each for each in DRIVERS if each.id == "memory" or each.id.startswith("docker")],
    indirect=True,
)
"""Those whose times are nanoseconds; Podman's are seconds, which its own tests are about."""


@pytest.fixture
def ends_soon(monkeypatch):
    """Let a program be stopped for a moment only, before its log ends."""
    monkeypatch.setattr(log_lines, "STOPPED_S", 0.2)
    monkeypatch.setattr(log_lines, "LOOK_EVERY_S", 0.05)


class Talker:
    """A running program that prints what it is told to."""

    def __init__(self, subject):
        self.subject = subject
        self.said = []
        subject.spec = replace_cmd(subject.spec, ECHO)
        subject.create()
        subject.power(PowerAction.START)

    def say(self, *lines):
        """Have it print lines, and wait until they can be read."""
        for line in lines:
            self.said.append(line)
            if self.subject.prints:
                text = "".join(f"{each}\n" for each in self.said)
                self.subject.prints(self.subject.instance_id, text)
            else:
                self.subject.driver.command(self.subject.instance_id, line)
        assert eventually(lambda: self.subject.read(1) == self.said[-1:]), self.subject.read(9)

    def follow(self, tail=0, **bounds):
        """Follow what it prints."""
        return self.subject.driver.follow_logs(self.subject.instance_id, tail=tail, **bounds)


def take(stream, count):
    """Take so many lines of a stream, or what has come after ten seconds."""
    found = []
    until = time.monotonic() + 10
    while len(found) < count and time.monotonic() < until:
        line = next(stream)
        if line is not None:
            found.append(line)
    return found


def texts(lines):
    """Return what the lines say."""
    return [line.text for line in lines]


@every_driver
def test_what_is_printed_is_followed(subject):
    """The last lines come first, and then each line once, when it is printed."""
    talker = Talker(subject)
    talker.say("one", "two", "three")

    with closing(talker.follow(tail=2)) as stream:
        before = texts(take(stream, 2))
        talker.say("four", "five")
        after = texts(take(stream, 2))

    assert (["two", "three"], ["four", "five"]) == (before, after)


@every_driver
def test_what_was_printed_before_can_be_left_out(subject):
    """With a tail of 0 the first line is one that is printed from then on."""
    talker = Talker(subject)
    talker.say("one")

    with closing(talker.follow(tail=0)) as stream:
        assert next(stream) is None
        talker.say("two")

        assert ["two"] == texts(take(stream, 1))


@every_driver
def test_a_line_that_was_not_printed_yet_is_followed(subject):
    """A program that has printed nothing can be followed."""
    talker = Talker(subject)

    with closing(talker.follow(tail=5)) as stream:
        assert next(stream) is None
        talker.say("one")

        assert ["one"] == texts(take(stream, 1))


@every_driver
def test_a_stream_is_closed_from_another_thread(subject):
    """Whoever waits for a line is woken by the close, and has come to the end."""
    talker = Talker(subject)
    talker.say("one")
    stream = talker.follow(tail=1)
    began = threading.Event()
    found = []

    def read():
        for line in stream:
            found.append(line)
            began.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert began.wait(10)
    stream.close()
    reader.join(10)

    assert not reader.is_alive()
    assert stream.end is None


@pytest.mark.heavy
@every_driver
def test_a_stream_ends_with_its_container(subject):
    """When the container is removed, the stream ends and says so."""
    talker = Talker(subject)
    talker.say("one")

    with closing(talker.follow(tail=1)) as stream:
        lines = take(stream, 1)
        subject.discard()
        lines += [line for line in stream if line is not None]

    assert (["one"], LogEnd.GONE) == (texts(lines), stream.end)


@every_driver
def test_where_there_is_no_container_there_is_no_stream(subject):
    """A stream of what does not exist has ended before it began."""
    with closing(subject.driver.follow_logs(subject.instance_id, tail=5)) as stream:
        assert ([], LogEnd.GONE) == (list(stream), stream.end)


@pytest.mark.heavy
@every_driver
def test_a_stream_ends_when_its_program_stays_stopped(subject, ends_soon):
    """What it printed last still comes; then the stream ends and says why."""
    talker = Talker(subject)
    talker.say("one")

    with closing(talker.follow(tail=1)) as stream:
        lines = take(stream, 1)
        talker.say("two")
        subject.power(PowerAction.KILL)
        lines += [line for line in stream if line is not None]

    assert (["one", "two"], LogEnd.STOPPED) == (texts(lines), stream.end)


@pytest.mark.heavy
@every_driver
def test_a_stream_goes_on_over_a_restart(subject):
    """What a program prints after a restart comes as well, and nothing twice."""
    talker = Talker(subject)
    talker.say("one")

    with closing(talker.follow(tail=1)) as stream:
        lines = take(stream, 1)
        subject.power(PowerAction.KILL)
        assert next(stream) is None
        subject.power(PowerAction.START)
        talker.say("two")
        lines += take(stream, 1)

    assert ["one", "two"] == texts(lines)


@every_driver
def test_the_last_lines_are_read_as_lines(subject):
    """The last lines are read whole, oldest first."""
    talker = Talker(subject)
    talker.say("one", "two", "three")

    lines = subject.driver.read_logs(subject.instance_id, tail=2)

    assert ["two", "three"] == texts(lines)


@every_driver
def test_what_is_not_there_has_no_lines(subject):
    """Reading the lines of what does not exist is no error."""
    assert [] == list(subject.driver.read_logs(subject.instance_id, tail=2))


@every_driver
def test_lines_have_times_as_the_traits_say(subject):
    """Where the traits promise times every line has one; elsewhere none has."""
    talker = Talker(subject)
    talker.say("one")
    driver = {
        "OpenedNode": "memory", "DockerEngine": "docker",
        "ProcessRunner": "process", "Skyportd": "skyportd",
    }[type(subject.driver).__name__]  # fmt: skip

    (line,) = subject.driver.read_logs(subject.instance_id, tail=1)

    assert traits_of(driver).times_logs == (line.position is not None)


@exactly_timed_drivers
def test_lines_of_a_time_are_read(subject):
    """Both ends of the time are of it, to the nanosecond."""
    talker = Talker(subject)
    talker.say("one", "two", "three", "four")
    lines = subject.driver.read_logs(subject.instance_id, tail=9)
    first, last = (lines[number].position.time_ns for number in (1, 2))
    read = lambda **bounds: texts(  # noqa: E731
        subject.driver.read_logs(subject.instance_id, tail=9, **bounds)
    )

    assert ["two", "three"] == read(since_ns=first, until_ns=last)
    assert ["three"] == read(since_ns=first + 1, until_ns=last)
    assert ["two"] == read(since_ns=first, until_ns=last - 1)
    assert ["one", "two", "three"] == read(until_ns=last)


@exactly_timed_drivers
def test_the_last_lines_before_a_time_are_read(subject):
    """The tail is taken of the time, and not of all lines."""
    talker = Talker(subject)
    talker.say("one", "two", "three")
    lines = subject.driver.read_logs(subject.instance_id, tail=9)

    found = subject.driver.read_logs(
        subject.instance_id, tail=1, until_ns=lines[1].position.time_ns
    )

    assert ["two"] == texts(found)


@exactly_timed_drivers
def test_a_log_is_followed_from_a_time(subject):
    """Lines before it are left out."""
    talker = Talker(subject)
    talker.say("one", "two", "three")
    lines = subject.driver.read_logs(subject.instance_id, tail=9)

    with closing(talker.follow(tail=9, since_ns=lines[1].position.time_ns)) as stream:
        assert ["two", "three"] == texts(take(stream, 2))


@timed_drivers
def test_a_log_is_followed_from_where_it_broke_off(subject):
    """After a mark comes the next line, whatever the tail is, and none twice."""
    talker = Talker(subject)
    talker.say("one", "two", "three")
    with closing(talker.follow(tail=9)) as stream:
        two = take(stream, 2)[-1]
        mark = Mark(stream.container_id[:12], two.position)

    with closing(talker.follow(tail=1, after=mark)) as stream:
        rest = take(stream, 1)
        talker.say("four")
        rest += take(stream, 1)

    assert ["three", "four"] == texts(rest)


@timed_drivers
def test_after_a_mark_of_another_container_all_lines_come(subject):
    """What a new container has printed since is all news."""
    talker = Talker(subject)
    talker.say("one", "two")
    with closing(talker.follow(tail=9)) as stream:
        mark = Mark("another", take(stream, 2)[-1].position)

    with closing(talker.follow(tail=1, after=mark)) as stream:
        assert ["one", "two"] == texts(take(stream, 2))


@real_drivers
def test_a_long_line_is_cut_and_says_so(subject):
    """Of a line of a megabyte its beginning comes, with the word that it was cut."""
    line = "x" * 4000
    repeat = f"i=0; while [ $i -lt 256 ]; do printf %s {line}; i=$((i+1)); done; echo; echo after"
    subject.spec = replace_cmd(subject.spec, f"read -r _; {repeat}; exec sleep 600")
    subject.create()
    subject.power(PowerAction.START)

    with closing(subject.driver.follow_logs(subject.instance_id, tail=0)) as stream:
        assert next(stream) is None
        subject.driver.command(subject.instance_id, "go")
        long, after = take(stream, 2)

    assert ("x" * MAX_LOG_LINE_BYTES, True) == (long.text, long.is_cut)
    assert ("after", False) == (after.text, after.is_cut)


@real_drivers
def test_what_is_no_text_is_followed_all_the_same(subject):
    """Bytes that are not UTF-8 are replaced, and a last line without an end comes at the end."""
    subject.spec = replace_cmd(
        subject.spec, "printf 'a\\377\\303\\251\\n\\r\\n'; printf end; exec sleep 0.5"
    )
    # Podman would join the end with what is printed after it.
    subject.spec = replace(subject.spec, auto_start=False)
    subject.create()

    with closing(subject.driver.follow_logs(subject.instance_id, tail=9)) as stream:
        subject.power(PowerAction.START)
        lines = take(stream, 3)

    assert ["a\ufffd\u00e9", "", "end"] == texts(lines)


@pytest.mark.parametrize("subject", ENGINES, indirect=True)
def test_docker_tells_where_a_line_was_printed(subject):
    """Lines of both streams come, and say which one they are of."""
    subject.spec = replace_cmd(subject.spec, "echo out; sleep 0.1; echo err >&2; exec sleep 600")
    subject.create()
    subject.power(PowerAction.START)

    with closing(subject.driver.follow_logs(subject.instance_id, tail=9)) as stream:
        found = {line.text: line.stream for line in take(stream, 2)}

    assert {"out": Stream.STDOUT, "err": Stream.STDERR} == found
