"""The page of the API, in a real browser with nothing but a new installation to load from."""

import pytest
from selenium.webdriver.common.by import By

from tests.browsing import authorize, execute, list_foreign, open_browser, wait_for
from tests.installation import new_installation
from tests.support import SPEC

pytestmark = pytest.mark.spawns

LIFE_CYCLE = [
    ("createUser", 201),
    ("lookUpUser", 201),
    ("verifyPassword", 200),
    ("deployInstance", 201),
    ("lookUpInstance", 200),
    ("listUserInstances", 200),
    ("suspendInstance", 200),
    ("unsuspendInstance", 200),
    ("stopInstance", 200),
    ("startInstance", 200),
    ("restartInstance", 200),
    ("createKey", 201),
]
NOT_THERE = ("getWebhook", "listDeliveries", "getDelivery")
"""No webhook is made by the life cycle: its receiver would be somewhere on the internet."""

READS = [
    operation["operationId"]
    for path in SPEC["paths"].values()
    for method, operation in path.items()
    if method == "get" and operation["operationId"] not in NOT_THERE
]


@pytest.fixture
def browser(tmp_path):
    """A browser of its own."""
    with open_browser(tmp_path) as browser:
        yield browser


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    """A new installation, which serves."""
    with new_installation(tmp_path_factory.mktemp("up")) as installation:
        yield installation


@pytest.mark.slow
@pytest.mark.timeout(
    900
)  # a page of this size takes a browser its time, on a busy machine above all
def test_examples_work_as_they_are(browser, installation):
    """
    On a new installation a whole life cycle and every GET run as they stand, without the internet.
    """
    browser.get(f"{installation.url}/docs/")
    authorize(browser, installation.key)

    lived = {name: execute(browser, name) for name, _ in LIFE_CYCLE}
    read = {name: execute(browser, name) for name in READS}
    died = execute(browser, "deleteInstance")

    assert dict(LIFE_CYCLE) == lived
    assert dict.fromkeys(READS, 200) == read
    assert 201 == died
    assert [] == list_foreign(browser, installation.url)


def test_the_page_is_ours(browser, installation):
    """
    It has our name, no bar to explore other documents with, and its schemas are folded.
    """
    browser.get(f"{installation.url}/docs/")
    wait_for(browser, "section.models")

    assert "Skyquay API" == browser.title
    assert [] == browser.find_elements(By.CSS_SELECTOR, ".topbar, .download-url-wrapper")
    assert [] == browser.find_elements(By.CSS_SELECTOR, "section.models.is-open")
    assert [] == [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def test_the_key_is_not_kept(browser, installation):
    """
    Once the page is left the browser has no key of it anywhere.
    """
    browser.get(f"{installation.url}/docs/")
    authorize(browser, installation.key)
    assert 200 == execute(browser, "listNodes")

    browser.refresh()

    assert 401 == execute(browser, "listNodes")
    stored = browser.execute_script(
        "return JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"
    )
    assert installation.key not in stored
