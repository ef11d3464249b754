"""The page of the API, in a real browser with nothing but Skyquay to load from."""

import os
import shutil

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

pytestmark = pytest.mark.spawns

PATIENCE_S = 30


@pytest.fixture
def browser(tmp_path):
    """A headless Chromium of its own."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        if os.environ.get("SKYQUAY_REQUIRE_DOCKER") == "1":
            pytest.fail("chromium or chromedriver is missing")
        pytest.skip("chromium or chromedriver is missing")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
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


def test_authorize_and_try_it_out(browser, live_server):
    """Who enters the key under Authorize can call the API from the page, and sees the answer."""
    browser.get(f"{live_server.url}/docs/")
    click(browser, "button.authorize")
    wait_for(browser, "input[aria-label='auth-api-key'], .auth-container input").send_keys(
        live_server.key
    )
    click(browser, ".auth-btn-wrapper button.authorize, .auth-btn-wrapper button[type=submit]")
    click(browser, ".auth-btn-wrapper button.btn-done")
    click(browser, "#operations-nodes-listNodes button.opblock-summary-control")
    click(browser, "#operations-nodes-listNodes button.try-out__btn")
    click(browser, "#operations-nodes-listNodes button.execute")

    status = wait_for(
        browser,
        "#operations-nodes-listNodes .live-responses-table tr.response .response-col_status",
    )

    assert "200" == status.text.split()[0]
    loaded = browser.execute_script("return performance.getEntries().map(e => e.name)")
    assert [] == [
        name for name in loaded if name.startswith("http") and live_server.url not in name
    ]
