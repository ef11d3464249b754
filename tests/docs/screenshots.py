"""Takes the pictures of `docs/images/` in Chromium: `make screenshots`."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from selenium import webdriver

from tests.browsing import authorize, execute, open_browser, wait_for
from tests.installation import new_installation

PICTURES = Path(__file__).resolve().parents[2] / "docs/images"
LARGEST_BYTES = 150_000
WIDTH, HEIGHT = 1100, 900
HIDE = """
for (const part of document.querySelectorAll(".curl-command span"))
    part.textContent = part.textContent.replace(arguments[0], "sq_...");
"""
"""The call that the page shows has the key in it."""


def take(browser: webdriver.Chrome, name: str, above: str) -> None:
    """Take a picture of the page from this element on."""
    browser.execute_script("arguments[0].scrollIntoView()", wait_for(browser, above))
    picture = browser.get_screenshot_as_png()
    if len(picture) > LARGEST_BYTES:
        sys.exit(f"{name} has {len(picture)} bytes, which are too many.")
    PICTURES.joinpath(name).write_bytes(picture)


def main() -> None:
    """Show a new installation, and an example that it carried out."""
    with (
        TemporaryDirectory() as folder,
        new_installation(Path(folder)) as installation,
        open_browser(Path(folder), f"--window-size={WIDTH},{HEIGHT}") as browser,
    ):
        browser.get(f"{installation.url}/docs/")
        wait_for(browser, ".opblock")
        take(browser, "api-page.png", "body")
        authorize(browser, installation.key)
        execute(browser, "createUser")
        execute(browser, "deployInstance", fold=False)  # needs the port of the example
        browser.execute_script(HIDE, installation.key)
        take(browser, "api-page-executed.png", ".opblock[id$='-deployInstance'] .responses-wrapper")


if __name__ == "__main__":
    main()
