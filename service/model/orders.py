"""What the use cases are asked for. Requests of the API and commands are loaded into these."""

from datetime import datetime
from typing import Literal, NotRequired, TypedDict

from service.model.documents.user import QuotaChanges
from service.model.labelling import LabellingChanges
from service.model.lifecycle import BulkKind, InstanceState, Phase
from service.model.listing import Listing
from service.model.placement import Prefer, Spread
from service.model.ports import PortMapping

UserKey = Literal["id", "email", "username"]
"""What a user can be looked up by."""


class UserLookup(TypedDict):
    """Which user is meant."""

    key: UserKey
    value: str


class Credentials(UserLookup):
    """Which user is meant, and what may be the user's password."""

    password: str


class NewUser(TypedDict):
    """A user as somebody asks for one."""

    username: str
    email: str
    password: str
    user_id: str | None  # kept as it is; None: made up
    admin: bool
    quota: NotRequired[QuotaChanges | None]
    external_id: NotRequired[str | None]
    labels: NotRequired[dict[str, str | None] | None]


class UserChanges(LabellingChanges, total=False):
    """What is to change of a user."""

    username: str
    email: str
    password: str
    admin: bool
    quota: QuotaChanges | None  # None: no limits


class BulkOrder(TypedDict):
    """What is to be done to many: to these instances, or with these new users."""

    kind: BulkKind
    instances: list[str]  # ids, or those of their containers
    users: list[NewUser]
    keep_s: NotRequired[float | None]  # of a deletion, as in a DeletionWish


class ContainerOrder(TypedDict, total=False):
    """How a container is run, as somebody asks for it; see ContainerSettings."""

    swap_mib: int
    cpuset: str | None
    stop_grace_s: int | None
    auto_start: bool
    timezone: str | None


class Placement(TypedDict):
    """Which node an instance is put on, where none is named. See model/placement.py."""

    tags: list[str]
    labels: dict[str, str]
    excluded: list[str]  # ids or names of nodes
    spread: Spread | None
    prefer: Prefer


class PlacementWish(TypedDict):
    """For what nodes are ranked, with nothing deployed."""

    memory_mib: int
    cpu_milli: int
    ports: tuple[PortMapping, ...]
    user_id: str | None
    image: str | None  # as in an Order
    placement: NotRequired[Placement]


class Order(ContainerOrder):
    """An instance as somebody asks for it."""

    name: str
    user_id: str
    node_id: str | None  # or a name; None: whichever fits
    placement: NotRequired[Placement]  # which of those
    image: str  # an image's id, its name, or its container image
    image_name: str | None
    memory_mib: int
    cpu_milli: int
    disk_gb: float | None
    ports: tuple[PortMapping, ...]  # none: those that the image declares
    primary: str | int | None  # None: the first of them
    variables: dict[str, str]
    queue: NotRequired[bool]  # take it on even when the node is down
    external_id: NotRequired[str | None]
    labels: NotRequired[dict[str, str | None] | None]


class Edit(ContainerOrder, LabellingChanges, total=False):
    """What is to be changed of an instance; what is absent stays."""

    name: str
    user_id: str
    memory_mib: int
    cpu_milli: int
    ports: tuple[PortMapping, ...] | None  # None: those that the image declares
    primary: str | int
    image: str  # as in an Order
    image_name: str | None
    variables: dict[str, str | None] | None  # None: the image's default again; of all: of each


class Command(TypedDict):
    """What an instance's program is to read."""

    line: str


class Reinstallation(TypedDict):
    """How an instance is installed anew."""

    keep_volume: bool


class Restoration(TypedDict, total=False):
    """Which ports a restored instance gets; those that it had if none are named."""

    ports: tuple[PortMapping, ...]
    primary: str | int


class Deletion(TypedDict):
    """Which instance goes, and whether it is forgotten without waiting for its node."""

    id: str  # its own, or its container's
    force: bool


class DeletionWish(TypedDict):
    """For how long a deletion can be undone, and how long its node is waited for."""

    keep_s: float | None  # 0: it cannot; None: as the installation has it
    wait: float | None  # seconds; None: the app's own


class Removal(DeletionWish):
    """How an instance goes."""

    force: bool


