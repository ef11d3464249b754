"""The document of an instance that is deleted, and can be restored until it is purged."""

from datetime import datetime, timedelta
from typing import TypedDict, cast

from service.model.documents.instance import Instance, Settings
from service.model.lifecycle import InstanceState


class Kept(TypedDict):
    """How an instance was that is deleted, as far as its document does not say it."""

    state: InstanceState
    runs: bool  # whether its program was to run, but for a suspension
    intact: bool  # whether its container is as its document says; False: it may be anything


class DeletedInstance(Instance):
    """An instance that is DELETED, or DELETING once it is purged."""

    deleted_at: datetime
    purge_at: datetime
    kept: Kept


_OF_DELETED = DeletedInstance.__annotations__.keys() - Instance.__annotations__.keys()


def new_deleted(instance: Instance, kept: Kept, *, keep_s: float, now: datetime) -> DeletedInstance:
    """Make the document of an instance that is deleted, and kept for so many seconds.

    It holds its own size, and not what was held for changes or a transfer that were under way. Its
    ports are anybody's; on the node they are free once `power` is `stopped`.
    """
    return cast(
        "DeletedInstance",
        {
            **instance,
            "state": InstanceState.DELETED,
            "ports": [],
            "reserved": None,
            "arrival": None,
            "deleted_at": now,
            "purge_at": now + timedelta(seconds=keep_s),
            "kept": kept,
            "updated_at": now,
        },
    )


def new_restored(deleted: DeletedInstance, ports: Settings, *, now: datetime) -> Instance:
    """Make the document of an instance whose deletion is undone, with these ports.

    What was not installed to its end is FAILED until it is installed anew.
    """
    ready = deleted["kept"]["state"] == InstanceState.READY
    rest = {name: value for name, value in deleted.items() if name not in _OF_DELETED}
    return cast(
        "Instance",
        {
            **rest,
            **ports,
            "state": InstanceState.READY if ready else InstanceState.FAILED,
            "ports": [pair["host"] for pair in ports["port_map"]],
            "restored_at": now,
            "updated_at": now,
        },
    )
