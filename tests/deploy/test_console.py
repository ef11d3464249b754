"""The console in a real browser: on a new installation, and on many instances in memory."""

import pytest
import requests
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from tests.api.test_console import SOURCES
from tests.browsing import list_foreign, list_loaded, open_browser, sign_in, wait_for
from tests.installation import import_image, new_installation
from tests.support import a_node, eventually, free_port

pytestmark = [pytest.mark.spawns, pytest.mark.browser]

ECHO = {
    "Name": "Echo",
    "Description": "Says again what it is told.",
    "Image": "example.org/echo:1",
    "AltImages": ["example.org/echo:1"],
    "Scripts": {"Install": []},
    "Cmd": "echo Level $LEVEL; while read line; do echo Heard $line; done",
    "process": True,
    "Variables": {
        "LEVEL": {
            "type": "text",
            "default": "1",
            "required": True,
            "description": "How loud it is.",
            "schema": {"type": "integer", "minimum": 1, "maximum": 9},
        },
        "MODE": {
            "type": "text",
            "default": "calm",
            "required": True,
            "schema": {"type": "string", "enum": ["calm", "wild"]},
        },
    },
}


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    """A new installation, which serves, with an image whose program reads lines."""
    folder = tmp_path_factory.mktemp("up")
    with new_installation(folder) as installation:
        import_image(folder, ECHO)
        yield installation


@pytest.fixture
def browser(tmp_path):
    """A browser of its own. Afterwards it has no error of a script, and nothing was forbidden."""
    with open_browser(tmp_path) as browser:
        yield browser
        logged = [each for each in browser.get_log("browser") if each["source"] != "network"]
        assert [] == [each for each in logged if each["level"] == "SEVERE"]


def call(server, method, path, body=None):
    """Call the API past the page."""
    headers = {"x-api-key": server.key}
    answer = requests.request(method, server.url + path, json=body, headers=headers, timeout=30)
    answer.raise_for_status()
    return answer.json() if answer.content else None


def fill(browser, **values):
    """Enter values into fields of the form; a dot of their names is `__`."""
    for name, value in values.items():
        field = wait_for(browser, f"[name='{name.replace('__', '.')}']")
        if field.tag_name == "select":
            Select(field).select_by_visible_text(value)
        else:
            field.clear()
            field.send_keys(value)


def wait_for_text(browser, selector, text):
    """Wait until an element of this kind has this text; return it."""

    def find():
        found = browser.execute_script(
            "return [...document.querySelectorAll(arguments[0])]"
            ".find((each) => each.textContent.includes(arguments[1]))",
            selector,
            text,
        )
        return found or None

    return eventually(find)


def read_shown(browser, selector):
    """Wait until an element is shown; return its text."""
    # In one step: the page may draw it anew between two.
    read = "return document.querySelector(arguments[0])?.innerText"
    hidden = "return document.querySelector(arguments[0])?.offsetParent === null"
    return eventually(
        lambda: (
            not browser.execute_script(hidden, selector) and browser.execute_script(read, selector)
        )
    )


def press(browser, text):
    """Press the button of this text."""
    wait_for_text(browser, "button", text).click()


def tab_to(browser, selector, *keys):
    """Press the tab key until this element has the focus."""
    for _ in range(60):
        if browser.execute_script("return document.activeElement.matches(arguments[0])", selector):
            return
        ActionChains(browser).send_keys(*keys, Keys.TAB).perform()
    pytest.fail(f"{selector} cannot be reached")


def deployed(server, name):
    """List the instances of this name."""
    return call(server, "GET", f"/api/instances?name={name}")


def test_each_module_is_one(browser, installation):
    """
    A browser can load each of them.
    """
    browser.get(f"{installation.url}/console/")

    failed = browser.execute_async_script(
        """const [names, done] = arguments;
        Promise.all(names.map((name) => import("/console/" + name).then(() => null, String)))
            .then((problems) => done(problems.filter(Boolean)));""",
        [name for name in SOURCES if name.endswith(".js")],
    )

    assert [] == failed