class NodeOrder(TypedDict):
    """A node as somebody asks for it."""

    name: str
    driver: str
    tags: NotRequired[str | list[str]]
    ram: NotRequired[str]
    disk: NotRequired[str]
    processor: NotRequired[str]
    address: NotRequired[str]
    port: NotRequired[int | None]
    public_address: NotRequired[str]  # what players connect to
    memory_overallocate: NotRequired[int]
    cpu_overallocate: NotRequired[int]
    disk_overallocate: NotRequired[int]
    max_swap_mib: NotRequired[int]  # what instances may say of their containers, like the next two
    pinnable_cores: NotRequired[str]
    max_stop_grace_s: NotRequired[int]
    schedulable: NotRequired[bool]
    max_instances: NotRequired[int]
    port_range: NotRequired[str]  # where free host ports are found
    api_key: NotRequired[str]  # of a skyportd node that is enrolled already
    allow_same_engine: NotRequired[bool]  # also when another node is of the same engine
    tls: NotRequired[dict[str, str]]  # ca, cert and key, in PEM; {}: the system's CAs
    external_id: NotRequired[str | None]
    labels: NotRequired[dict[str, str | None] | None]


class PortsWish(TypedDict):
    """How many free host ports somebody looks for."""

    count: int
    consecutive: bool


class NodeChanges(LabellingChanges, total=False):
    """What is to change of a node. A text that is empty is what is not said."""

    expect_engine: str | None  # which engine must answer; absent: that of before, None: any

    name: str
    tags: str | list[str]
    ram: str
    disk: str
    processor: str
    address: str
    port: int | None
    public_address: str | None
    memory_overallocate: int | None
    cpu_overallocate: int | None
    disk_overallocate: int | None
    max_swap_mib: int | None
    pinnable_cores: str | None
    max_stop_grace_s: int | None
    schedulable: bool
    max_instances: int | None
    port_range: str | None


class Enrolment(TypedDict):
    """The one-time key of a node, and the key that its daemon made for itself."""

    configure_key: str
    access_key: str


class Adoption(TypedDict):
    """A container that is to become an instance."""

    id: str
    user: str
    name: str | None


class Resolution(TypedDict):
    """What is to become of differences, by the ids of their instances."""

    adopt: list[Adoption]
    remove: list[str]
    recreate: list[str]


class Grant(TypedDict, total=False):
    """What a new key may do; what is absent is not limited. The fields are those of Key."""

    scopes: list[str]
    user_id: str | None
    instance_ids: list[str] | None
    node_ids: list[str] | None
    networks: list[str] | None
    expires_at: datetime | None


class KeyOrder(TypedDict):
    """A key as somebody asks for it."""

    name: str
    compatibility: str | None
    grant: Grant


class StateWish(TypedDict):
    """For which state of an instance somebody waits, and how many seconds."""

    wait: float
    until: InstanceState | None  # None: until nothing is under way
    until_phase: Phase | None
    deleted: bool  # whether it is one that is deleted


class ReadyWish(TypedDict):
    """How long somebody waits for an operation, and whether for the program as well."""

    wait: float | None  # seconds; None: as long as it usually takes
    until_phase: Phase | None


class KeyChanges(TypedDict, total=False):
    """What is to change of a key."""

    name: str
    expires_at: datetime | None


class EventSearch(TypedDict):
    """Which events are read: those with all the values of `wanted`."""

    after: int | None  # an event's id; None: the newest
    types: list[str] | None
    wanted: dict[str, str]
    limit: int
    wait: float  # seconds, until there is one


class StatsSearch(TypedDict):
    """Of which instances it is read what they used."""

    listing: Listing
    since: datetime | None  # None: for the last hour
    resolution_s: int | None  # None: so that there are enough points
    latest: bool


class LogSearch(TypedDict):
    """Which lines of a program's output are read. Times are nanoseconds since 1970."""

    tail: int
    since_ns: int | None
    until_ns: int | None
    timestamps: bool
    follow: bool | None  # None: if the client accepts nothing else


class WebhookOrder(TypedDict):
    """A webhook as somebody asks for it."""

    url: str
    types: list[str] | None
    wanted: dict[str, str]  # instance_id, user_id, node_id
    secret: str | None  # None: one is made


class WebhookChanges(TypedDict, total=False):
    """What is to change of a webhook. None in `wanted` takes a filter away."""

    url: str
    types: list[str] | None
    wanted: dict[str, str | None]
    enabled: bool


class SecretOrder(TypedDict):
    """Which secret a webhook gets, and for how many seconds the old one signs beside it."""

    secret: str | None  # None: one is made
    overlap_s: float


class AuditSearch(TypedDict):
    """Which entries of the audit log are listed: those with all the values of `wanted`."""

    wanted: dict[str, str]
    since: datetime | None
    until: datetime | None
    before: str | None  # an entry's id
    limit: int
