"""Podman's Docker-compatible service, with storage, locks and a network of its own.

Nothing of it is shared with a Podman of this machine, nor with its Docker Engine, and all of it is
removed.
"""

import atexit
import json
import os
import secrets
import shutil
import subprocess
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.docker_images import make_root_file_system
from tests.support import eventually

PLUGINS = ("/usr/lib/cni", "/usr/libexec/cni", "/opt/cni/bin")
PROGRAMS = ("podman", "catatonit")
IMAGE = "skyquay-test/python:1"

LOCK = Path("/run/lock/skyquay-test-podman")

# Ends when its input does, as it does when the tests are killed. What the port mappings of all CNI
# networks share in the machine's rules is removed by the last, unless somebody else uses it.
CLEANER = r"""
service=$1 network=$2 folder=$3
exec 9> "$4"
flock -s 9
read -r _
shift 4
exec > /dev/null 2>&1
kill "$service"
"$@" system reset --force
# Each `exec` leaves a monitor for five minutes, which would then make the folder again.
for process in $(grep -lsF "$folder/" /proc/[0-9]*/cmdline | cut -d / -f 3); do
    [ "$(cat "/proc/$process/comm")" = conmon ] && kill -9 "$process"
done
ip link delete "$network"
rm -rf "$folder"
if flock -xn 9 && [ "$(iptables -w -t nat -S CNI-HOSTPORT-DNAT)" = "-N CNI-HOSTPORT-DNAT" ]; then
    iptables -w -t nat -S | sed -n '/-j CNI-HOSTPORT-/s/^-A/-D/p' |
        while read -r rule; do eval "iptables -w -t nat $rule"; done
    for chain in DNAT MASQ SETMARK; do
        iptables -w -t nat -F "CNI-HOSTPORT-$chain"
        iptables -w -t nat -X "CNI-HOSTPORT-$chain"
    done
fi
"""

# Locks are files, because those in shared memory are one set for all Podmans of a machine. Its own
# limits of open files are more than a container without CAP_SYS_RESOURCE may ask for.
CONFIG = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]

[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
tmp_dir = "{folder}/tmp"

[network]
network_backend = "cni"
cni_plugin_dirs = {plugins}
network_config_dir = "{folder}/networks"
default_network = "{network}"
"""


def require_podman():
    """Skip the test where no Podman runs as root; fail where one is required."""
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if os.geteuid() != 0:
        missing.append("root")
    if missing:
        say = pytest.fail if os.environ.get("SKYQUAY_REQUIRE_PODMAN") == "1" else pytest.skip
        say(f"missing for Podman: {', '.join(missing)}")


@contextmanager
def podman_service(folder):
    """Run the service in a folder, which is removed; answer the path of its socket."""
    network = f"sq{secrets.token_hex(4)}"
    socket = folder / "podman.sock"
    env = {**os.environ, "CONTAINERS_CONF": str(_configure(folder, network))}
    podman = [
        "podman", f"--root={folder}/root", f"--runroot={folder}/run", "--storage-driver=vfs",
    ]  # fmt: skip
    with (folder / "service.log").open("wb") as log:
        service = subprocess.Popen(
            [*podman, "system", "service", "--time=0", f"unix://{socket}"],
            env=env,
            stdout=log,
            stderr=log,
        )
    cleaner = subprocess.Popen(
        ["sh", "-c", CLEANER, "sh", str(service.pid), network, str(folder), str(LOCK), *podman],
        env=env,
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert eventually(socket.is_socket), (folder / "service.log").read_text()
        subprocess.run(
            [*podman, "import", "-", f"docker.io/{IMAGE}"],
            env=env,
            input=make_root_file_system(),
            check=True,
            capture_output=True,
        )
        yield socket
    finally:
        service.terminate()
        service.wait(30)
        cleaner.communicate(timeout=120)


def _configure(folder, network):
    (folder / "networks").mkdir()
    (folder / "networks" / f"{network}.conflist").write_text(json.dumps({
        "cniVersion": "0.4.0",
        "name": network,
        "plugins": [
            {
                "type": "bridge",
                "bridge": network,
                "isGateway": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": f"{folder}/addresses",
                    "ranges": [[{"subnet": f"10.213.{secrets.randbelow(256)}.0/24"}]],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }))  # fmt: skip
    plugins = [each for each in PLUGINS if Path(each).is_dir()]
    config = folder / "containers.conf"
    config.write_text(CONFIG.format(folder=folder, network=network, plugins=json.dumps(plugins)))
    return config


@cache
def shared_podman():
    """Run a service for all tests of this process; answer the path of its socket."""
    require_podman()
    running = ExitStack()
    atexit.register(running.close)
    return running.enter_context(podman_service(Path(mkdtemp(prefix="podman-"))))
