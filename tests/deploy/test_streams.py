"""Streams of events through Debian's nginx, and in a real browser."""

import pytest
import requests

from service.store.admin.migrations import begin_events
from tests.browsing import open_browser
from tests.deploy.test_nginx import deaf, run_api  # noqa: F401 - a fixture
from tests.event_writing import writing
from tests.following import read_frames
from tests.installation import new_installation
from tests.nginx import run_nginx
from tests.support import a_key, a_user, eventually

pytestmark = pytest.mark.spawns


def test_an_event_passes_nginx_while_the_answer_is_open(tmp_path, config, store, database):
    """Each is with the client before the next one happens."""
    begin_events(database)
    key = a_key(store)
    with (
        writing(store),
        run_api(config) as (address, _),
        run_nginx(tmp_path, address) as nginx,
        requests.get(
            f"{nginx.url}/api/events",
            params={"types": "user.created"},
            headers={"x-api-key": key, "Accept": "text/event-stream"},
            stream=True,
            timeout=60,
        ) as answer,
    ):
        frames = read_frames(answer.iter_content(None))
        begun = next(frames)
        told = []
        for _ in range(3):
            user = a_user(store)
            told.append(next(frames).told["resourceId"] == user["_id"])

    assert (True, "", [True] * 3) == (bool(begun.id), begun.data, told)


@pytest.mark.parametrize(
    "path", ["/api/events", "/api/instances/i1/logs", "/api/instances/i1/stats"]
)
def test_no_ticket_is_logged_while_the_application_is_absent(tmp_path, deaf, path):  # noqa: F811
    """Neither log of nginx has the query of what takes one."""
    with run_nginx(tmp_path, deaf) as nginx:
        requests.get(f"{nginx.url}{path}?ticket=hunter2", timeout=10)

        logs = nginx.quit()
    assert f'"path":"{path}"' in logs
    assert "hunter2" not in logs


FOLLOW = """
window.seen = [];
const made = await fetch("/api/events/ticket", {method: "POST", headers: {"x-api-key": KEY}});
const {ticket} = await made.json();
window.stream = new EventSource(`/api/events?types=user.created&ticket=${ticket}`);
window.stream.addEventListener("user.created", event => window.seen.push(
  [event.lastEventId, JSON.parse(event.data).resource.username]));
"""


@pytest.mark.browser
def test_a_browser_follows_with_a_ticket(tmp_path):
    """An EventSource opens the stream by a ticket alone; a used one opens nothing."""
    (tmp_path / "browser").mkdir()
    (tmp_path / "up").mkdir()
    with (
        new_installation(tmp_path / "up") as installation,
        open_browser(tmp_path / "browser") as browser,
    ):
        browser.get(f"{installation.url}/docs/")
        script = FOLLOW.replace("KEY", f"'{installation.key}'")
        browser.execute_async_script(f"(async () => {{{script}}})().then(arguments[0])")
        assert eventually(lambda: browser.execute_script("return window.stream.readyState") == 1)
        names = []
        for name in ("ann", "bob"):
            body = {"username": name, "email": f"{name}@e.org", "password": "sesame sesame"}
            headers = {"x-api-key": installation.key}
            requests.post(f"{installation.url}/api/users", json=body, headers=headers, timeout=20)
            names.append(name)
            assert eventually(
                lambda: [seen for _, seen in browser.execute_script("return window.seen")] == names
            )
        again = browser.execute_async_script(
            "const again = new EventSource(window.stream.url);"
            "again.onerror = () => arguments[0](again.readyState);"
        )

    assert 2 == again  # CLOSED
