"""Logs of real containers: terminals, much output, and an engine that never answers."""

import resource
import socket
import threading
import time
from contextlib import closing

import pytest

from service.drivers import bounds
from service.drivers.docker import DockerEngine, engine, log_reading
from service.drivers.docker.labels import LABEL
from service.errors import NodeUnreachable
from service.instances import make_id
from tests.docker_images import SOCKET, ensure_image, require_engine

LONG = 20_000
CHATTY = """line=$(printf '%0250d' 0); i=0; read -r _
while [ $i -lt 200000 ]; do echo "$i $line"; i=$((i+1)); done; echo end; exec sleep 600"""
"""Prints fifty megabytes, of which the engine keeps the last thirty."""


@pytest.fixture
def client():
    """A client of the Docker Engine here."""
    with closing(require_engine()) as client:
        yield client


@pytest.fixture
def driver(client):
    """The driver of it."""
    with closing(DockerEngine("node", base_url=f"unix://{SOCKET}")) as driver:
        yield driver


@pytest.fixture
def run(client):
    """Run a program in a container of ours; return the instance's id."""
    made = []

    def run(line, **options):
        image = ensure_image(client, "skyquay-test/python:1")
        instance_id = make_id()
        container = client.containers.run(
            image,
            ["sh", "-c", line],
            name=instance_id,
            labels={LABEL: instance_id},
            detach=True,
            stdin_open=True,
            network_mode="none",
            init=True,
            log_config={"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
            **options,
        )
        made.append(container)
        return instance_id

    yield run
    for container in made:
        container.remove(force=True, v=True)


def take(stream, count):
    """Take so many lines, or what came in a minute."""
    found, until = [], time.monotonic() + 60
    while len(found) < count and time.monotonic() < until:
        if (line := next(stream)) is not None:
            found.append(line)
    return found


pytestmark = pytest.mark.docker


def test_lines_of_a_terminal_have_times(driver, run):
    """Long ones too, which the engine writes in pieces; they end as a terminal ends them."""
    instance_id = run(f"echo one; printf '%0{LONG}d\\n' 7; echo end; exec sleep 600", tty=True)

    with closing(driver.follow_logs(instance_id, tail=9)) as stream:
        one, long, end = take(stream, 3)

    assert ("one", f"{7:0{LONG}d}", "end") == (one.text, long.text, end.text)
    assert one.position <= long.position <= end.position
    assert None is one.stream


def test_much_output_takes_little_memory(driver, run):
    """Fifty megabytes go through, also while whoever reads them is slow: no line comes twice."""
    instance_id = run(CHATTY)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with closing(driver.follow_logs(instance_id, tail=0)) as stream:
        assert next(stream) is None
        driver.command(instance_id, "go")
        texts = []
        while texts[-1:] != ["end"]:
            if (line := next(stream)) is not None:
                texts.append(line.text.partition(" ")[0])
            if len(texts) == 1000:
                stream.pause(1)

    numbers = [int(text) for text in texts[:-1]]
    assert sorted(set(numbers)) == numbers
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60 * 1024


@pytest.fixture
def silent(tmp_path, monkeypatch):
    """An engine that accepts connections, and answers nothing."""
    monkeypatch.setattr(engine, "LOG_TIMEOUT_S", 0.2)
    monkeypatch.setattr(log_reading, "LOG_TIMEOUT_S", 0.2)
    path = str(tmp_path / "engine.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(16)
        yield path


def test_an_engine_that_never_answers_is_left(silent):
    """Within the time that it has for a log."""
    driver = DockerEngine("node", base_url=f"unix://{silent}", connect_timeout_s=0.2)

    with pytest.raises(NodeUnreachable):
        driver.follow_logs("i-1", tail=9)


def test_a_close_wakes_who_waits_for_an_engine(driver, run):
    """Also where nothing is printed."""
    instance_id = run("exec sleep 600")
    stream = driver.follow_logs(instance_id, tail=9)
    assert next(stream) is None
    ended = threading.Event()

    def read():
        for _ in stream:
            pass
        ended.set()

    threading.Thread(target=read).start()
    stream.close()

    assert ended.wait(bounds.LOG_TIMEOUT_S)
