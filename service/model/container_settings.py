"""How an instance's container is run: what is set, and what its node allows (pure)."""

import re
from typing import cast

from service.errors import InvalidInput, NotSupported
from service.model.documents import ContainerSettings, Instance, Node
from service.model.driver_traits import CONTAINER_SETTINGS, traits_of
from service.model.orders import ContainerOrder

MAX_STOP_GRACE_S = 300

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

    Raises NotSupported for what the node's driver cannot do, InvalidInput for more than it has.
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
    _check_bounds(chosen, node)
    return chosen


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


def _check_bounds(chosen: ContainerSettings, node: Node) -> None:
    report = node["report"]
    if report is None:
        return
    cores, memory_mib = report["cpu_milli"], report["memory_mib"]
    if chosen["cpuset"] is not None and cores is not None:
        last = max(last for _, last in _list_ranges(chosen["cpuset"]))
        if last >= cores // 1000:
            raise InvalidInput(
                "The node has not so many cores.",
                cpuset=[f"Its cores are 0 to {cores // 1000 - 1}."],
            )
    if memory_mib is not None and chosen["swap_mib"] > memory_mib:
        raise InvalidInput(
            "This is more swap than the node has memory.", swap=[f"At most {memory_mib} MiB."]
        )


def _list_ranges(cores: str) -> list[tuple[int, int]]:
    pairs = [part.partition("-") for part in cores.split(",")]
    return [(int(first), int(last or first)) for first, _, last in pairs]