def test_a_wrong_key_is_answered_in_words(browser, installation):
    """
    The API says what is wrong, and under which id its log has it; nothing of the key is kept.
    """
    browser.get(f"{installation.url}/console/")
    wait_for(browser, "#key").send_keys("sq_wrong", Keys.ENTER)

    said = wait_for(browser, "[role=alert]").text

    assert "its key is not valid" in said
    assert "request " in said
    assert [] == browser.execute_script("return Object.values(sessionStorage)")


def test_the_key_is_forgotten(browser, installation):
    """
    It outlives a reload of the tab, is in no address, and is gone after signing out.
    """
    sign_in(browser, installation)
    browser.refresh()
    wait_for(browser, "header")
    assert [] == [name for name in list_loaded(browser) if installation.key in name]

    press(browser, "Sign out")
    wait_for(browser, "#key")

    kept = "return JSON.stringify([{...sessionStorage}, {...localStorage}, document.cookie])"
    assert installation.key not in browser.execute_script(kept)


def test_an_instance_lives(browser, installation):
    """
    It is deployed by the form, becomes ready, hears a line, is stopped and deleted; all of this is
    seen as it happens, and the page loads nothing from anywhere else.
    """
    sign_in(browser, installation, "#/deploy")
    fill(browser, name="echo", image="Echo", memory="128", ports=f"80:{free_port()}")
    assert "How loud it is." in wait_for_text(browser, ".field", "LEVEL").text
    fill(browser, variables__LEVEL="7", variables__MODE="wild")
    press(browser, "Deploy")
    wait_for_text(browser, "instance-view .pill", "running")
    wait_for_text(browser, "instance-view .pill", "succeeded")
    wait_for_text(browser, ".screen", "Level 7")

    wait_for(browser, ".command input").send_keys("hello", Keys.ENTER)
    wait_for_text(browser, ".screen", "Heard hello")
    wait_for_text(browser, "figcaption", " of 1 core")
    press(browser, "Stop")
    wait_for_text(browser, "instance-view .title .pill", "stopped")
    press(browser, "Delete")
    wait_for_text(browser, "dialog button", "Delete").click()
    wait_for(browser, "instance-list")
    wait_for_text(browser, "#status", "echo is deleted.")

    assert [] == deployed(installation, "echo")
    assert [] == list_foreign(browser, installation.url)


def test_errors_are_shown_at_their_fields(browser, installation):
    """
    What the API says of a field is under it, the first such field has the focus, and what was
    entered stays.
    """
    sign_in(browser, installation, "#/deploy")
    fill(browser, name="wrong", image="Echo", memory="lots", variables__LEVEL="12")
    press(browser, "Deploy")

    wait_for(browser, "[aria-invalid]")

    said = {
        name: browser.find_element(By.ID, f"error-{name}").text
        for name in ("name", "memory", "variables.LEVEL", "variables.MODE")
    }
    assert {
        "name": "",
        "memory": "'lots' is not an amount of memory, like 512 or 512M or 2G.",
        "variables.LEVEL": "Must be at most 9.",
        "variables.MODE": "",
    } == said
    assert "memory" == browser.switch_to.active_element.get_attribute("name")
    assert [] == deployed(installation, "wrong")


def test_free_ports_are_found(browser, installation):
    """
    The form takes `auto` as a host port, also of several that follow each other; the first is the
    primary one.
    """
    sign_in(browser, installation, "#/deploy")
    fill(browser, name="anywhere", image="Echo", memory="128", ports="80-81:auto, 90:auto")

    press(browser, "Deploy")
    wait_for(browser, "instance-view")

    [made] = deployed(installation, "anywhere")
    assert made["Ports"].startswith(f"80:{made['Primary']},81:")


