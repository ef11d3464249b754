"""Instances on the wire."""

from operator import methodcaller
from typing import Any, NotRequired, cast

import marshmallow as ma

from service.contract import answers, fields, images
from service.contract.answers import Answer, Json
from service.contract.base import SingleField
from service.contract.readiness import DESCRIPTION, SCHEMA, print_check
from service.model.container_settings import settings_of
from service.model.documents import Instance, Node
from service.model.lifecycle import (
    InstanceState,
    NodeStatus,
    NotReady,
    Phase,
    Power,
)
from service.model.ports import print_map
from service.model.public_addresses import find_host, print_endpoint
from service.model.quantities import print_cores
from service.model.readiness import list_warnings, phase_of


def reference() -> ma.fields.String:
    """Make a field for an instance's id, or its container's."""
    return fields.text(
        longest=128,
        description="The instance's id, or its container's.",
        sample=fields.INSTANCE_ID,
    )


class InstanceRef(SingleField[str]):
    """Which instance is meant."""

    id = reference()


class InstancePathRef(SingleField[str | None]):
    """May repeat the id of the path, and must agree with it then."""

    id = fields.text(
        required=False, load_default=None, longest=128, description="The id in the path."
    )


class UserRef(SingleField[str]):
    """Which user is meant."""

    user_id = fields.text(
        data_key="userId", longest=64, description="The user's id.", sample=fields.USER
    )


class InstanceOnNode(Instance):
    """An instance with what its answer says beside it."""

    node: Node | None  # None: it was forgotten between two reads of a list
    operation_id: str | None  # of what carries a change out
    for_owner: NotRequired[bool]  # whether the key is for somebody who has instances


class InstancePlan(InstanceOnNode):
    """An instance as it would be."""

    dry_run: bool


class NodeSummary(Answer[Node]):
    """The node of an instance."""

    id = answers.text(fields.NODE_ID, of="_id")
    name = answers.text("local")
    address = answers.text(
        "unix:///var/run/docker.sock",
        null=True,
        description="For keys limited to a user or to instances, what players connect to, if that "
        "is known.",
    )
    port = answers.integer(None, null=True)
    status = answers.choice(NodeStatus, "Online")


def summarize(node: Node | None, node_id: str, *, for_owner: bool | None = False) -> Json:
    """Shape the node of an instance; None: it was forgotten a moment ago.

    Who owns instances sees what players connect to instead of where the node is called.
    """
    return NodeSummary.shape(_find_summary(node, node_id, for_owner=for_owner))


def _find_summary(node: Node | None, node_id: str, *, for_owner: bool | None) -> Node:
    if node is None:
        summary = {"name": "", "address": "", "port": None, "status": NodeStatus.OFFLINE}
        return cast("Node", {"_id": node_id, **summary})
    if for_owner:
        return cast("Node", {**node, "address": find_host(node), "port": None})
    return node


def dry_run() -> ma.fields.Field[Any]:
    """Make the field that says of an answer that the request was only tried."""
    return answers.flag(
        of=methodcaller("get", "dry_run"),
        optional=True,
        audited=False,
        description="With the parameter `dryRun`: true, nothing of this is stored.",
    )


def find_node(instance: InstanceOnNode) -> Node:
    """Find the node of an instance as its summary says it."""
    return _find_summary(instance["node"], instance["node_id"], for_owner=instance.get("for_owner"))


def find_endpoint(instance: InstanceOnNode) -> str | None:
    """Find what a player types to connect to an instance; None where that is not known."""
    host = find_host(instance["node"]) if instance["node"] else None
    return host and print_endpoint(host, instance["primary_port"])


def _expose_ports(instance: Instance) -> Json:
    ports = [pair["container"] for pair in instance["port_map"]]
    return {f"{port}/{protocol}": {} for port in ports for protocol in ("tcp", "udp")}


def _name_ports(instance: Instance) -> dict[str, int]:
    return {pair["name"]: pair["host"] for pair in instance["port_map"] if "name" in pair}


def _bind_ports(instance: Instance) -> dict[str, list[dict[str, str]]]:
    return {
        f"{pair['container']}/{protocol}": [{"HostPort": str(pair["host"])}]
        for pair in instance["port_map"]
        for protocol in ("tcp", "udp")
    }


def _list_env(instance: Instance) -> list[str]:
    secret = instance["secret_variables"]
    return [entry for entry in instance["env"] if entry.partition("=")[0] not in secret]


def _list_variables(instance: Instance) -> dict[str, str]:
    secret = instance["secret_variables"]
    return {name: value for name, value in instance["variables"].items() if name not in secret}


