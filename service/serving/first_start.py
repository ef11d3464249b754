"""What `skyquay up` finds or makes, so that somebody new has something to call."""

import secrets
import socket
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from cryptography.fernet import Fernet

from service import images, keys, nodes, users, variables
from service.config import Config
from service.drivers import DriverFactory
from service.errors import InvalidInput
from service.model.documents import Image, Node
from service.model.driver_traits import DOCKER, PROCESS, traits_of
from service.model.node_policy import NodePolicy
from service.model.orders import NodeOrder
from service.security import key_files
from service.store import Store

STARTER_IMAGES = Path(__file__).parent.parent / "starter_images"
FIRST_PORT = 8080
FIRST_USER = "admin"


def keep_secret_key(data_dir: Path) -> str:
    """Read the secret key from the data folder; make one, for its owner only, if need be."""
    return key_files.keep(data_dir / "secret.key", lambda: Fernet.generate_key().decode())


def find_or_make_key(store: Store, *, keep_in: Path | None, now: datetime) -> str | None:
    """Make the first API key. None when there is one: nobody but its holder knows it.

    With `keep_in` it is written into this file, which only its owner can read, before it is worth
    anything: a crash in between loses no key.
    """
    if store.keys.all():
        return None
    key = None if keep_in is None else key_files.keep(keep_in, keys.make_key)
    return keys.create(store, name="first", key=key, now=now)[1]


def find_or_make_user(store: Store, *, now: datetime) -> str:
    """Make the first user, who has a password that nobody knows. Answers the id of the oldest."""
    found = store.users.all()
    if found:
        return found[0]["_id"]
    user = users.create(
        store,
        user_id=FIRST_USER,
        username=FIRST_USER,
        email="admin@example.com",
        password=secrets.token_urlsafe(32),
        admin=True,
        now=now,
    )
    return user["_id"]


def find_or_import_images(store: Store, *, now: datetime) -> Image:
    """Import the starter images into an empty catalogue. Answers one to begin with."""
    found = store.images.all() or import_images(store, STARTER_IMAGES, now=now)
    return next((image for image in found if image["process"]), found[0])


def import_images(store: Store, path: Path, *, now: datetime) -> list[Image]:
    """Import one image document, or all `*.json` of a folder, by name.

    All are read before the first is written. Raises InvalidInput, which names the file, for one
    that is no image, and for a folder without any.
    """
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files:
        raise InvalidInput(f"There is no *.json in {path}.")
    fields = [_read_image(file) for file in files]
    # A moment apart, so that they are listed in the order of their files.
    return [
        images.put(store, each, now=now + timedelta(milliseconds=position))
        for position, each in enumerate(fields)
    ]


def find_or_make_node(
    store: Store, open_driver: DriverFactory, config: Config, *, now: datetime
) -> Node | None:
    """Register this machine as the node `local` where there is no node. Answers the oldest node."""
    found = store.nodes.all()
    if found or config.local_node == "none":
        return found[0] if found else None
    driver = traits_of(config.local_node)
    if config.local_node == "auto":
        driver = DOCKER if _docker_answers() else PROCESS
    order = NodeOrder(name="local", driver=driver.name, address=driver.local_address)
    return nodes.create(
        store,
        open_driver,
        order,
        policy=NodePolicy(allow_process=config.allow_process),
        trusted_address=True,
        now=now,
    )


def find_free_port(store: Store, node: Node) -> int:
    """Find a host port for a first instance that neither an instance nor a program holds."""
    taken = {
        port for instance in store.instances.list_on(node["_id"]) for port in instance["ports"]
    }
    return next(
        port
        for port in range(FIRST_PORT, 65536)
        if port not in taken and _is_free(port, socket.socket)
    )


def _is_free(port: int, make_socket: Callable[[], socket.socket]) -> bool:
    with make_socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


def _docker_answers() -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(3)
        try:
            probe.connect(DOCKER.local_address.removeprefix("unix://"))
        except OSError:
            return False
    return True


def _read_image(path: Path) -> Any:
    from service.contract.image_files import ImageFile  # a worker does without marshmallow

    try:
        document = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as exc:
        raise InvalidInput(f"{path} cannot be read: {exc}") from exc
    if problems := ImageFile().validate(document):
        raise InvalidInput(f"{path} is no image.", **problems)
    fields = ImageFile().load(document)
    try:
        images.check(fields)
        return {**fields, "variables": variables.declare(fields["variables"])}
    except InvalidInput as exc:
        raise InvalidInput(f"{path} is no image.", **exc.details) from exc
