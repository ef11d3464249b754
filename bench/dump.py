"""How fast does a compiled schema shape answers, beside a function that is written by hand?

Run `python -m bench.dump`. A thousand instances are shaped by each in turn, round after round, so
that what else the machine does strikes each alike. What counts is the ratio to the function written
by hand, round by round: its median, and the spread without the outer tenth.
"""

import gc
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from service.contract.instances import InstanceAnswer, InstanceOnNode
from service.model.documents import Node
from service.model.lifecycle import InstanceState, Power
from service.model.orders import NodeOrder
from service.model.ports import PortMapping
from service.model.quantities import print_cores
from service.nodes import draft

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
INSTANCES = 1000
ROUNDS = 60


def make_instance(number: int, node: Node) -> InstanceOnNode:
    """Make an instance as people have them: two ports, four variables, one of them secret."""
    variables = {"EULA": "true", "MEMORY": "2048", "MOTD": "Welcome", "RCON_PASSWORD": "sesame"}
    return InstanceOnNode(
        _id=f"i{number:011}",
        name=f"server {number}",
        user_id="318924857203654657",
        node_id=node["_id"],
        image="ghcr.io/example/paper:1.21",
        image_id="0c7d1e2f3a4b5c6d",
        image_name="Paper",
        memory_mib=2048,
        cpu_milli=1500,
        disk_gb=10 if number % 2 else None,
        ports=[20000 + number, 40000 + number],
        port_map=[
            {"container": 25565, "host": 20000 + number},
            {"container": 8080, "host": 40000 + number},
        ],
        primary=str(20000 + number),
        primary_port=20000 + number,
        variables=variables,
        secret_variables=["RCON_PASSWORD"],
        env=["TZ=UTC", *(f"{name}={value}" for name, value in variables.items())],
        cmd=None,
        alt_images=["ghcr.io/example/paper:1.21", "ghcr.io/example/paper:1.20"],
        stop_command="stop",
        scripts={"Install": []},
        state=InstanceState.READY,
        suspended=False,
        power=Power.RUNNING,
        container_id="8c01a793747241c018a10df916561f803b0ef65380604bd388bafc7a0e4b78c4",
        error=None,
        created_at=NOON,
        updated_at=NOON,
        node=node,
        operation_id=None,
    )


def write_by_hand(document: InstanceOnNode) -> dict[str, Any]:
    """Shape an instance without a schema."""
    node = document["node"]
    assert node is not None
    ports = [PortMapping(**pair) for pair in document["port_map"]]
    bindings: dict[str, Any] = {
        f"{mapping.container}/{protocol}": [{"HostPort": str(mapping.host)}]
        for mapping in ports
        for protocol in ("tcp", "udp")
    }
    secret = document["secret_variables"]
    shaped: dict[str, Any] = {
        "Id": document["_id"],
        "VolumeId": document["_id"],
        "ContainerId": document["container_id"],
        "Name": document["name"],
        "User": document["user_id"],
        "Node": {
            "id": node["_id"],
            "name": node["name"],
            "address": node["address"],
            "port": node["port"],
            "status": node["status"],
        },
        "Image": document["image"],
        "ImageName": document["image_name"],
        "AltImages": document["alt_images"],
        "StopCommand": document["stop_command"],
        "Memory": document["memory_mib"],
        "Cpu": print_cores(document["cpu_milli"]),
        "Ports": ",".join(map(str, ports)),
        "Primary": document["primary"],
        "ExposedPorts": {port: {} for port in bindings},
        "PortBindings": bindings,
        "Env": [entry for entry in document["env"] if entry.partition("=")[0] not in secret],
        "Variables": {
            name: value for name, value in document["variables"].items() if name not in secret
        },
        "secretVariables": secret,
        "InternalState": document["state"],
        "suspended": document["suspended"],
        "power": document["power"],
        "error": document["error"],
        "createdAt": document["created_at"],
        "updatedAt": document["updated_at"],
    }
    if document["disk_gb"] is not None:
        shaped["Disk"] = document["disk_gb"]
    return shaped


def measure(shape: Callable[[InstanceOnNode], object], documents: list[InstanceOnNode]) -> float:
    """Return how many documents a second are shaped, of the processor's time."""
    began = time.process_time()
    for document in documents:
        shape(document)
    return len(documents) / (time.process_time() - began)


def main() -> None:
    """Measure, and print a line for each."""
    node = draft(NodeOrder(name="local", driver="docker"), node_id="5f2b8a90c1d4e7f3", now=NOON)
    documents = [make_instance(number, node) for number in range(INSTANCES)]
    # The schema may have gained fields since; the ratio is a little lower for each.
    for each in documents:
        assert write_by_hand(each).items() <= InstanceAnswer.shape(each).items()
    ways = {"by hand": write_by_hand, "compiled schema": InstanceAnswer.shape}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    gc.disable()  # it would strike whoever's turn it is
    for _ in range(ROUNDS):
        for name, shape in ways.items():
            rates[name].append(measure(shape, documents))
    for name, found in rates.items():
        ratios = [one / first for one, first in zip(found, rates["by hand"], strict=True)]
        twentieths = statistics.quantiles(ratios, n=20)
        spread = f"{twentieths[0]:.2f} to {twentieths[-1]:.2f}"
        rate, ratio = statistics.median(found), statistics.median(ratios)
        print(f"{name:16} {rate:9,.0f}/s  {ratio:.2f} ({spread})")


if __name__ == "__main__":
    main()
