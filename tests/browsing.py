"""A real browser, and the pages of Skyquay in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests.support import need

PATIENCE_S = 30


@contextmanager
def open_browser(folder: Path, *further: str) -> Iterator[webdriver.Chrome]:
    """Open a headless Chromium with a new profile, for which there are no hosts but this one."""
    options = webdriver.ChromeOptions()
    options.binary_location = need("chromium")
    for argument in ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
                     "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                     "--disable-background-networking", "--disable-component-update",
                     "--disable-dev-shm-usage", "--disable-sync", "--window-size=1280,1600",
                     f"--user-data-dir={folder}/profile", *further):  # fmt: skip
        options.add_argument(argument)
    service = webdriver.ChromeService(need("chromedriver"))
    browser = webdriver.Chrome(options=options, service=service)
    try:
        yield browser
    finally:
        browser.quit()


def wait_for(browser, selector):
    """Wait until there is such an element."""
    return WebDriverWait(browser, PATIENCE_S).until(
        lambda page: page.find_elements(By.CSS_SELECTOR, selector)
    )[0]


def click(browser, selector):
    """Click on an element as soon as it is there."""
    browser.execute_script("arguments[0].click()", wait_for(browser, selector))


def list_loaded(browser):
    """List the addresses of all that the page has loaded."""
    loaded = browser.execute_script("return performance.getEntries().map(e => e.name)")
    return [name for name in loaded if name.startswith("http")]


def list_foreign(browser, url):
    """List what the page loaded from anywhere else."""
    return [name for name in list_loaded(browser) if not name.startswith(url)]


def authorize(browser, key):
    """Enter the key, as the page asks for it."""
    click(browser, "button.authorize")
    wait_for(browser, "input[aria-label='auth-api-key'], .auth-container input").send_keys(key)
    click(browser, ".auth-btn-wrapper button.authorize, .auth-btn-wrapper button[type=submit]")
    click(browser, ".auth-btn-wrapper button.btn-done")


def sign_in(browser, server, place=""):
    """Open the console at a place, and sign in with the server's key."""
    browser.get(f"{server.url}/console/{place}")
    wait_for(browser, "#key").send_keys(server.key, Keys.ENTER)
    wait_for(browser, "header")


def execute(browser, operation_id, *, fold=True):
    """Try an operation out as it stands; return the status that the page shows."""
    block = f".opblock[id$='-{operation_id}']"
    click(browser, f"{block} button.opblock-summary-control")
    click(browser, f"{block} button.try-out__btn")
    click(browser, f"{block} button.execute")
    shown = wait_for(browser, f"{block} .live-responses-table tr.response .response-col_status")
    status = int(shown.text.split()[0])
    if fold:
        click(browser, f"{block} button.opblock-summary-control")
    return status
