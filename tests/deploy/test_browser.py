"""The page of the API, in a real browser with nothing but a new installation to load from."""

import os
import shutil

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.installation import new_installation
from tests.support import SPEC

pytestmark = pytest.mark.spawns

PATIENCE_S = 30


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
READS = [
    operation["operationId"]
    for path in SPEC["paths"].values()
    for method, operation in path.items()
    if method == "get"
]


@pytest.fixture
def browser(tmp_path):
    """A headless Chromium of its own, for which there are no hosts but this one."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        if os.environ.get("SKYQUAY_REQUIRE_DOCKER") == "1":
            pytest.fail("chromium or chromedriver is missing")
        pytest.skip("chromium or chromedriver is missing")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
                     "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                     "--disable-background-networking", "--disable-component-update",
                     "--disable-dev-shm-usage", "--disable-sync", "--window-size=1280,1600",
                     f"--user-data-dir={tmp_path}/profile"):  # fmt: skip
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield browser
    browser.quit()


def wait_for(browser, selector):
    """Wait until there is such an element."""
    return WebDriverWait(browser, PATIENCE_S).until(
        lambda page: page.find_elements(By.CSS_SELECTOR, selector)
    )[0]


def click(browser, selector):
    """Click on an element as soon as it is there."""
    browser.execute_script("arguments[0].click()", wait_for(browser, selector))


def authorize(browser, key):
    """Enter the key, as the page asks for it."""
    click(browser, "button.authorize")
    wait_for(browser, "input[aria-label='auth-api-key'], .auth-container input").send_keys(key)
    click(browser, ".auth-btn-wrapper button.authorize, .auth-btn-wrapper button[type=submit]")
    click(browser, ".auth-btn-wrapper button.btn-done")


def execute(browser, operation_id):
    """Try an operation out as it stands; return the status that the page shows."""
    block = f".opblock[id$='-{operation_id}']"
    click(browser, f"{block} button.opblock-summary-control")
    click(browser, f"{block} button.try-out__btn")
    click(browser, f"{block} button.execute")
    shown = wait_for(browser, f"{block} .live-responses-table tr.response .response-col_status")
    status = int(shown.text.split()[0])
    click(browser, f"{block} button.opblock-summary-control")
    return status


def list_foreign(browser, url):
    """List what the page loaded from anywhere else."""
    loaded = browser.execute_script("return performance.getEntries().map(e => e.name)")
    return [name for name in loaded if name.startswith("http") and not name.startswith(url)]


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
