"""What a container that replaces another one is like, and what is held for it meanwhile (pure)."""

from collections.abc import Iterable, Mapping
from typing import Any, cast

from service.model.documents import Instance, Operation, Replacement, Reserved, Settings
from service.model.lifecycle import OperationKind
from service.model.quantities import disk_mib


def new_replacement(*, keep_volume: bool = True, run: bool | None = None) -> Replacement:
    """Make the beginning of a replacement."""
    return Replacement(begun=False, found=False, run=run, undo=None, keep_volume=keep_volume)


def changes_of(operation: Operation) -> Settings:
    """Return what the operation changes; nothing where it makes again what was there before."""
    replacement = operation.get("replacement")
    undoing = replacement is not None and replacement["undo"] is not None
    return Settings() if undoing else operation.get("changes", Settings())


def with_changes(instance: Instance, changes: Settings) -> Instance:
    """Make the instance as it is with these changes."""
    return cast("Instance", {**instance, **changes})


def foresee(instance: Instance, operation: Operation | None) -> Instance:
    """Make the instance as it is once the operation, if there is one, has succeeded."""
    return instance if operation is None else with_changes(instance, changes_of(operation))


def hold(instance: Instance, changes: Iterable[Settings]) -> tuple[list[int], Reserved]:
    """Return the ports and the size that suffice whichever of the changes come about."""
    possible: list[Mapping[str, Any]] = [instance, *changes]
    ports = [pair["host"] for each in possible for pair in each.get("port_map", ())]
    return list(dict.fromkeys(ports)), Reserved(
        memory_mib=max(each.get("memory_mib", 0) for each in possible),
        cpu_milli=max(each.get("cpu_milli", 0) for each in possible),
        disk_mib=disk_mib(instance["disk_gb"]),
    )


def held_by(instance: Instance) -> Reserved:
    """Return what is promised to the instance now."""
    needed = Reserved(memory_mib=instance["memory_mib"], cpu_milli=instance["cpu_milli"])
    held = instance.get("reserved") or needed
    return {**held, "disk_mib": disk_mib(instance["disk_gb"])}


def inherit(later: Operation, earlier: Operation) -> dict[str, Any]:
    """Return what a later operation is to be, in place of an earlier one that did not end.

    It makes the changes of both, where the earlier one was not being undone, and knows that what
    was there before may be gone.
    """
    before, after = earlier["replacement"], later["replacement"]
    lives = before["undo"] is None
    reinstalls = OperationKind.REINSTALL in (later["kind"], earlier["kind"] if lives else None)
    return {
        "kind": OperationKind.REINSTALL if reinstalls else OperationKind.UPDATE,
        "changes": {**changes_of(earlier), **later.get("changes", {})},
        "replacement": Replacement(
            begun=before["begun"],
            found=before["found"],
            run=before["run"] if after["run"] is None else after["run"],
            undo=None,
            keep_volume=after["keep_volume"] and (before["keep_volume"] or not lives),
        ),
    }
