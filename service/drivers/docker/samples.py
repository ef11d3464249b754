"""What the containers of an engine have used, and how large their volumes are."""

from collections.abc import Mapping, Sequence
from typing import Any

from docker.errors import NotFound
from docker.utils import version_gte

from service.drivers import ContainerSample
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
            answer: Any = engine.stats(instance_id, stream=False, one_shot=one_shot)
        except NotFound:
            continue
        sample = to_sample(answer)
        if sample is not None:
            found[instance_id] = sample
    return found


def measure_volumes(engine: Client, instance_ids: Sequence[str]) -> Mapping[str, int]:
    """Have the engine add up its volumes, and take those of these names. -1: it does not know."""
    only = {"type": "volume"} if version_gte(engine.api_version, VOLUMES_VERSION) else {}
    client: Any = engine  # whose own methods are not in its types
    answer = client._result(client._get(client._url("/system/df"), params=only), json=True)
    sizes = {each["Name"]: each["UsageData"]["Size"] for each in answer["Volumes"] or ()}
    return {each: sizes[each] for each in instance_ids if sizes.get(each, -1) >= 0}
