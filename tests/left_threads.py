"""What a test may leave running: nothing that asks the database."""

import threading

import pytest

_ASK_NOTHING = ("pymongo", "execnet", "lane", "live", "event-hub", "Thread-")
"""Threads that may be left: PyMongo's own, what waits or soon notices that it is alone, and what no
name was given, such as doubles of nodes."""


@pytest.fixture(autouse=True)
def no_thread_is_left():
    """Let no test leave a thread that asks the database: the next one would have it beside it.

    It draws from `random` before it tries something again, and Hypothesis refuses strategies during
    which that changes.
    """
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if not thread.name.startswith(_ASK_NOTHING):
            thread.join(120)  # a probe of a worker that was stopped may take that on a busy machine
            assert not thread.is_alive(), f"{thread.name} is left: what started it was not closed"
