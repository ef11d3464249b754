"""The page of the API, in a real browser with nothing but a new installation to load from."""

import pytest
from selenium.webdriver.common.by import By

from tests.browsing import (
    authorize,
    execute,
    list_foreign,
    open_browser,
    show_only,
    wait_for,
)
from tests.installation import new_installation
from tests.support import DEPLOY, SPEC, answer_of, eventually, free_port

pytestmark = [pytest.mark.spawns, pytest.mark.browser]

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
NOT_THERE = ("getWebhook", "listDeliveries", "getDelivery", "getNodeDrain")
"""No webhook is made by the life cycle: its receiver would be somewhere on the internet. Nor is a
node drained, which would get no instances then."""
OF_NOBODY = {"getOwnUsage": 400}
"""The first key is limited to no user, and acts for none as the example stands."""

READS = [
    (operation["tags"][0], operation["operationId"])
    # Lists come first: by what they answer the page knows what stands for an example.
    for path, operations in sorted(SPEC["paths"].items(), key=lambda item: "{" in item[0])
    for method, operation in operations.items()
    if method == "get" and operation["operationId"] not in NOT_THERE
]
TAGS = sorted({tag for tag, _ in READS})
HALVES = (TAGS[::2], TAGS[1::2])
"""Two pages take as long as one, and can be tried out beside each other."""


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


@pytest.fixture
def new(tmp_path):
    """A new installation in which nothing was done yet."""
    tmp_path.joinpath("new").mkdir()
    with new_installation(tmp_path / "new") as installation:
        yield installation


@pytest.fixture
def lived_in(new):
    """An installation with the user of the examples, and an instance that runs."""
    headers = {"x-api-key": new.key}
    port = str(free_port())
    ports = {"ports": f"8080:{port}", "primary": port}
    for path, over in (("/api/auth/create-user", {}), (DEPLOY, ports)):
        content = SPEC["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        made = answer_of(
            f"{new.url}{path}", "POST", headers=headers, json={**content["example"], **over}
        )
        assert 201 == made.status_code
    instance = f"{new.url}/api/instances/{made.json()['Id']}"
    assert eventually(
        lambda: answer_of(instance, headers=headers).json()["InternalState"] == "READY",
        timeout_s=60,
    )
    return new


@pytest.mark.timeout(600)  # a page of this size takes a browser its time, on a busy machine
def test_a_life_cycle_works_as_it_stands(browser, new):
    """
    On a new installation a whole life cycle runs by its examples, without the internet.
    """
    show_only(browser, [*(name for name, _ in LIFE_CYCLE), "deleteInstance"])
    browser.get(f"{new.url}/docs/")
    authorize(browser, new.key)

    lived = {name: execute(browser, name) for name, _ in LIFE_CYCLE}
    died = execute(browser, "deleteInstance")

    assert dict(LIFE_CYCLE) == lived
    assert 201 == died
    assert [] == list_foreign(browser, new.url)


@pytest.mark.timeout(600)  # as above
@pytest.mark.parametrize("tags", HALVES, ids=" ".join)
def test_every_get_works_as_it_stands(browser, lived_in, tags):
    """
    Where an instance runs each GET answers what its example asks for, without the internet; but
    for what a key of nobody cannot ask.
    """
    names = [name for tag, name in READS if tag in tags]
    show_only(browser, names)
    browser.get(f"{lived_in.url}/docs/")
    authorize(browser, lived_in.key)

    read = {name: execute(browser, name) for name in names}

    assert {name: OF_NOBODY.get(name, 200) for name in names} == read
    assert [] == list_foreign(browser, lived_in.url)


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
