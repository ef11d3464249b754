"""What an instance uses, as it changes: one measurement for all who watch it."""

import json
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from service import keys, meters
from service.api.context import EXTENSION
from service.api.live_answer import DRIVEN
from service.drivers.memory_usage import SAMPLE, USAGE
from service.errors import Busy
from service.model.lifecycle import InstanceState, NodeStatus, Power
from tests.support import NOON, a_key, an_app, eventually


@pytest.fixture
def soon(monkeypatch):
    """Measure often."""
    monkeypatch.setattr(meters, "FAILED_S", 0.02)


@pytest.fixture
def flask(config, store, memory_nodes, soon):
    """An app that measures often."""
    flask = an_app(config, store, memory_nodes)
    flask.extensions[EXTENSION].meters._interval_s = 0.02
    yield flask
    flask.extensions[EXTENSION].stopping.set()
    assert eventually(lambda: not len(flask.extensions[EXTENSION].meters))


@pytest.fixture
def running(api, ready, memory_nodes, place):
    """Its container."""
    return memory_nodes[place[1]["_id"]].containers[ready]


class Frames:
    """The frames of a live answer."""

    def __init__(self, pieces):
        self.pieces = pieces

    def next(self):
        """Read the next that says something: what it is called, and its data. None at the end."""
        for piece in self.pieces:
            for frame in piece.decode().split("\n\n"):
                lines = dict(line.split(": ", 1) for line in frame.split("\n") if ": " in line)
                if "data" in lines:
                    return lines.get("event"), json.loads(lines["data"])
        return None

    def until(self, holds):
        """Read until one is as it should be, and return that."""
        while not holds(frame := self.next()):
            assert frame is not None
        return frame


@contextmanager
def watching(flask, key, instance_id):
    """Watch an instance."""
    answer = flask.test_client().get(
        f"/api/instances/{instance_id}/stats",
        headers={"x-api-key": key, "Accept": "text/event-stream"},
        environ_overrides={DRIVEN: True},
    )
    with closing(answer):
        assert 200 == answer.status_code, answer.get_json()
        yield Frames(answer.response)


def test_what_it_uses_is_told_again_and_again(flask, store, ready, running):
    """As a GET of it answers, with the cores since the measurement before."""
    with watching(flask, a_key(store), ready) as frames:
        event, first = frames.next()
        assert (None, ready, 0.25, "running") == (event, first["Id"], first["cpu"], first["power"])
        frames.next()
        running.sample = replace(
            SAMPLE,
            measured_at=SAMPLE.measured_at + timedelta(seconds=2),
            cpu_ms=SAMPLE.cpu_ms + 2000,
        )

        _, later = frames.until(lambda frame: frame[1]["cpu"] == 1)

    assert USAGE.disk_bytes == later["diskBytes"]


def test_all_who_watch_it_share_one_measurement(flask, store, ready, running, memory_nodes, place):
    """And nobody measures it when the last has left."""
    ctx = flask.extensions[EXTENSION]
    with watching(flask, a_key(store), ready) as one, watching(flask, a_key(store), ready) as two:
        assert one.next() is not None
        assert two.next() is not None
        assert 1 == len(ctx.meters)

    assert 0 == len(ctx.meters)
    node = memory_nodes[place[1]["_id"]]
    assert eventually(lambda: (before := node.calls) == node.calls and before)


def test_that_it_does_not_run_is_said_once(flask, store, ready, running):
    """It goes on when it runs again."""
    with watching(flask, a_key(store), ready) as frames:
        frames.next()
        running.power = Power.STOPPED
        _, stopped = frames.until(lambda frame: frame[1]["power"] == "stopped")
        running.power = Power.RUNNING

        _, again = frames.next()

    assert (0, "running") == (stopped["cpu"], again["power"])


def test_a_node_that_fails_is_said(flask, store, ready, running, memory_nodes, place):
    """And it goes on when the node answers again."""
    node = memory_nodes[place[1]["_id"]]
    with watching(flask, a_key(store), ready) as frames:
        frames.next()
        node.faults.silence()
        _, problem = frames.until(lambda frame: frame[0] == "problem")
        node.faults.behave()

        frames.until(lambda frame: frame[0] is None)
        store.nodes.update(place[1]["_id"], {"status": NodeStatus.OFFLINE})
        _, offline = frames.until(lambda frame: frame[0] == "problem")

    assert ("node_unreachable", "node_offline") == (problem["code"], offline["code"])


def test_it_ends_with_the_instance(flask, store, ready, running):
    """Whoever reads the last event is to close."""
    with watching(flask, a_key(store), ready) as frames:
        frames.next()
        store.instances.move(ready, InstanceState.DELETING, now=NOON)

        _, last = frames.until(lambda frame: frame[0] == "end")
        after = frames.next()

    assert ("deleted", None) == (last["reason"], after)


def test_only_who_may_see_it_watches(flask, store, ready, running):
    """To others it does not exist, as ever."""
    grant = {"scopes": ["instances:read"], "instance_ids": ["ix"]}
    _, key = keys.create(store, name="limited", grant=grant, now=NOON)

    answer = flask.test_client().get(
        f"/api/instances/{ready}/stats",
        headers={"x-api-key": key, "Accept": "text/event-stream"},
    )

    assert 404 == answer.status_code


def test_their_number_is_bounded(flask, store, ready, running, monkeypatch):
    """Of instances: any number may watch one that is measured already."""
    monkeypatch.setattr(meters, "MOST", 1)
    ctx = flask.extensions[EXTENSION]
    instance = store.instances.get(ready)
    watch = ctx.meters.watch(instance)
    again = ctx.meters.watch(instance)

    with pytest.raises(Busy):
        ctx.meters.watch({**instance, "_id": "another"})

    watch.close()
    again.close()


def test_who_takes_slowly_gets_the_newest(flask, store, ready, running):
    """Nothing is heaped up for anybody."""
    ctx = flask.extensions[EXTENSION]
    watch = ctx.meters.watch(store.instances.get(ready))
    meter = ctx.meters._meters[ready]
    assert eventually(lambda: meter.last is not None)
    first = meter.last
    assert eventually(lambda: meter.last is not first)

    taken = watch.take()

    assert taken is not first
    watch.close()
