"""How an engine comes by an image."""

import time
from collections.abc import Callable
from urllib.parse import urlencode

import requests
from docker import auth
from docker.errors import InvalidRepository, NotFound
from docker.utils import parse_repository_tag

from service.drivers.docker.client import Client
from service.drivers.docker.pull import Pull, PullFailed
from service.errors import NodeFailure, NodeRefused

CHECKPOINT_EVERY_S = 1.0

MAX_PULL_BYTES = 256 * 2**20
"""How much an engine may say of the progress of one pull."""


def fetch(
    engine: Client,
    image: str,
    *,
    timeout_s: float,
    silence_s: float,
    checkpoint: Callable[[], None],
    report: Callable[[str], None],
) -> None:
    """Have the engine fetch the image where it is missing, as `NodeDriver.pull` promises it.

    An engine that says nothing for `silence_s` is asked whether it is still there.
    """
    if _has_image(engine, image):
        report("The image is there already.")
        return
    began = asked_at = time.monotonic()
    # A moment more, because who waits for the pull ends it with a sentence of its own.
    pull = _begin_pull(engine, image, timeout_s=timeout_s + silence_s)
    try:
        ended = False
        while not ended:
            ended = pull.has_ended(timeout_s=CHECKPOINT_EVERY_S)
            report(pull.progress)
            checkpoint()
            now = time.monotonic()
            if now - began > timeout_s:
                raise NodeRefused(
                    engine.node_id, f"The pull of {image} did not end within {timeout_s:g} s."
                )
            if min(pull.silent_s, now - asked_at) > silence_s:
                # The registry may be slow. But an engine that is gone says nothing either.
                _has_image(engine, image)
                asked_at = time.monotonic()
    finally:
        pull.hang_up()
    _require_pulled(engine, pull, image)


def _has_image(engine: Client, image: str) -> bool:
    """Return whether the engine has the image."""
    try:
        engine.inspect_image(image)
    except NotFound:
        return False
    return True


def _begin_pull(engine: Client, image: str, *, timeout_s: float) -> Pull:
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


def _require_pulled(engine: Client, pull: Pull, image: str) -> None:
    """Raise what ended the pull, unless the engine has the image."""
    try:
        pull.require_success()
    except PullFailed as exc:
        if exc.status == requests.codes.not_found:
            raise NodeRefused(engine.node_id, f"Image {image} not found on the registry.") from exc
        is_client_error = exc.status is not None and 400 <= exc.status < 500
        kind = NodeRefused if is_client_error else NodeFailure
        raise kind(engine.node_id, f"Cannot pull {image}: {exc.reason}") from exc
    if not _has_image(engine, image):
        raise NodeFailure(engine.node_id, f"The pull of {image} ended without the image.")
