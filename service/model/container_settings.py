"""How an instance's container is run: what is set, and what its node allows (pure)."""

import re
from typing import cast

from service.errors import InvalidInput, NotSupported
from service.model.documents import ContainerSettings, Instance, Node
from service.model.driver_traits import CONTAINER_SETTINGS, traits_of
from service.model.orders import ContainerOrder

MAX_STOP_GRACE_S = 300
MIN_STOP_GRACE_S = 8
"""The least that a node may allow: what a program has where nothing is said."""

DEFAULTS = ContainerSettings(
    swap_mib=0, cpuset=None, stop_grace_s=None, auto_start=True, timezone=None
)

_FIELDS = {"swap_mib": "swap", "stop_grace_s": "stopGrace", "auto_start": "autoStart"}
_CORES = re.compile(r"\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?)*", re.ASCII)
_ZONE = re.compile(r"[A-Za-z0-9_+-]{1,32}(/[A-Za-z0-9_+-]{1,32}){0,2}", re.ASCII)


def settings_of(instance: Instance) -> ContainerSettings:
    """Return what is set of the instance's container."""
    return instance.get("container", DEFAULTS)


def choose_settings(
    before: ContainerSettings, order: ContainerOrder, node: Node
) -> ContainerSettings:
    """Make the settings of what is ordered and, where nothing is, of those before.

    Raises NotSupported for what the node's driver cannot do, and like `check_bounds`.
    """
    sent = {name: value for name, value in order.items() if name in CONTAINER_SETTINGS}
    chosen = cast("ContainerSettings", {**before, **sent})
    driver = traits_of(node["driver"])
    ignored = [
        _FIELDS.get(name, name)
        for name, value in sent.items()
        if name not in driver.settings and {**DEFAULTS}[name] != value
    ]
    if ignored:
        raise NotSupported(
            "The node cannot do this.",
            **{name: [f"Nodes of the driver {driver.name!r} ignore it."] for name in ignored},
        )
    check_bounds(chosen, node)
    return chosen


def check_bounds(settings: ContainerSettings, node: Node) -> None:
    """Raise InvalidInput, which names each field, for more than the node has or allows."""
    excess = _find_excess(settings, node)
    if excess:
        raise InvalidInput(f"The node does not allow this: {', '.join(excess)}.", **excess)


def parse_cpuset(text: str) -> str:
    """Read which cores are meant, like 0-3,7. Raises ValueError."""
    cores = text.replace(" ", "")
    if not _CORES.fullmatch(cores) or any(first > last for first, last in _list_ranges(cores)):
        raise ValueError(f"{text!r} is no list of cores, like 0-3,7.")
    return cores


def parse_timezone(text: str) -> str:
    """Read the name of a time zone, like Europe/Helsinki. Raises ValueError."""
    if not _ZONE.fullmatch(text):
        raise ValueError(f"{text!r} is no name of a time zone, like Europe/Helsinki.")
    return text


def _find_excess(chosen: ContainerSettings, node: Node) -> dict[str, list[str]]:
    report = node["report"]
    cores = report and report["cpu_milli"] and report["cpu_milli"] // 1000
    memory_mib = report and report["memory_mib"]
    where = f"on the node {node['name']!r}"
    reasons: dict[str, list[str]] = {"swap": [], "cpuset": [], "stopGrace": []}
    if memory_mib is not None and chosen["swap_mib"] > memory_mib:
        reasons["swap"].append(f"At most {memory_mib} MiB {where}: its memory.")
    if (most_mib := node["max_swap_mib"]) is not None and chosen["swap_mib"] > most_mib:
        bound = f"At most {most_mib} MiB" if most_mib else "There is none"
        reasons["swap"].append(f"{bound} {where}.")
    wanted = _list_ranges(chosen["cpuset"]) if chosen["cpuset"] is not None else []
    if cores is not None and any(last >= cores for _, last in wanted):
        reasons["cpuset"].append(f"The cores {where} are 0 to {cores - 1}.")
    if (pinnable := node["pinnable_cores"]) is not None and not _contain(pinnable, wanted):
        reasons["cpuset"].append(f"Only the cores {pinnable} may be named {where}.")
    most_s = node["max_stop_grace_s"]
    if most_s is not None and (chosen["stop_grace_s"] or 0) > most_s:
        reasons["stopGrace"].append(f"At most {most_s} seconds {where}.")
    return {field: sentences for field, sentences in reasons.items() if sentences}


def _contain(cores: str, wanted: list[tuple[int, int]]) -> bool:
    """Return whether all that is wanted is among these cores."""
    whole: list[tuple[int, int]] = []
    for first, last in sorted(_list_ranges(cores)):
        if whole and first <= whole[-1][1] + 1:
            whole[-1] = (whole[-1][0], max(last, whole[-1][1]))
        else:
            whole.append((first, last))
    return all(any(a <= first and last <= b for a, b in whole) for first, last in wanted)


def _list_ranges(cores: str) -> list[tuple[int, int]]:
    pairs = [part.partition("-") for part in cores.split(",")]
    return [(int(first), int(last or first)) for first, _, last in pairs]
