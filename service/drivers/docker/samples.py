"""What the containers of an engine have used, and how large their volumes are."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from docker.errors import NotFound
from docker.utils import version_gte

from service.drivers import ContainerSample
from service.drivers.docker import podman
from service.drivers.docker.client import Client
from service.drivers.engine_usage import to_sample

ONE_SHOT_VERSION = "1.41"
"""The API from which on an engine takes one measurement, and not two with a second between them."""

VOLUMES_VERSION = "1.42"
"""The API from which on an engine adds up volumes without images and containers."""


def read_samples(engine: Client, instance_ids: Sequence[str]) -> Mapping[str, ContainerSample]:
    """Read what the containers of these names have used until now; what does not run is left out.

    A container that has another name is left out too: to look for it would double the calls.
    """
    one_shot = True if version_gte(engine.api_version, ONE_SHOT_VERSION) else None
    found = {}
    for instance_id in instance_ids:
        try:
            answer = _read(engine, instance_id, one_shot=one_shot)
        except NotFound:
            continue
        sample = to_sample(answer) if answer else None
        if sample is not None:
            found[instance_id] = sample
    return found


def read_two(engine: Client, reference: str) -> Mapping[str, Any] | None:
    """Take two measurements of a container, a second apart; None when it does not run any more."""
    first = _read(engine, reference)
    if first is None or not engine.is_podman:
        return first
    time.sleep(podman.BETWEEN_MEASUREMENTS_S)
    second = _read(engine, reference)
    return second and {**second, "preread": first["read"], "precpu_stats": first["cpu_stats"]}


def _read(
    engine: Client, reference: str, *, one_shot: bool | None = None
) -> Mapping[str, Any] | None:
    """Have a container measured. None: Podman has nothing to say of what does not run."""
    client: Any = engine  # whose own methods are not in its types
    params = {"stream": False, **({"one-shot": one_shot} if one_shot else {})}
    answer = client._get(client._url("/containers/{0}/stats", reference), params=params)
    if engine.is_podman and answer.ok and not answer.content:
        return None
    measured: Mapping[str, Any] = client._result(answer, json=True)
    return measured


def measure_volumes(engine: Client, instance_ids: Sequence[str]) -> Mapping[str, int]:
    """Have the engine add up its volumes, and take those of these names. -1: it does not know."""
    only = {"type": "volume"} if version_gte(engine.api_version, VOLUMES_VERSION) else {}
    client: Any = engine  # whose own methods are not in its types
    answer = client._result(client._get(client._url("/system/df"), params=only), json=True)
    sizes = {each["Name"]: each["UsageData"]["Size"] for each in answer["Volumes"] or ()}
    return {each: sizes[each] for each in instance_ids if sizes.get(each, -1) >= 0}
