"""What a specification becomes in the words of Docker's API."""

from collections.abc import Mapping
from typing import Any

from docker.types import LogConfig

from service.drivers import ContainerSpec
from service.drivers.docker.client import Client
from service.drivers.docker.labels import DATA_FOLDER, SPEC_LABEL
from service.drivers.docker.power import NO_RESTART, RESTART_UNLESS_STOPPED
from service.drivers.kept_specs import print_spec
from service.model.container import tell_ports

PIDS_LIMIT = 512
CPU_PERIOD_US = 100_000

CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID")
"""What images need that start as root, fix their files' owner and step down; no more."""


def make_config(client: Client, spec: ContainerSpec, labels: Mapping[str, str]) -> dict[str, Any]:
    """Make the body of a creation: published over TCP and UDP, with limits and few rights.

    `labels` say whose it is.
    """
    published = [(mapping, proto) for mapping in spec.ports for proto in ("tcp", "udp")]
    env = {**spec.env, **tell_ports(spec, "container")}
    memory_bytes = spec.memory_mib * 2**20
    host_config = client.create_host_config(
        binds=[f"{spec.instance_id}:{DATA_FOLDER}"],
        port_bindings={f"{m.container}/{proto}": m.host for m, proto in published},
        mem_limit=memory_bytes,
        # Both together. Docker ignores it where the kernel counts no swap.
        memswap_limit=memory_bytes + spec.swap_mib * 2**20,
        cpuset_cpus=spec.cpuset,
        cpu_period=CPU_PERIOD_US,  # unlike NanoCpus, more than the host has is no error
        cpu_quota=spec.cpu_milli * CPU_PERIOD_US // 1000,
        pids_limit=PIDS_LIMIT,
        cap_drop=["ALL"],
        cap_add=list(CAPABILITIES),
        security_opt=["no-new-privileges"],
        init=True,
        restart_policy={"Name": RESTART_UNLESS_STOPPED if spec.auto_start else NO_RESTART},
        log_config=LogConfig(type="json-file", config={"max-size": "10m", "max-file": "3"}),
    )
    config: dict[str, Any] = client.create_container_config(
        spec.image,
        ["sh", "-c", spec.cmd] if isinstance(spec.cmd, str) else list(spec.cmd or ()),
        environment=[f"{name}={value}" for name, value in env.items()],
        labels={**labels, SPEC_LABEL: print_spec(spec)},
        working_dir=DATA_FOLDER,
        stop_timeout=spec.stop_grace_s,
        stdin_open=True,
        detach=True,  # else the first line that is written would also be the last
        ports=[(mapping.container, proto) for mapping, proto in published],
        host_config=host_config,
    )
    return config
