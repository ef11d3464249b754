"""The document of a node."""

from datetime import datetime
from typing import NotRequired, TypedDict, cast

from service.model.documents.operation import Lease
from service.model.drains import DrainStatus
from service.model.labelling import Labelling
from service.model.lifecycle import NodeStatus


class Report(TypedDict):
    """What a node said of itself when it was last probed."""

    version: str
    engine: str
    memory_mib: int | None
    cpu_milli: int | None
    disk_mib: NotRequired[int | None]  # of the disk that has the volumes; None: it does not say
    engine_id: NotRequired[str | None]  # what the engine is known by; None: it does not say


class Capacity(TypedDict):
    """What a node may give away."""

    memory_mib: int | None  # None: not limited, like the next two
    cpu_milli: int | None
    disk_mib: int | None


class Deploying(TypedDict):
    """Which deployment a node that bears one at a time is busy with, until when unless renewed."""

    operation_id: str
    instance_id: str
    until: datetime


class ConfigureKey(TypedDict):
    """What a node's daemon enrols itself with, once."""

    digest: str  # SHA-256 of the key, hex
    expires_at: datetime


class Allocated(TypedDict):
    """What a node's instances were promised, counted in the transaction that adds them."""

    memory_mib: int
    cpu_milli: int
    disk_mib: int
    instances: int


class HeldPort(TypedDict):
    """A host port that something else on the node was found to have."""

    port: int
    seen_at: datetime


class Node(TypedDict):
    """A machine that runs instances, and how to talk to it."""

    _id: str
    name: str
    tags: str | list[str]  # as sent, like the next four
    ram: str
    disk: str
    processor: str
    address: str
    port: int | None
    driver: str  # skyportd, docker, process or memory
    memory_overallocate: int | None  # percent above what it has; -1: not limited
    cpu_overallocate: int | None  # the same; None: not limited
    disk_overallocate: int | None  # the same
    max_swap_mib: int | None  # the most of one instance; None: no bound, like the next two
    pinnable_cores: str | None  # which an instance may be pinned to, like 0-3,7
    max_stop_grace_s: int | None
    schedulable: bool  # whether it gets more instances
    max_instances: int | None  # how many it may have; None: no bound
    drain: NotRequired[DrainStatus | None]  # of the latest drain; absent: there never was one
    port_range: str | None  # where free host ports are found, like 20000-39999; None: there
    held_ports: NotRequired[list[HeldPort]]  # which are not found for instances for a while
    status: NodeStatus
    last_seen_at: datetime | None
    probed_at: datetime | None
    probing: Lease | None  # the probe that is under way
    probe_error: str | None
    report: Report | None
    secret: str | None  # the node's key, encrypted, like the next
    pending_secret: str | None  # not yet seen in use
    tls: str | None  # JSON with ca, cert and key, as far as it has them; encrypted. None: plain
    allow_same_engine: bool  # its engine may be another node's as well
    same_engine_as: str | None  # the id of another node of its engine, found by the last probe
    memory_from_engine: bool  # its memory is what its engine reports, 0 before the first report
    public_address: str | None  # what players connect to; None: where it is called, if that does
    trusted_address: bool  # the operator said it on the machine: it may be anything
    configure_key: ConfigureKey | None
    deploying: Deploying | None
    image_deletions: NotRequired[int]  # how many images were deleted since it is there
    unanswered: NotRequired[int]  # operations in a row that it left without an answer
    capacity: Capacity
    allocated: Allocated
    revision: NotRequired[int]  # raised by each write; absent: 0, of earlier versions
    observations: NotRequired[int]  # how many of these writes were observations; absent: 0
    changed_by: NotRequired[str | None]  # who wrote it last: store/cause.py
    external_id: NotRequired[str]  # the dashboard's id of it; unique
    labels: NotRequired[dict[str, str]]
    created_at: datetime
    updated_at: datetime


def new_node(
    node_id: str,
    *,
    name: str,
    driver: str,
    capacity: Capacity,
    tags: str | list[str] = "",
    ram: str = "",
    disk: str = "",
    processor: str = "",
    address: str = "",
    port: int | None = None,
    memory_overallocate: int | None = None,
    cpu_overallocate: int | None = None,
    disk_overallocate: int | None = None,
    max_swap_mib: int | None = None,
    pinnable_cores: str | None = None,
    max_stop_grace_s: int | None = None,
    schedulable: bool = True,
    max_instances: int | None = None,
    port_range: str | None = None,
    allow_same_engine: bool = False,
    memory_from_engine: bool = False,
    labelling: Labelling | None = None,
    public_address: str | None = None,
    now: datetime,
) -> Node:
    """Make the document of a node that nobody has talked to, and that has no instances."""
    document = Node(
        _id=node_id,
        name=name,
        tags=tags,
        ram=ram,
        disk=disk,
        processor=processor,
        address=address,
        port=port,
        driver=driver,
        memory_overallocate=memory_overallocate,
        cpu_overallocate=cpu_overallocate,
        disk_overallocate=disk_overallocate,
        max_swap_mib=max_swap_mib,
        pinnable_cores=pinnable_cores,
        max_stop_grace_s=max_stop_grace_s,
        schedulable=schedulable,
        max_instances=max_instances,
        port_range=port_range,
        status=NodeStatus.UNCONFIGURED,
        last_seen_at=None,
        probed_at=now,
        probing=None,
        probe_error=None,
        report=None,
        secret=None,
        pending_secret=None,
        tls=None,
        allow_same_engine=allow_same_engine,
        same_engine_as=None,
        memory_from_engine=memory_from_engine,
        public_address=public_address,
        trusted_address=False,
        configure_key=None,
        deploying=None,
        capacity=capacity,
        allocated=Allocated(memory_mib=0, cpu_milli=0, disk_mib=0, instances=0),
        revision=1,
        created_at=now,
        updated_at=now,
    )
    return cast("Node", {**document, **(labelling or {})})
