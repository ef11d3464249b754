"""The images that come with Skyquay."""

import json
import re
from datetime import timedelta

import pytest
import requests

from service import instances
from service.contract.image_files import ImageFile
from service.drivers.process.runner import ProcessRunner
from service.model.lifecycle import PowerAction
from service.model.ports import parse
from service.serving.first_start import STARTER_IMAGES, import_images
from tests.support import AT_NOON, NOON, a_node, a_user, an_order, eventually, free_port, run_due

pytestmark = pytest.mark.spawns

FILES = sorted(STARTER_IMAGES.glob("*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_field_is_known(path):
    """A starter image has no field that nobody reads."""
    document = json.loads(path.read_text())
    known = {field.data_key or name for name, field in ImageFile().fields.items()}

    assert set() == set(document) - known


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_image_is_pinned(path):
    """No starter image runs whatever is newest."""
    document = json.loads(path.read_text())

    unpinned = [ref for ref in document["AltImages"] if ":" not in ref or ref.endswith(":latest")]
    assert ([], document["Image"]) == (unpinned, document["AltImages"][0])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_variable_is_used(path):
    """A variable that an image asks for is read by its command."""
    document = json.loads(path.read_text())

    unused = [name for name in document["Variables"] if f"${name}" not in document["Cmd"]]
    assert [] == unused


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_secrets_are_marked(path):
    """What is called a password, a secret, a token or a key is never answered."""
    variables = json.loads(path.read_text())["Variables"]

    bare = [
        name
        for name, variable in variables.items()
        if re.search("PASS|SECRET|TOKEN|KEY", name.upper()) and not variable.get("secret")
    ]
    assert [] == bare


def test_they_are_listed_in_order(store):
    """The catalogue begins with the first file, also after a restart."""
    imported = import_images(store, STARTER_IMAGES, now=NOON)

    assert [image["name"] for image in imported] == [image["name"] for image in store.images.all()]
    assert "Static web server" == imported[0]["name"]


def test_importing_again_replaces(store):
    """An image of the same name is replaced and keeps its id."""
    first = import_images(store, STARTER_IMAGES, now=NOON)
    second = import_images(store, STARTER_IMAGES, now=NOON + timedelta(days=1))

    assert [image["_id"] for image in first] == [image["_id"] for image in second]


def test_only_the_web_server_runs_as_a_process():
    """Of the images that a stranger gets, one may run outside a container."""
    marked = [path.stem for path in FILES if json.loads(path.read_text()).get("process")]

    assert ["01-static-web"] == marked


def test_the_web_server_serves(store, memory_nodes, tmp_path):
    """The first image, deployed as a process, answers HTTP on its port."""
    image = import_images(store, STARTER_IMAGES, now=NOON)[0]
    node = a_node(store, memory_nodes)
    port = free_port()
    order = an_order(a_user(store), node, image, ports=parse(f"{port}:{port}"), primary=port)
    instance, _ = instances.deploy(store, order, origin=AT_NOON)
    runner = ProcessRunner(node["_id"], root=tmp_path / "instances")
    run_due(store, lambda _, **__: runner)

    def answer():
        try:
            return requests.get(f"http://127.0.0.1:{port}/", timeout=5).status_code
        except requests.ConnectionError:
            return None

    status = eventually(answer)

    runner.power(instance["_id"], PowerAction.KILL)
    runner.remove(instance["_id"])
    assert 200 == status