class InstanceAnswer(Answer[InstanceOnNode]):
    """An instance: what is wanted, and what was seen."""

    Id = answers.text(
        fields.INSTANCE_ID, of="_id", description="Empty of one that would be deployed (`dryRun`)."
    )
    VolumeId = answers.text(fields.INSTANCE_ID, of="_id", description="The same as `Id`.")
    ContainerId = answers.text(
        fields.CONTAINER_ID, of="container_id", null=True, description="Once there is a container."
    )
    Name = answers.text("my first", of="name")
    User = answers.text(fields.USER_ID, of="user_id", description="The owner's `userId`.")
    Node = answers.nested(NodeSummary, of=find_node, audited=False)
    connect = answers.text(
        "play.example.org:25565",
        of=find_endpoint,
        null=True,
        audited=False,
        description="What a player types: the node's `publicAddress`, or its address where that is "
        "a public one, and the primary host port.",
    )
    Image = answers.text(images.CONTAINER_IMAGE, of="image", description="The container image.")
    ImageName = answers.text(fields.IMAGE, of="image_name")
    AltImages = answers.texts([images.CONTAINER_IMAGE], of="alt_images")
    StopCommand = answers.text(None, of="stop_command", null=True)
    Memory = answers.integer(128, of="memory_mib", description="MiB.")
    Cpu = answers.number(
        0.5, of=lambda instance: print_cores(instance["cpu_milli"]), description="Cores."
    )
    Disk = answers.number(of="disk_gb", optional=True, description="GB, where it was sent.")
    Ports = answers.text(
        "8080:25565",
        of=lambda instance: print_map(instance["port_map"]),
        description="As in a deploy.",
    )
    portNames = answers.mapping(
        {"game": 25565},
        of=_name_ports,
        audited=False,
        description="The host ports that the image declares, by their names.",
        values=ma.fields.Integer(),
    )
    Primary = answers.anything(
        "25565",
        of="primary",
        metadata={"type": ["string", "integer"]},
        description="As it was sent.",
    )
    ExposedPorts = answers.mapping(
        {"8080/tcp": {}, "8080/udp": {}}, of=_expose_ports, audited=False
    )
    PortBindings = answers.mapping(
        {"8080/tcp": [{"HostPort": "25565"}], "8080/udp": [{"HostPort": "25565"}]},
        of=_bind_ports,
        audited=False,
    )
    Env = answers.texts([], of=_list_env, audited=False)
    Variables = answers.mapping(
        {},
        of=_list_variables,
        audited=False,
        description="Without those that the image calls secret.",
    )
    secretVariables = answers.texts(
        [],
        of="secret_variables",
        description="The names of those whose values are never answered.",
    )
    swap = answers.integer(
        0, of=lambda instance: settings_of(instance)["swap_mib"], description="MiB."
    )
    cpuset = answers.text(
        None,
        of=lambda instance: settings_of(instance)["cpuset"],
        null=True,
        description="The node's cores that it may use; null: all.",
    )
    stopGrace = answers.integer(
        None,
        of=lambda instance: settings_of(instance)["stop_grace_s"],
        null=True,
        description="Seconds that its program has to end; null: 8.",
    )
    autoStart = answers.flag(
        True,
        of=lambda instance: settings_of(instance)["auto_start"],
        description="Whether it is started again by itself, where its node's driver does that.",
    )
    timezone = answers.text(
        None,
        of=lambda instance: settings_of(instance)["timezone"],
        null=True,
        description="The variable TZ; null: the image's.",
    )
    InternalState = answers.choice(InstanceState, "READY", of="state")
    suspended = answers.flag(False, description="Whether it is suspended.")
    suspendedWithUser = answers.flag(
        False,
        of=lambda instance: "before_suspension" in instance,
        description="Whether that is so because its user is suspended.",
    )
    power = answers.choice(
        Power,
        "running",
        description="As last observed: seconds ago, or one probe interval where its node is not "
        "followed.",
    )
    exitCode = answers.integer(
        137,
        of=methodcaller("get", "exit_code"),
        null=True,
        audited=False,
        description="How the last run of its program that ended did: its code, or 128 and the "
        "signal that killed it; null: not known.",
    )
    oomKilled = answers.flag(
        False,
        of=methodcaller("get", "oom_killed"),
        null=True,
        audited=False,
        description="Whether that was because it used more memory than it may; null: not known.",
    )
    restarts = answers.integer(
        0,
        of=methodcaller("get", "restarts"),
        null=True,
        audited=False,
        description="How often its program was started again by itself, since it was started; "
        "null: not known.",
    )
    startedAt = answers.time(
        fields.WHEN,
        of=methodcaller("get", "started_at"),
        null=True,
        audited=False,
        description="When the last run of its program began; null: never, or not known.",
    )
    phase = answers.choice(
        Phase,
        "ready",
        of=phase_of,
        null=True,
        description="How far its program is: `starting` until what its image says in `ready` is "
        "seen, then `ready`, which is at once where the image says nothing. Null while it does not "
        "run.",
    )
    readyAt = answers.time(
        fields.WHEN,
        of=methodcaller("get", "ready_at"),
        null=True,
        description="Since when it is ready, where that was seen.",
    )
    notReadyReason = answers.choice(
        NotReady,
        None,
        of=methodcaller("get", "not_ready"),
        null=True,
        description="Why its program was not ready at its last start: `timeout` when that took too "
        "long, `exited` or `stopped` when it ended before.",
    )
    ready = answers.anything(
        None,
        of=lambda instance: print_check(instance.get("ready")),
        null=True,
        description=DESCRIPTION,
        metadata=SCHEMA,
    )
    warnings = answers.texts(
        [],
        of=list_warnings,
        audited=False,
        description="What is otherwise than its image asks for.",
    )
    error = answers.text(None, null=True, description="Why it failed or waits.")
    externalId = answers.external_id()
    labels = answers.labels()
    createdAt = answers.time(fields.WHEN, of="created_at")
    updatedAt = answers.time(fields.WHEN, of="updated_at", audited=False)
    deletedAt = answers.time(
        of=methodcaller("get", "deleted_at"),
        optional=True,
        description="Of one that is deleted and kept: since when.",
    )
    purgeAt = answers.time(
        of=methodcaller("get", "purge_at"),
        optional=True,
        description="Until when it can be restored. Then its container and its files are removed.",
    )
    operationId = answers.text(
        of="operation_id",
        optional=True,
        audited=False,
        description="In answers to changes: the operation that carries them out.",
    )
    dryRun = dry_run()
