"""Logs that are followed, as they are served: no thread of the API is held, also behind nginx."""

from contextlib import ExitStack, contextmanager

import pytest
import requests

from service.api.context import EXTENSION
from service.config import Config
from tests.following import read_frames
from tests.nginx import run_nginx
from tests.serving.test_server import served
from tests.support import an_app, eventually

TIMEOUT_S = 60


@pytest.fixture
def container(here, ready):
    """The instance's container, whose program has printed a line."""
    container = here.containers[ready]
    container.log = "one\n"
    return container


@contextmanager
def following(url, key, instance_id, **headers):
    """Follow a log; yield its frames as they come."""
    with requests.get(
        f"{url}/api/instances/{instance_id}/logs",
        params={"follow": "true"},
        headers={"x-api-key": key, **headers},
        stream=True,
        timeout=TIMEOUT_S,
    ) as answer:
        assert 200 == answer.status_code
        yield read_frames(answer.iter_content(None))


@contextmanager
def serving(config, store, memory_nodes):
    """Serve the app with one thread until nobody follows a log any more; yield its port."""
    app = an_app(config, store, memory_nodes)
    with served(app, Config(threads=1)) as port:
        yield port
        assert eventually(lambda: not app.extensions[EXTENSION].live)


def test_a_log_that_is_followed_holds_no_thread(config, store, memory_nodes, api, ready, container):
    """With one thread, many are followed, and others are answered; each line comes at once."""
    with serving(config, store, memory_nodes) as port, ExitStack() as stack:
        url = f"http://127.0.0.1:{port}"
        followed = [
            stack.enter_context(following(url, api.key, ready, **{"Last-Event-ID": "another:0"}))
            for _ in range(10)
        ]
        first = [next(frames).told["line"] for frames in followed]
        answer = requests.get(f"{url}/api/me", headers={"x-api-key": api.key}, timeout=TIMEOUT_S)
        container.log += "two\n"
        second = [next(frames).told["line"] for frames in followed]

    assert (["one"] * 10, 200, ["two"] * 10) == (first, answer.status_code, second)


@pytest.mark.spawns
def test_a_line_passes_nginx_before_the_next_is_printed(
    tmp_path, config, store, memory_nodes, api, ready, container
):
    """Nothing is kept back on the way."""
    with (
        serving(config, store, memory_nodes) as port,
        run_nginx(tmp_path, f"127.0.0.1:{port}") as nginx,
        following(nginx.url, api.key, ready) as frames,
    ):
        seen = [next(frames).told["line"]]
        for line in ("two", "three"):
            container.log += f"{line}\n"
            seen.append(next(frames).told["line"])

    assert ["one", "two", "three"] == seen