def test_two_clicks_deploy_once(browser, installation):
    """
    What is sent twice has one `Idempotency-Key`: one instance is made.
    """
    sign_in(browser, installation, "#/deploy")
    fill(browser, name="twice", image="Echo", ports=f"80:{free_port()}")

    browser.execute_script(
        """const form = document.querySelector("deploy-form");
        const event = () => new Event("submit", {cancelable: true});
        form.submit(event());
        form.button.disabled = false;
        form.submit(event());"""
    )
    wait_for(browser, "instance-view")

    assert 1 == len(deployed(installation, "twice"))


def test_a_change_heeds_what_others_changed(browser, installation):
    """
    Whoever edits what somebody else has changed meanwhile is told so, and overwrites nothing.
    """
    body = {"name": "edited", "image": "Echo", "nodeId": "local", "user": "admin", "memory": 64,
            "cpu": 1}  # fmt: skip
    port = free_port()
    made = call(
        installation,
        "POST",
        "/api/instances?wait=30",
        {**body, "ports": f"80:{port}", "primary": port},
    )
    sign_in(browser, installation, f"#/deploy/{made['Id']}")
    fill(browser, name="mine")
    call(installation, "PATCH", f"/api/instances/{made['Id']}", {"name": "theirs"})

    press(browser, "Save")

    assert "changed" in wait_for(browser, "[role=alert]").text
    assert "theirs" == call(installation, "GET", f"/api/instances/{made['Id']}")["Name"]


def test_a_keyboard_is_enough(browser, installation):
    """
    Signing in and deploying need no mouse, and the focus is seen where it is.
    """
    browser.get(f"{installation.url}/console/")
    wait_for(browser, "#key:focus")
    ActionChains(browser).send_keys(installation.key, Keys.ENTER).perform()
    wait_for(browser, "instance-list")
    tab_to(browser, "a[href='#/deploy']", Keys.SHIFT)
    ActionChains(browser).send_keys(Keys.ENTER).perform()
    wait_for(browser, "[name=name]:focus")
    ActionChains(browser).send_keys("by keyboard").perform()
    tab_to(browser, "[name=image]")
    ActionChains(browser).send_keys("Ec").perform()
    tab_to(browser, "[name=ports]")
    ActionChains(browser).key_down(Keys.CONTROL).send_keys("a").key_up(Keys.CONTROL).perform()
    ActionChains(browser).send_keys(f"80:{free_port()}", Keys.ENTER).perform()

    wait_for_text(browser, "instance-view .title .pill", "running")

    assert ["Echo"] == [each["ImageName"] for each in deployed(installation, "by%20keyboard")]


def test_what_others_do_is_seen(browser, live_server, api, ready):
    """
    A list shows what somebody else does, without being loaded again.
    """
    sign_in(browser, live_server)
    wait_for_text(browser, ".connection", "Live")
    wait_for_text(browser, ".rows .pill", "running")

    call(live_server, "POST", f"/api/instances/suspend/{ready}")

    wait_for_text(browser, ".rows .pill", "suspended")
    assert "Unsuspend" == wait_for_text(browser, ".rows button:not([hidden])", "").text


def card_of(browser, name):
    """Wait for the card of a node."""
    return wait_for_text(browser, "node-list .card", name)


def test_a_node_is_drained_and_gets_its_instances_again(
    browser, live_server, store, memory_nodes, node, ready
):
    """
    Each node says where its drain is, and has the buttons for what can be done then.
    """
    other = a_node(store, memory_nodes, name="other")
    store.nodes.update(node["_id"], {"name": "home"})
    sign_in(browser, live_server, "#/nodes")

    card_of(browser, "home").find_element(By.XPATH, ".//button[text()='Drain']").click()
    wait_for_text(browser, "dialog button", "Drain").click()
    wait_for_text(browser, "node-list .card .pill", "drained")
    moved_to = store.instances.get(ready)["node_id"]
    press(browser, "Undo")
    wait_for_text(browser, "dialog button", "Move back").click()
    eventually(lambda: store.nodes.get(node["_id"])["drain"] == "undone")

    eventually(lambda: "Undo" not in card_of(browser, "home").text)
    assert (other["_id"], node["_id"]) == (moved_to, store.instances.get(ready)["node_id"])


