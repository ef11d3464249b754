"""What is stored, field by field. `_id` is the public id everywhere; times are UTC datetimes."""

from datetime import datetime
from typing import Any, NotRequired, TypedDict

from service.model.lifecycle import InstanceState, NodeStatus, OperationKind, OperationStatus, Power


class User(TypedDict):
    """Somebody who owns instances."""

    _id: str  # the API's userId: kept as it was sent, else 8 bytes of hex
    username: str
    username_key: str  # case-folded; unique
    email: str
    email_key: str  # case-folded; unique
    password_hash: str  # argon2id, or bcrypt from elsewhere
    admin: bool
    access_to: list[str]  # ids of instances of others
    deployed_at: NotRequired[datetime]  # when the user's newest instance was taken on
    keys_made: NotRequired[int]  # how many keys were limited to the user, revoked ones too
    created_at: datetime
    updated_at: datetime


class Variable(TypedDict):
    """What an image asks of those who deploy it."""

    type: str  # "text" and whatever else a form may show
    default: str | None
    required: bool
    secret: NotRequired[bool]  # its values are never answered


class Image(TypedDict):
    """One entry of the catalogue: a container image and how to run it."""

    _id: str
    name: str  # unique
    image: str  # the container image's reference
    alt_images: list[str]
    env: list[str]  # "KEY=value"
    cmd: list[str] | str | None  # a list is executed as it is, a string through sh -c
    scripts: dict[str, Any]
    variables: dict[str, Variable]
    stop_command: str | None
    description: str
    author: str
    author_name: str
    meta: dict[str, Any]
    features: list[str]
    process: bool  # may run as a plain process; set by an operator's import only
    created_at: datetime
    updated_at: datetime


class Report(TypedDict):
    """What a node said of itself when it was last probed."""

    version: str
    engine: str
    memory_mib: int | None
    cpu_milli: int | None
    engine_id: NotRequired[str | None]  # what the engine is known by; None: it does not say


class Capacity(TypedDict):
    """What a node may give away."""

    memory_mib: int | None  # None: not limited, like the next
    cpu_milli: int | None


class Lease(TypedDict):
    """Who carries out an operation or probes a node, until when unless it is renewed."""

    token: str
    until: datetime


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
    instances: int


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
    trusted_address: bool  # the operator said it on the machine: it may be anything
    configure_key: ConfigureKey | None
    deploying: Deploying | None
    unanswered: NotRequired[int]  # operations in a row that it left without an answer
    capacity: Capacity
    allocated: Allocated
    created_at: datetime
    updated_at: datetime


class PortPair(TypedDict):
    """One published port, TCP and UDP."""

    container: int
    host: int


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
    ports: list[int]  # host ports; unique for a node
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
    state: InstanceState
    suspended: bool  # what is wanted
    power: Power  # what was last seen
    container_id: str | None
    node_env: NotRequired[list[str]]  # the environment that the node says it made
    error: str | None  # why it failed, in plain words
    created_at: datetime
    updated_at: datetime


class Step(TypedDict):
    """One thing that an operation did."""

    name: str
    started_at: datetime
    ended_at: datetime | None
    error: str | None
    progress: NotRequired[str]  # in plain words, of what takes long


class LeftBehind(TypedDict):
    """What of a removed instance's volume could not be deleted."""

    path: str  # where the volume is on the node's disk
    names: list[str]  # of what is left in it; not all where there is much
    reason: str


class Leftover(LeftBehind):
    """The same, until somebody deleted it on the node and it was looked for again in vain."""

    _id: str  # the instance's, which no other will ever bear
    node_id: str
    created_at: datetime


class Operation(TypedDict):
    """Something that must be done on a node, and how far it is."""

    _id: str
    kind: OperationKind
    instance_id: str
    node_id: str
    user_id: str | None  # the instance's owner; None: it was no instance
    status: OperationStatus
    steps: list[Step]
    attempts: int
    next_attempt_at: datetime | None  # None: at once
    lease: Lease | None
    claimed_at: NotRequired[datetime]  # when a worker took it the last time, by the server's clock
    cancel_requested: bool  # while it runs
    error: str | None
    requested_by: str | None  # key id
    request_id: str | None
    container_id: NotRequired[str | None]  # which is to be removed, when no instance knows it
    created_at: datetime
    updated_at: datetime
    leftovers: NotRequired[LeftBehind]  # of a removal that could not delete every file
    ended_at: NotRequired[datetime]
    expires_at: NotRequired[datetime]  # when it is forgotten


class RetiringKey(TypedDict):
    """The value that a key had before it was rotated, and until when it still works."""

    digest: str  # SHA-256 of the key, hex
    until: datetime


class Key(TypedDict):
    """An API key: its digest, never the key."""

    _id: str
    digest: str  # SHA-256 of the key, hex; unique
    prefix: str  # how the key begins, to recognise it by
    retiring: RetiringKey | None
    name: str
    scopes: list[str]  # as they were granted: "*", "users:*", "users:read"
    user_id: str | None  # whose instances it is limited to; None: no limit, like the next three
    instance_ids: list[str] | None
    node_ids: list[str] | None
    networks: list[str] | None  # where it may be used from
    compatibility: str | None  # the panel's version whose codes its holder reads; None: reference
    expires_at: datetime | None
    last_used_at: datetime | None
    created_by: str | None  # key id; None: an operator, on the command line
    family: NotRequired[str]  # id of the first limited key from which it descends
    delegations: NotRequired[int]  # how many keys of its family were made while it was the oldest
    spent: NotRequired[list[str]]  # digests of the values before the last rotations, newest last
    created_at: datetime


class Setting(TypedDict):
    """What is kept once for a database."""

    _id: str  # what it is: "installation"
    value: str
    created_at: datetime


class AuditEntry(TypedDict):
    """One change that was tried, or the rejected requests of one kind within an hour."""

    _id: str  # grows with the time
    at: datetime
    action: str  # the endpoint's name, like "instances.deploy", or "cli.keys.create"
    target_kind: str | None  # user, instance, node, operation, key, database
    target_id: str | None
    key_id: str | None  # None: no key, or the command line
    address: str | None
    request_id: str | None
    before: dict[str, Any] | None  # what changed, as it was; without secrets, like the next
    after: dict[str, Any] | None
    outcome: str | None  # done, refused, failed; None: under way, or cut off
    status: int | None  # HTTP's
    code: str | None  # of the error
    expires_at: datetime
    rejection: NotRequired[str]  # which key, address, action and hour are counted here; unique
    count: NotRequired[int]  # how many were rejected; 1 where it is absent
    last_request_id: NotRequired[str]  # `request_id` is the first's
    last_at: NotRequired[datetime]
