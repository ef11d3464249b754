"""A real browser, and the pages of Skyquay in it."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests.support import need

PATIENCE_S = 30
LOADS = 5
"""How often a page is loaded while networks of the machine come and go."""

ONLY = """
const load = window.fetch;
window.fetch = async (...asked) => {
  const answer = await load(...asked);
  if (!answer.url.endsWith("/openapi.json")) return answer;
  const document = await answer.json();
  for (const path of Object.values(document.paths))
    for (const [method, operation] of Object.entries(path))
      if (operation.operationId && !NAMES.includes(operation.operationId)) delete path[method];
  const shortened = new Response(JSON.stringify(document), answer);
  return Object.defineProperty(shortened, "url", { value: answer.url });
};
"""


class Browser(webdriver.Chrome):
    """A Chromium that no network of others disturbs."""

    def get(self, url: str) -> None:
        """Load a page, again where an interface came or went meanwhile, as those of containers do.

        Chromium then gives up each connection that is not made yet, also one on loopback.
        """
        for left in reversed(range(LOADS)):
            try:
                return super().get(url)
            except WebDriverException as exc:
                if "ERR_NETWORK_CHANGED" not in str(exc) or not left:
                    raise
        return None


@contextmanager
def open_browser(folder: Path, *further: str) -> Iterator[Browser]:
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
    browser = Browser(options=options, service=service)
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


def show_only(browser: Browser, names: Iterable[str]) -> None:
    """Have the page of the API show these operations of the document only, as they stand there.

    It works through the whole document at each click: with all of it each takes a second.
    """
    source = f"const NAMES = {json.dumps(list(names))};{ONLY}"
    browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": f"{{{source}}}"})


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
