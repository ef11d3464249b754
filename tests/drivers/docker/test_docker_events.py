"""What a Docker Engine says as it happens, heard by the driver."""

import socket
import threading
from contextlib import closing, contextmanager, suppress
from dataclasses import replace

import pytest

from service.drivers.docker.engine import DockerEngine
from service.errors import NodeRefused, NodeUnreachable
from service.model.lifecycle import Power, PowerAction
from tests.docker_images import SOCKET
from tests.support import eventually

KILLS = 20

pytestmark = [pytest.mark.docker, pytest.mark.spawns]


def listen(feed, heard):
    """Read once, and add what was heard."""
    heard += feed.read(0.5)
    return heard


def listen_on(feed):
    """Read until that raises."""
    while True:
        feed.read(0.5)


def ends(heard, spec):
    """List how the runs of the instance ended, as far as it was heard."""
    return [
        hint.exit_code
        for hint in heard
        if hint.instance_id == spec.instance_id and hint.exit_code is not None
    ]


class CutProxy:
    """A proxy in front of the engine, whose connections can be cut in the middle."""

    def __init__(self):
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._open = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with suppress(OSError):
            while True:
                ours, _ = self._server.accept()
                theirs = socket.socket(socket.AF_UNIX)
                theirs.connect(SOCKET)
                self._open += [ours, theirs]
                for pair in ((ours, theirs), (theirs, ours)):
                    threading.Thread(target=self._copy, args=pair, daemon=True).start()

    def _copy(self, source, sink):
        with source, suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def cut(self):
        """Cut all connections that are open now."""
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def close(self):
        """Cut everything, and take nothing more."""
        self._server.close()
        self.cut()


@contextmanager
def behind_proxy():
    """The driver, behind a proxy that can cut."""
    with closing(CutProxy()) as proxy:
        engine = DockerEngine(
            "node",
            base_url=f"tcp://127.0.0.1:{proxy.port}",
            connect_timeout_s=3,
            read_timeout_s=30,
        )
        with closing(engine):
            yield engine, proxy


def test_a_kill_is_heard(engine, spec, running):
    """Of the container that it happened to, with how its run ended."""
    with closing(engine.follow_power(None)) as feed:
        heard = []
        running.kill()

        assert eventually(lambda: ends(listen(feed, heard), spec))

    assert [137] == ends(heard, spec)
    ended = [hint for hint in heard if hint.exit_code is not None]
    ours = [hint for hint in ended if hint.instance_id == spec.instance_id]  # others run there too
    assert {running.id} == {hint.container_id for hint in ours}


def test_what_happens_right_after_the_beginning_is_heard(engine, spec, running):
    """The engine begins to answer a moment before it listens itself."""
    for _ in range(10):
        with closing(engine.follow_power(None)) as feed:
            running.kill()

            assert eventually(lambda: ends(feed.read(0.5), spec))
        engine.power(spec.instance_id, PowerAction.START)


def test_what_happens_in_a_gap_is_heard(spec, running):
    """A feed that was cut goes on where it was."""
    with behind_proxy() as (engine, proxy):
        heard = []
        with closing(engine.follow_power(None)) as feed:
            engine.power(spec.instance_id, PowerAction.STOP)
            assert eventually(lambda: ends(listen(feed, heard), spec))
            cursor = feed.cursor
            proxy.cut()
            with pytest.raises(NodeUnreachable, match="it closed the connection"):
                listen_on(feed)
        running.start()
        running.kill()
        heard.clear()
        with closing(engine.follow_power(cursor)) as feed:
            assert eventually(lambda: 137 in ends(listen(feed, heard), spec))


def test_too_much_memory_is_heard(engine, spec):
    """Its program was killed for that."""
    greedy = "exec dd if=/dev/zero of=/dev/null bs=100M"
    spec = replace(spec, cmd=greedy, auto_start=False)
    engine.create(spec, checkpoint=lambda: None)
    with closing(engine.follow_power(None)) as feed:
        heard = []
        engine.power(spec.instance_id, PowerAction.START)

        assert eventually(lambda: ends(listen(feed, heard), spec))
        assert eventually(lambda: engine.status(spec.instance_id).oom_killed)

    assert any(hint.out_of_memory for hint in heard if hint.instance_id == spec.instance_id)
    ended = engine.status(spec.instance_id)
    assert (Power.STOPPED, 137) == (ended.power, ended.exit_code)


def test_a_program_that_is_started_again_is_counted(engine, spec):
    """By the engine, which also says since when it runs."""
    spec = replace(spec, cmd=("sh", "-c", "sleep 1; exit 3"))
    engine.create(spec, checkpoint=lambda: None)
    first = engine.power(spec.instance_id, PowerAction.START)

    again = eventually(
        lambda: (
            (status := engine.status(spec.instance_id)).restarts
            and status.power == Power.RUNNING
            and status
        )
    )

    assert first.started_at < again.started_at


def test_an_engine_without_events_is_refused(spec):
    """So that it is followed no further, and only probed."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        asked = connection.recv(65536)
                        body = b'{"ApiVersion":"1.41"}' if b"/version" in asked else b"{}"
                        code = b"403 Forbidden" if b"/events" in asked else b"200 OK"
                        length = str(len(body)).encode()
                        connection.sendall(
                            b"HTTP/1.1 " + code + b"\r\nConnection: close\r\nContent-Length: "
                            + length + b"\r\n\r\n" + body
                        )  # fmt: skip

        threading.Thread(target=answer, daemon=True).start()
        engine = DockerEngine(
            "node",
            base_url=f"tcp://127.0.0.1:{server.getsockname()[1]}",
            connect_timeout_s=3,
            read_timeout_s=5,
        )
        with closing(engine), pytest.raises(NodeRefused, match="answered 403"):
            engine.follow_power(None)


def test_every_kill_is_heard(spec, running):
    """None is lost, with a feed that is cut again and again."""
    with behind_proxy() as (followed, proxy):
        heard, cursor = [], None
        feed = followed.follow_power(None)
        for number in range(KILLS):
            running.kill()
            running.start()
            if number % 4 == 2:
                cursor = feed.cursor
                proxy.cut()
                feed.close()
                feed = followed.follow_power(cursor)
            listen(feed, heard)
        assert eventually(lambda: len(ends(listen(feed, heard), spec)) >= KILLS)
        feed.close()