def test_a_drain_says_what_it_cannot_move(browser, live_server, store, node, ready):
    """
    With the reason; it can be paused, and goes on.
    """
    call(live_server, "POST", f"/api/nodes/{node['_id']}/drain")
    name = store.instances.get(ready)["name"]
    sign_in(browser, live_server, "#/nodes")
    wait_for_text(browser, "node-list .card .pill", "drain blocked")
    wait_for_text(browser, "node-list summary", "1 instance cannot be moved").click()
    said = wait_for_text(browser, ".stuck li", ": ").text
    link = browser.find_element(By.CSS_SELECTOR, ".stuck a").get_attribute("hash")

    press(browser, "Pause")
    wait_for_text(browser, "node-list .card .pill", "drain paused")
    press(browser, "Resume")
    wait_for_text(browser, "node-list .card .pill", "drain blocked")

    assert (f"#/instances/{ready}", True) == (link, said.startswith((name, ready)))
    assert "0 of 1 instance moved" in read_shown(browser, "node-list .card")


def test_a_node_that_gets_no_more_instances_is_cordoned(browser, live_server, node):
    """
    It says so in a word.
    """
    sign_in(browser, live_server, "#/nodes")
    call(live_server, "PATCH", f"/api/nodes/{node['_id']}", {"schedulable": False})

    wait_for_text(browser, "node-list .card .pill", "cordoned")


def test_an_instance_is_moved(browser, live_server, store, memory_nodes, node, ready):
    """
    To a node that is chosen, or to whichever fits best; its operation says where to.
    """
    other = a_node(store, memory_nodes, name="other")
    sign_in(browser, live_server, f"#/instances/{ready}")

    for choice, goal in (("other", other), ("Whichever", node)):
        press(browser, "Move")
        options = wait_for(browser, "dialog[open] select")
        [found] = [each for each in Select(options).options if each.text.startswith(choice)]
        found.click()
        wait_for_text(browser, "dialog button", "Move").click()
        wait_for_text(browser, "instance-view dd", goal["name"])
        wait_for_text(browser, "operation-list h3", f" to {goal['name']}")
        assert goal["_id"] == store.instances.get(ready)["node_id"]


def test_a_transfer_says_how_much_is_copied(
    browser, live_server, database, memory_nodes, place, store, ready
):
    """
    As a bar, while it is under way.
    """
    target = a_node(store, memory_nodes, name="other")
    memory_nodes[target["_id"]].faults.stall()
    begun = call(live_server, "POST", f"/api/instances/{ready}/transfer", {"nodeId": target["_id"]})
    copied = {"transfer.bytes_copied": 30, "transfer.bytes_total": 120}
    database.operations.update_one({"_id": begun["id"]}, {"$set": copied})
    sign_in(browser, live_server, "#/operations")
    wait_for_text(browser, "operation-list h3", " to other")

    shown = browser.execute_script(
        "const bar = document.querySelector('operation-list progress:not([hidden])');"
        "return bar && [bar.value, bar.max]"
    )

    memory_nodes[target["_id"]].faults.release()
    assert [30, 120] == shown


def test_a_deletion_is_undone(browser, live_server, store, ready):
    """
    What is kept is on a list of its own, and says for how long.
    """
    name = store.instances.get(ready)["name"]
    sign_in(browser, live_server, f"#/instances/{ready}")
    press(browser, "Delete")
    wait_for_text(browser, "dialog button", "Keep for a day").click()
    wait_for(browser, "instance-list")
    wait_for(browser, "[name=state]").send_keys("Deleted")
    wait_for_text(browser, ".rows .pill", "deleted")
    assert "gone in 24 hours" in wait_for_text(browser, ".rows li", name).text

    press(browser, "Restore")
    wait_for_text(browser, "instance-list .empty", "Nothing fits.")

    eventually(lambda: store.instances.get(ready)["power"] == "running")


