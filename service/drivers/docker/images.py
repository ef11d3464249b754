"""How an engine comes by an image."""

from urllib.parse import urlencode

import requests
from docker import auth
from docker.errors import InvalidRepository, NotFound
from docker.utils import parse_repository_tag

from service.drivers.docker.client import Client
from service.drivers.docker.pull import Pull, PullFailed
from service.errors import NodeFailure, NodeRefused

MAX_PULL_BYTES = 256 * 2**20
"""How much an engine may say of the progress of one pull."""


def has_image(engine: Client, image: str) -> bool:
    """Return whether the engine has the image."""
    try:
        engine.inspect_image(image)
    except NotFound:
        return False
    return True


def begin_pull(engine: Client, image: str, *, timeout_s: float) -> Pull:
    """Have the engine fetch the image, which takes `timeout_s` at the most."""
    repository, tag = parse_repository_tag(image)
    try:
        registry, _ = auth.resolve_repository_name(repository)
    except InvalidRepository as exc:
        raise NodeRefused(engine.node_id, f"{image} is no name of an image.") from exc
    header = auth.get_config_header(engine, registry)
    query = urlencode({"fromImage": repository, "tag": tag or "latest"})
    engine.authorize()
    return Pull(
        lambda: engine.dial(timeout_s, MAX_PULL_BYTES),
        f"/v{engine.api_version}/images/create?{query}",
        {"X-Registry-Auth": header.decode()} if header else {},
    )


def require_pulled(engine: Client, pull: Pull, image: str) -> None:
    """Raise what ended the pull, unless the engine has the image."""
    try:
        pull.require_success()
    except PullFailed as exc:
        if exc.status == requests.codes.not_found:
            raise NodeRefused(engine.node_id, f"Image {image} not found on the registry.") from exc
        is_client_error = exc.status is not None and 400 <= exc.status < 500
        kind = NodeRefused if is_client_error else NodeFailure
        raise kind(engine.node_id, f"Cannot pull {image}: {exc.reason}") from exc
    if not has_image(engine, image):
        raise NodeFailure(engine.node_id, f"The pull of {image} ended without the image.")
