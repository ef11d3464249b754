"""Nodes on the wire, as they are answered."""

from collections.abc import Callable
from operator import methodcaller

from service.contract import answers, fields
from service.contract.answers import Answer, Json
from service.contract.enrolment import CONFIGURE_KEY, EXAMPLE_COMMAND, print_command
from service.contract.node_orders import CreateNode
from service.model.documents import HeldPort, Node
from service.model.drains import DrainStatus
from service.model.lifecycle import NodeStatus
from service.model.node_warnings import list_warnings
from service.model.ports import DEFAULT_RANGE
from service.model.public_addresses import find_host
from service.model.quantities import print_cores


class NewNode(Node):
    """A node that was just added, with what its daemon is enrolled with, if it has one."""

    one_time_key: str | None
    panel_url: str


def _reported(name: str) -> Callable[[Node], object]:
    """Make the function that takes from a node what its engine reported; None before it did."""
    return lambda node: node["report"] and node["report"].get(name)


def _print_cores(milli: int | None) -> float | None:
    return None if milli is None else print_cores(milli)


class ShownNode(Node):
    """A node as one key sees it."""

    for_owner: bool  # whether the key is for somebody who has instances: see `hide_management`


def hide_management(node: Node) -> ShownNode:
    """Take from a node what is for those who run the panel: its address, and its troubles."""
    return {
        **node,
        "address": find_host(node) or "",
        "port": None,
        "probe_error": None,
        "held_ports": [],
        "for_owner": True,
    }


def _list_warnings(node: Node) -> list[str]:
    return [] if node.get("for_owner") else list_warnings(node)


class HeldPortAnswer(Answer[HeldPort]):
    """A host port that something else on the node was found to have."""

    port = answers.integer(25565)
    seenAt = answers.time(fields.WHEN, of="seen_at")


class NodeAnswer(Answer[Node]):
    """A node. Never with its keys or certificates."""

    id = answers.text(fields.NODE_ID, of="_id")
    name = answers.text("local")
    tags = answers.anything(
        "home", metadata={"type": ["string", "array"], "items": {"type": "string"}}
    )
    ram = answers.text("32")
    disk = answers.text("500")
    processor = answers.text("Ryzen 7")
    address = answers.text(
        "unix:///var/run/docker.sock",
        of=lambda node: (node["address"] or None) if node.get("for_owner") else node["address"],
        null=True,
        description="Where it is called. For keys limited to a user or to instances, what players "
        "connect to, if that is known.",
    )
    publicAddress = answers.text(
        "play.example.org",
        of="public_address",
        null=True,
        description="What players connect to, where somebody said it.",
    )
    port = answers.integer(None, null=True)
    driver = answers.text("docker")
    tls = answers.flag(
        False,
        of=lambda node: node["tls"] is not None,
        description="Whether it is called over TLS.",
    )
    status = answers.choice(NodeStatus, "Online")
    error = answers.text(None, of="probe_error", null=True, description="Why it is Offline.")
    version = answers.text("27.3.1", of=_reported("version"), null=True)
    engine = answers.text("docker 27.3.1", of=_reported("engine"), null=True)
    engineId = answers.text(
        "b8a3f2d1-7c64-4e0b-9a51-2f6f0d3c9e17",
        of=_reported("engine_id"),
        null=True,
        description="The engine's own id.",
    )
    cores = answers.number(
        16,
        of=lambda node: _print_cores(node["report"] and node["report"]["cpu_milli"]),
        null=True,
        description="Those that the engine reports.",
    )
    instances = answers.integer(1, of=lambda node: node["allocated"]["instances"])
    memoryMib = answers.integer(
        32768,
        of=lambda node: node["capacity"]["memory_mib"],
        null=True,
        description="Memory available to instances; null: not limited.",
    )
    memoryOverallocate = answers.integer(None, of="memory_overallocate", null=True)
    allocatedMemoryMib = answers.integer(128, of=lambda node: node["allocated"]["memory_mib"])
    cpu = answers.number(
        None,
        of=lambda node: _print_cores(node["capacity"]["cpu_milli"]),
        null=True,
        description="Cores available to instances; null: not limited.",
    )
    cpuOverallocate = answers.integer(None, of="cpu_overallocate", null=True)
    allocatedCpu = answers.number(
        0.5,
        of=lambda node: print_cores(node["allocated"]["cpu_milli"]),
        description="Cores.",
    )
    diskMib = answers.integer(
        None,
        of=lambda node: node["capacity"]["disk_mib"],
        null=True,
        description="Disk available to instances; null: not limited.",
    )
    diskOverallocate = answers.integer(None, of="disk_overallocate", null=True)
    allocatedDiskMib = answers.integer(0, of=lambda node: node["allocated"]["disk_mib"])
    maxSwap = answers.integer(
        None, of="max_swap_mib", null=True, description="The most of one instance, in MiB."
    )
    pinnableCores = answers.text(
        None, of="pinnable_cores", null=True, description="Those that instances may be pinned to."
    )
    maxStopGrace = answers.integer(
        None, of="max_stop_grace_s", null=True, description="The longest of an instance, in s."
    )
    schedulable = answers.flag(True, description="Whether it gets more instances.")
    drain = answers.choice(
        DrainStatus,
        None,
        of=methodcaller("get", "drain"),
        null=True,
        description="The status of its latest drain; null: it was never drained.",
    )
    maxInstances = answers.integer(
        None, of="max_instances", null=True, description="How many it may have; null: not limited."
    )
    portRange = answers.text(
        str(DEFAULT_RANGE),
        of=lambda node: node["port_range"] or str(DEFAULT_RANGE),
        description="Where host ports are found for instances that ask for `auto`.",
    )
    heldPorts = answers.many(
        HeldPortAnswer,
        of=lambda node: node.get("held_ports", ()),
        description="Host ports that something else on the node has: for an hour from `seenAt` on "
        "none of them is found for an instance.",
    )
    warnings = answers.texts(
        [],
        of=_list_warnings,
        description="What is not limited because it cannot be read, what is promised beyond its "
        "limit, and another node of the same engine.",
    )
    externalId = answers.external_id()
    labels = answers.labels()
    lastSeenAt = answers.time(fields.WHEN, of="last_seen_at", null=True)
    createdAt = answers.time(fields.WHEN, of="created_at")


NEW: Json = {
    **fields.make_example(CreateNode),
    "port": 3002,
    "driver": "skyportd",
    "status": "Unconfigured",
    "version": None,
    "engine": None,
    "engineId": None,
    "cores": None,
    "instances": 0,
    "allocatedMemoryMib": 0,
    "allocatedCpu": 0,
    "heldPorts": [],
    "lastSeenAt": None,
}
"""In what the example of a node that was just added differs from that of other nodes."""


class AddedNodeAnswer(NodeAnswer):
    """The node that was added, with what its daemon is enrolled with, if it has one."""

    configureKey = answers.text(
        CONFIGURE_KEY,
        of="one_time_key",
        optional=True,
        secret=True,
        description="One-time key for the daemon's enrolment. Shown only here.",
    )
    configureCommand = answers.text(
        EXAMPLE_COMMAND,
        of=lambda node: node["one_time_key"] and print_command(node),
        optional=True,
        description="To run in the daemon's folder.",
    )


class CreatedNodeAnswer(AddedNodeAnswer):
    """The node that was added; once more under `Message`, where the older panel had it."""

    Message = answers.nested(NodeAnswer, fields.make_example(NodeAnswer, **NEW), of=answers.itself)