def test_what_a_user_has_is_beside_the_quota(browser, live_server, store, place, ready):
    """
    Where an instance is looked at, and where one is deployed.
    """
    user_id = place[0]["_id"]
    call(live_server, "PATCH", f"/api/users/{user_id}", {"quota": {"memory": 512, "ports": 1}})
    sign_in(browser, live_server, f"#/instances/{ready}")
    said = wait_for_text(browser, "instance-view .card", "Memory: 128 MiB of 512 MiB").text
    browser.execute_script("location.hash = '#/deploy'")

    hint = wait_for_text(browser, "#hint-user", "Memory: 128 MiB of 512 MiB · Host ports: 1 of 1")

    assert "0 left" in said
    assert "Instances" not in hint.text


def test_it_says_when_it_is_offline(browser, live_server, ready):
    """
    Without a connection it says so, and goes on by itself once there is one.
    """
    sign_in(browser, live_server)
    wait_for_text(browser, ".connection", "Live")
    cut = {"latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    browser.execute_cdp_cmd("Network.enable", {})

    browser.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": True, **cut})
    wait_for_text(browser, ".connection", "Offline")
    all_of_it = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": False, **all_of_it})

    wait_for_text(browser, ".connection", "Live")


def test_what_is_missing_is_loaded_again(browser, live_server):
    """
    A page of which a part was not loaded, as when the network changed meanwhile, is loaded again by
    itself, once.
    """
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*/console/power.js"]})
    how = "return performance.getEntriesByType('navigation')[0].type"

    browser.get(f"{live_server.url}/console/")
    eventually(lambda: browser.execute_script(how) == "reload")
    browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})
    browser.refresh()

    wait_for(browser, "#key")
    browser.get_log("browser")  # has what was missing, when the second try was early enough


def test_thousands_are_shown_a_page_at_a_time(browser, live_server, database, ready):
    """
    Of three thousand instances fifty are read and shown, then the next fifty.
    """
    first = database.instances.find_one()
    copies = [
        {**first, "_id": f"i{number:011d}", "name": f"many-{number:04d}", "ports": []}
        for number in range(3000)
    ]
    database.instances.insert_many(copies)
    sign_in(browser, live_server)
    wait_for_text(browser, "instance-list [role=status]", "1 to 50 of 3,001 instances")
    names = "return [...document.querySelectorAll('.rows .name')].map((each) => each.textContent)"
    before = browser.execute_script(names)

    press(browser, "Next")
    wait_for_text(browser, "instance-list [role=status]", "51 to 100")

    after = browser.execute_script(names)
    assert (50, 50, set()) == (len(before), len(after), set(before) & set(after))
    fill(browser, name="many-2999")
    wait_for_text(browser, "instance-list [role=status]", "1 instance")


def test_empty_places_say_what_to_do(browser, live_server):
    """
    Where there is nothing yet the page says how there will be something.
    """
    sign_in(browser, live_server)
    said = [read_shown(browser, "instance-list .empty")]
    for place, view in (("#/nodes", "node-list"), ("#/deploy", "deploy-form")):
        browser.execute_script("location.hash = arguments[0]", place)
        said.append(read_shown(browser, f"{view} .empty"))

    assert ["No instances yet.", "No nodes yet.", "There is no image."] == [
        each.split("\n")[0] for each in said
    ]


@pytest.mark.parametrize("view", ["", "#/nodes", "#/operations", "#/deploy"])
def test_a_phone_is_wide_enough(browser, live_server, ready, view):
    """
    Nothing is wider than 360 pixels.
    """
    size = {"width": 360, "height": 780, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    sign_in(browser, live_server, view)
    wait_for(browser, "main h1")

    assert 360 >= browser.execute_script("return document.documentElement.scrollWidth")
