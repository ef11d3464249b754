"""How containers and volumes are made and removed while somebody else may do the same."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import requests
from docker.errors import APIError, NotFound

from service.drivers import ContainerSpec, ContainerStatus
from service.drivers.docker.client import Client
from service.drivers.docker.creation import make_config
from service.drivers.docker.inspection import find, make_refusal, to_status
from service.drivers.docker.labels import Labels
from service.errors import NodeFailure
from service.model.lifecycle import Power

SETTLE_TIMEOUT_S = 30.0
"""How long to wait for what somebody else is doing to the same container or volume."""

_POLL_S = 0.1


def make_volume(engine: Client, labels: Labels, instance_id: str) -> None:
    """Make the instance's volume, or adopt it. Raises NodeRefused for somebody else's."""
    volume = engine.create_volume(instance_id, labels=labels.make(instance_id))
    _require_our_volume(engine, labels, instance_id, volume)


def remove_volume(engine: Client, labels: Labels, instance_id: str) -> None:
    """Remove the instance's volume, if it is there. Raises NodeRefused for somebody else's."""
    try:
        volume = engine.inspect_volume(instance_id)
    except NotFound:
        return
    _require_our_volume(engine, labels, instance_id, volume)
    _until_gone(engine, lambda: engine.remove_volume(instance_id, force=True))


def make_container(
    engine: Client,
    labels: Labels,
    spec: ContainerSpec,
    *,
    checkpoint: Callable[[], None],
) -> ContainerStatus:
    """Make the container, or adopt it. 409: somebody else is making or removing it.

    Docker gives the name away before the container is to be seen, so once is not enough.
    """
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    while True:
        try:
            config = make_config(engine, spec, labels.make(spec.instance_id))
            made = engine.create_container_from_config(config, name=spec.instance_id)
            return ContainerStatus(made["Id"], Power.STOPPED)
        except NotFound as exc:
            raise NodeFailure(
                engine.node_id, f"The image {spec.image} is not on the node any more."
            ) from exc
        except APIError as exc:
            if exc.status_code != requests.codes.conflict:
                raise
        found = find(engine, labels, spec.instance_id)
        if found is not None:
            return to_status(found[1])
        if time.monotonic() > deadline:
            raise NodeFailure(engine.node_id, "The container vanished while it was made.")
        checkpoint()
        time.sleep(_POLL_S)


def remove_container(engine: Client, reference: str) -> None:
    """Kill and remove a container, if it is there."""
    # `v` takes the nameless volumes of the image's VOLUMEs, which nobody would find.
    _until_gone(engine, lambda: engine.remove_container(reference, v=True, force=True))


def _until_gone(engine: Client, remove: Callable[[], None]) -> None:
    """Ask for a removal until there is nothing to remove. 409: one is under way already.

    500: so Podman answers for a container that ends at that moment.
    """
    passing = {requests.codes.conflict}
    if engine.is_podman:
        passing.add(requests.codes.server_error)
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    while True:
        try:
            remove()
        except NotFound:
            return
        except APIError as exc:
            if exc.status_code not in passing or time.monotonic() > deadline:
                raise
            time.sleep(_POLL_S)
        else:
            return


def _require_our_volume(
    engine: Client, labels: Labels, instance_id: str, volume: Mapping[str, Any]
) -> None:
    if not labels.owns_volume(instance_id, volume.get("Labels")):
        raise make_refusal(engine.node_id, "volume", instance_id, volume.get("Labels"))
