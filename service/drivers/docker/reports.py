"""What an engine says of itself and its machine."""

from service.drivers import MAX_ENGINE_ID, NodeReport
from service.drivers.docker import podman
from service.drivers.docker.client import Client
from service.model.engines import PODMAN


def read_report(engine: Client) -> NodeReport:
    """Ask the engine how it is. Raises NodeRefused for a Podman that cannot limit containers."""
    info = engine.info()
    engine_id = str(info.get("ID") or "")[:MAX_ENGINE_ID] or None
    if engine.is_podman:
        podman.require_limits(engine.node_id, info)
        engine_id = None  # it makes up another for each answer
    return NodeReport(
        version=str(info["ServerVersion"]),
        engine=f"{PODMAN if engine.is_podman else 'docker'} {info['ServerVersion']}",
        memory_mib=int(info["MemTotal"]) // 2**20,
        cpu_milli=int(info["NCPU"]) * 1000,
        engine_id=engine_id,
    )
