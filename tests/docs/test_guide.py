"""The guide's blocks are run in each language, against a new installation and its worker."""

import os
import subprocess
from contextlib import contextmanager

import pytest
import requests

from tests.browsing import open_browser
from tests.docs.guide import LANGUAGES, PAGES, list_steps, read, run_steps, write_files
from tests.installation import new_installation
from tests.pages import find_blocks, find_outputs, mask
from tests.support import answer_of, eventually, free_port, need

pytestmark = [pytest.mark.spawns, pytest.mark.slow]

BOT, DASHBOARD = "bot", "dashboard"
PASSED_ON = "/api/instances?limit=1000&fields=Id,Name,power"

ROW = """
return [...document.querySelectorAll("td:not(:last-child), td button")].map(one => one.innerText)
"""


@contextmanager
def beginning(folder, *programs):
    """A folder with the guide's files, and the variables that a reader sets for an installation."""
    for program in programs:
        need(program)
    work, data = folder / "work", folder / "up"
    work.mkdir()
    data.mkdir()
    write_files(work)
    with new_installation(data) as installation:
        environ = {
            **os.environ,
            "URL": installation.url,
            "KEY": installation.key,
            "PORT": str(free_port()),
        }
        yield work, environ


@contextmanager
def running(language, program, folder, environ):
    """A program of the guide that goes on until it is ended, with the bot's key."""
    command = [*language.command, f"{program}.{language.suffix}"]
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**environ, "KEY": folder.joinpath("bot.key").read_text().strip()},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


def stop_first(environ):
    """Stop the guide's instance, as somebody else would."""
    headers = {"x-api-key": environ["KEY"]}
    url = f"{environ['URL']}/api/instances"
    instance = requests.get(url, headers=headers, timeout=20).json()[0]
    requests.post(f"{url}/{instance['Id']}/stop", headers=headers, timeout=20)


def see_bot(language, folder, environ):
    """Start the bot, and stop its instance as soon as it has seen it; list what it says."""
    with running(language, BOT, folder, environ) as bot:
        said = [bot.stdout.readline()]
        stop_first(environ)
        said += [bot.stdout.readline(), bot.stdout.readline()]
    return "".join(said)


@pytest.mark.parametrize("language", LANGUAGES.values(), ids=LANGUAGES)
def test_the_blocks_print_what_the_guide_shows(language, tmp_path):
    """
    From the first deploy to the end, each language prints what stands below its blocks.
    """
    shown = {page: [mask(step["text"]) for step in list_steps(page)] for page in PAGES}

    printed, said = {}, ""
    with beginning(tmp_path, language.command[0], "jq") as (folder, environ):
        for page in PAGES:
            printed[page] = run_steps(page, language, folder, environ)
            if page == BOT:
                said = see_bot(language, folder, environ)

    assert shown == printed
    assert find_blocks(read(BOT), "printed by: bot") == [said]


@pytest.fixture(scope="module", params=["python", "javascript"])
def dashboard(request, tmp_path_factory):
    """The address of a dashboard of the guide's first instance."""
    language, port = LANGUAGES[request.param], str(free_port())
    folder = tmp_path_factory.mktemp("guide")
    with beginning(folder, language.command[0]) as (folder, environ):
        for page in (PAGES[0], BOT):
            run_steps(page, LANGUAGES["python"], folder, environ)
        with running(language, DASHBOARD, folder, {**environ, "DASHBOARD_PORT": port}):
            answer_of(url := f"http://127.0.0.1:{port}")
            yield url


def test_the_dashboard_needs_no_key(dashboard):
    """
    The page's list is answered to whoever asks from this machine, as the guide shows it.
    """
    block, shown = find_blocks(read(DASHBOARD), "run")[0], find_outputs(read(DASHBOARD))[0]
    block = block.replace("http://127.0.0.1:8090", dashboard)

    printed = subprocess.run(["bash", "-c", block], capture_output=True, text=True, check=True)

    assert shown == printed.stdout


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", PASSED_ON, {"Host": "evil.example"}),
        ("POST", "/api/instances/iaaaaaaaaaaa/stop", {"Origin": "https://evil.example"}),
        ("GET", "/api/keys", {}),
        ("GET", f"{PASSED_ON}&user=eve", {}),
        ("POST", "/api/instances/../keys/stop", {}),
    ],
)
def test_the_dashboard_passes_on_nothing_else(dashboard, method, path, headers):
    """
    Neither other pages nor other requests get beyond it.
    """
    answer = requests.request(method, f"{dashboard}{path}", headers=headers, timeout=20)

    assert 403 == answer.status_code


def test_the_dashboard_switches_an_instance(dashboard, tmp_path):
    """
    Its page shows the instance, and its buttons stop and start it.
    """
    with open_browser(tmp_path) as browser:
        browser.get(dashboard)
        seen = []
        for power in ("running", "stopped", "running"):
            eventually(lambda power=power: power in browser.execute_script(ROW))
            seen.append(browser.execute_script(ROW))
            browser.execute_script("document.querySelector('tbody button').click()")

    running = ["first", "", "running", "stop", "restart"]
    assert [running, ["first", "", "stopped", "start"], running] == seen
