"""The handler of log lines: none waits for another thread's, and none is lost."""

import io
import logging
import threading

import pytest

from service.telemetry.line_handler import LineHandler

LONG_S = 30


class Stalled(io.StringIO):
    """A stream that takes nothing until it is let."""

    def __init__(self):
        super().__init__()
        self.begun, self.goes_on = threading.Event(), threading.Event()

    def write(self, text):
        """Wait, and take it then."""
        self.begun.set()
        self.goes_on.wait(LONG_S)
        return super().write(text)


class Full(io.StringIO):
    """A stream with no room for its first line."""

    is_full = True

    def write(self, text):
        """Raise OSError the first time."""
        if self.is_full:
            self.is_full = False
            raise OSError(28, "No space left on device")
        return super().write(text)


def log_by(handler, text):
    """Log a line, as `Logger` has a handler do."""
    handler.handle(logging.makeLogRecord({"msg": text}))


@pytest.fixture
def in_thread():
    """Log a line in a thread of its own, which has ended when the test has."""
    threads = []

    def start(handler, text):
        threads.append(threading.Thread(target=log_by, args=(handler, text)))
        threads[-1].start()
        return threads[-1]

    yield start
    for thread in threads:
        thread.join(LONG_S)


@pytest.fixture
def stalled(in_thread):
    """Make a stream that takes nothing until it is let, or the test ends, before its threads."""
    stream = Stalled()
    yield stream
    stream.goes_on.set()


def test_a_line_waits_for_no_other(stalled, in_thread):
    """
    A thread that logs goes on while another one's line is not written.
    """
    handler = LineHandler(stalled)
    in_thread(handler, "first")
    stalled.begun.wait(LONG_S)

    log_by(handler, "second")

    assert not stalled.goes_on.is_set()
    assert "" == stalled.getvalue()


def test_the_thread_that_writes_takes_along_what_came_meanwhile(stalled, in_thread):
    """
    Each line is there once, in order.
    """
    handler = LineHandler(stalled)
    writes = in_thread(handler, "first")
    stalled.begun.wait(LONG_S)
    log_by(handler, "second")
    log_by(handler, "third")

    stalled.goes_on.set()
    writes.join(LONG_S)

    assert "first\nsecond\nthird\n" == stalled.getvalue()


def test_a_stream_that_takes_nothing_fills_no_memory(stalled, in_thread):
    """
    Past as many lines as may wait, who logs waits with them.
    """
    handler = LineHandler(stalled, most_waiting=1)
    in_thread(handler, "first")
    stalled.begun.wait(LONG_S)
    log_by(handler, "second")

    waits = in_thread(handler, "third")
    waits.join(0.2)

    assert waits.is_alive()


def test_no_line_is_lost_among_many_threads(in_thread):
    """
    Whichever thread writes, all that was logged is there when all have ended.
    """
    stream = io.StringIO()
    handler = LineHandler(stream)

    threads = [in_thread(handler, str(number)) for number in range(200)]
    for thread in threads:
        thread.join(LONG_S)

    assert sorted(map(str, range(200))) == sorted(stream.getvalue().split())


def test_a_stream_that_was_full_is_written_to_again(capsys):
    """
    An error is reported as `logging` does, and whoever logged goes on.
    """
    stream = Full()
    handler = LineHandler(stream)

    log_by(handler, "lost")
    log_by(handler, "kept")

    assert "kept\n" == stream.getvalue()
    assert "No space left on device" in capsys.readouterr().err
