"""Takes the pictures of `docs/images/` in Chromium: `make screenshots`."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import requests
from selenium import webdriver

from tests.browsing import authorize, click, execute, open_browser, sign_in, wait_for
from tests.installation import Installation, import_image, new_installation
from tests.support import free_port

PICTURES = Path(__file__).resolve().parents[2] / "docs/images"
LARGEST_BYTES = 150_000
WIDTH, HEIGHT = 1100, 900
CONSOLE_HEIGHT, NODES_HEIGHT = 900, 680
PHONE_WIDTH, PHONE_HEIGHT = 360, 780
MEASURED_S = 75
"""How long the charts of the pictures are."""

HIDE = """
for (const part of document.querySelectorAll(".curl-command span"))
    part.textContent = part.textContent.replace(arguments[0], "sq_...");
"""
"""The call that the page shows has the key in it."""

GAME = {
    "Name": "Harbour (game server)",
    "Description": "A game for which there are pictures.",
    "Image": "example.org/harbour:1",
    "AltImages": ["example.org/harbour:1"],
    "Scripts": {"Install": []},
    "process": True,
    "Cmd": """echo "Harbour 4.2 is starting on port $PRIMARY_PORT"; echo "The world is '$WORLD'"
(i=0; while sleep 3; do i=$((i+1)); n=0
echo "[$(date +%H:%M:%S)] Saved the world in $((31 + i * 7 % 23)) ms, $((i * 3 % 5)) players online"
while [ $n -lt $((i * 5 % 9 * 30000)) ]; do n=$((n+1)); done; done) &
while read -r line; do echo "> $line"; echo "Done: $line"; done""",
    "Variables": {
        "WORLD": {
            "type": "text",
            "default": "Skerries",
            "required": True,
            "description": "What players see first.",
        },
        "MAX_PLAYERS": {
            "type": "text",
            "default": "20",
            "required": True,
            "description": "How many may play at once.",
            "schema": {"type": "integer", "minimum": 1, "maximum": 200},
        },
        "DIFFICULTY": {
            "type": "text",
            "default": "normal",
            "required": True,
            "schema": {"type": "string", "enum": ["easy", "normal", "hard"]},
        },
    },
}


def save(browser: webdriver.Chrome, name: str) -> None:
    """Save a picture of what is shown."""
    picture = browser.get_screenshot_as_png()
    if len(picture) > LARGEST_BYTES:
        sys.exit(f"{name} has {len(picture)} bytes, which are too many.")
    PICTURES.joinpath(name).write_bytes(picture)


def take(browser: webdriver.Chrome, name: str, above: str) -> None:
    """Take a picture of the page from this element on."""
    browser.execute_script("arguments[0].scrollIntoView()", wait_for(browser, above))
    save(browser, name)


@contextmanager
def show(*, width: int, height: int, dark: bool = False) -> Iterator[webdriver.Chrome]:
    """Open a browser of this size, for a system that prefers light or dark."""
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    with TemporaryDirectory() as folder, open_browser(Path(folder)) as browser:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        yield browser


def show_swagger_ui(installation: Installation) -> None:
    """Show Swagger UI, and an example that it carried out."""
    with show(width=WIDTH, height=HEIGHT) as browser:
        browser.get(f"{installation.url}/docs/")
        wait_for(browser, ".opblock")
        take(browser, "api-page.png", "body")
        authorize(browser, installation.key)
        execute(browser, "createUser")
        execute(browser, "deployInstance", fold=False)  # needs the port of the example
        browser.execute_script(HIDE, installation.key)
        take(browser, "api-page-executed.png", ".opblock[id$='-deployInstance'] .responses-wrapper")


def deploy_games(installation: Installation) -> str:
    """Deploy a few instances of the game; return the id of one."""
    send = requests.Session()
    send.headers["x-api-key"] = installation.key
    send.patch(f"{installation.url}/api/nodes/local", json={"publicAddress": "play.example.org"})
    for name in ("practice", "tournament", "friends", "harbour"):
        port = free_port()
        body = {"name": name, "user": "admin", "nodeId": "local", "image": GAME["Name"],
                "memory": 512, "cpu": 0.5, "ports": f"{port}:{port}", "primary": port}  # fmt: skip
        made = send.post(f"{installation.url}/api/instances?wait=30", json=body)
        made.raise_for_status()
        if name == "practice":
            send.post(f"{installation.url}/api/instances/{made.json()['Id']}/stop")
    return str(made.json()["Id"])


def show_console(installation: Installation) -> None:
    """Show an instance in the light and in the dark, and the list on a phone."""
    instance_id = deploy_games(installation)
    with (
        show(width=WIDTH, height=CONSOLE_HEIGHT) as light,
        show(width=WIDTH, height=CONSOLE_HEIGHT, dark=True) as dark,
        show(width=PHONE_WIDTH, height=PHONE_HEIGHT) as phone,
    ):
        sign_in(light, installation, f"#/instances/{instance_id}")
        wait_for(light, ".command input").send_keys("weather clear\n")
        sign_in(dark, installation, f"#/instances/{instance_id}")
        sign_in(phone, installation)
        time.sleep(MEASURED_S)
        for browser, name in (
            (light, "console.png"),
            (dark, "console-dark.png"),
            (phone, "console-phone.png"),
        ):
            browser.execute_script("document.activeElement.blur()")
            save(browser, name)
    show_drain(installation)


def show_drain(installation: Installation) -> None:
    """Show a node that is drained, whose instances fit nowhere else."""
    send = requests.Session()
    send.headers["x-api-key"] = installation.key
    spare = {"name": "spare", "driver": "process", "schedulable": False, "allowSameEngine": True}
    send.post(f"{installation.url}/api/nodes", json=spare).raise_for_status()
    send.post(f"{installation.url}/api/nodes/local/drain").raise_for_status()
    with show(width=WIDTH, height=NODES_HEIGHT) as browser:
        sign_in(browser, installation, "#/nodes")
        wait_for(browser, "[data-tone=bad]")  # it is blocked
        wait_for(browser, "details:not([hidden]) li a")
        click(browser, "summary")
        browser.execute_script("document.activeElement.blur()")
        save(browser, "console-nodes.png")


def main() -> None:
    """Take them, each page on an installation of its own."""
    for show_page in (show_swagger_ui, show_console):
        with TemporaryDirectory() as folder, new_installation(Path(folder)) as installation:
            import_image(Path(folder), GAME)
            show_page(installation)


if __name__ == "__main__":
    main()
