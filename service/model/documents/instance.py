"""The document of an instance."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NotRequired, TypedDict, cast

from service.model.documents.image import ReadyCheck
from service.model.labelling import Labelling
from service.model.lifecycle import InstanceState, NotReady, Phase, Power
from service.model.ports import PortMapping, PortPair, to_pair


class Observed(TypedDict):
    """What of an instance is compared with its node."""

    _id: str
    state: InstanceState
    suspended: bool
    power: Power


class ContainerSettings(TypedDict):
    """How an instance's container is run."""

    swap_mib: int  # beside its memory
    cpuset: str | None  # which of the node's cores, like 0-3,7; None: any
    stop_grace_s: int | None  # how long its program has to end; None: as a driver has it
    auto_start: bool  # again when its program ended by itself, or the node was restarted
    timezone: str | None  # the variable TZ; None: the image's


class Settings(TypedDict, total=False):
    """What of an instance a change may replace; see Instance for what the fields mean."""

    memory_mib: int
    cpu_milli: int
    port_map: list[PortPair]
    primary: str | int
    primary_port: int
    image: str
    image_id: str | None
    image_name: str
    variables: dict[str, str]
    secret_variables: list[str]
    env: list[str]
    cmd: list[str] | str | None
    alt_images: list[str]
    stop_command: str | None
    scripts: dict[str, Any]
    ready: ReadyCheck | None
    container: ContainerSettings


class BeforeSuspension(TypedDict):
    """What an instance goes back to when its user is no longer suspended."""

    suspended: bool  # it stays so: somebody suspended it alone
    stopped: bool  # it was not to run, so it is not started


class Reserved(TypedDict):
    """What is promised to an instance on its node."""

    memory_mib: int
    cpu_milli: int
    disk_mib: NotRequired[int]  # absent: of an earlier version


class Arrival(TypedDict):
    """What is held for an instance on the node that it is being transferred to."""

    node_id: str
    ports: list[int]
    memory_mib: int
    cpu_milli: int
    disk_mib: int


class Instance(TypedDict):
    """A container that somebody wants, and what became of it."""

    _id: str  # also the container's name and its volume's
    name: str
    user_id: str
    node_id: str
    image: str  # the container image's reference
    image_id: str | None  # None: an image outside the catalogue
    image_name: str
    memory_mib: int
    cpu_milli: int
    disk_gb: float | None  # not enforced
    ports: list[int]  # host ports, also those of open changes; unique for a node
    port_map: list[PortPair]
    primary: str | int  # as it was sent
    primary_port: int  # host side
    variables: dict[str, str]
    secret_variables: list[str]  # names of variables whose values are never answered
    env: list[str]  # "KEY=value": the image's, then the variables
    cmd: list[str] | str | None  # the image's when the instance was deployed, like the next two
    alt_images: list[str]
    stop_command: str | None
    scripts: dict[str, Any]
    ready: NotRequired[ReadyCheck | None]  # the image's too
    state: InstanceState
    suspended: bool  # what is wanted
    before_suspension: NotRequired[BeforeSuspension]  # while it is suspended with its user
    power: Power  # what was last seen
    phase: NotRequired[Phase | None]  # written with the power, like the next: store/phases.py
    ready_at: NotRequired[datetime | None]
    ready_by: NotRequired[datetime | None]  # while it is checked: until when
    not_ready: NotRequired[NotReady | None]
    container_id: str | None
    reserved: NotRequired[Reserved | None]  # while changes are open; None: what it has
    arrival: NotRequired[Arrival | None]  # while it is being transferred
    container: NotRequired[ContainerSettings]  # absent: what new_settings says
    node_env: NotRequired[list[str]]  # the environment that the node says it made
    error: str | None  # why it failed, in plain words
    exit_code: NotRequired[int | None]  # of the last run that ended, like the next; None: not known
    oom_killed: NotRequired[bool | None]
    restarts: NotRequired[int | None]  # by itself, since it was started by somebody
    started_at: NotRequired[datetime | None]  # when its last run began
    revision: NotRequired[int]  # raised by each write; absent: 0, of earlier versions
    observations: NotRequired[int]  # how many of these writes were observations; absent: 0
    changed_by: NotRequired[str | None]  # who wrote it last: store/cause.py
    external_id: NotRequired[str]  # the dashboard's id of it; unique
    labels: NotRequired[dict[str, str]]
    restored_at: NotRequired[datetime]  # when its last deletion was undone
    created_at: datetime
    updated_at: datetime


def new_instance(
    instance_id: str,
    *,
    name: str,
    user_id: str,
    node_id: str,
    image: str,
    image_id: str | None,
    image_name: str,
    memory_mib: int,
    cpu_milli: int,
    disk_gb: float | None = None,
    ports: Iterable[PortMapping],
    primary: str | int,
    primary_port: int,
    variables: Mapping[str, str] | None = None,
    secret_variables: Iterable[str] = (),
    env: Iterable[str] = (),
    cmd: list[str] | str | None = None,
    alt_images: Iterable[str] = (),
    stop_command: str | None = None,
    scripts: Mapping[str, Any] | None = None,
    ready: ReadyCheck | None = None,
    container: ContainerSettings | None = None,
    state: InstanceState = InstanceState.INSTALLING,
    suspended: bool = False,
    power: Power = Power.UNKNOWN,
    container_id: str | None = None,
    error: str | None = None,
    labelling: Labelling | None = None,
    now: datetime,
) -> Instance:
    """Make the document of an instance: where nothing else is said, it is to be deployed."""
    mappings = list(ports)
    document = Instance(
        _id=instance_id,
        name=name,
        user_id=user_id,
        node_id=node_id,
        image=image,
        image_id=image_id,
        image_name=image_name,
        memory_mib=memory_mib,
        cpu_milli=cpu_milli,
        disk_gb=disk_gb,
        ports=[mapping.host for mapping in mappings],
        port_map=list(map(to_pair, mappings)),
        primary=primary,
        primary_port=primary_port,
        variables=dict(variables or {}),
        secret_variables=list(secret_variables),
        env=list(env),
        cmd=cmd,
        alt_images=list(alt_images),
        stop_command=stop_command,
        scripts=dict(scripts or {}),
        ready=ready,
        state=state,
        suspended=suspended,
        power=power,
        phase=Phase.READY if power == Power.RUNNING else None,
        ready_at=None,
        ready_by=None,
        not_ready=None,
        container_id=container_id,
        error=error,
        revision=1,
        created_at=now,
        updated_at=now,
    )
    if container is not None:
        document["container"] = container
    return cast("Instance", {**document, **(labelling or {})})
