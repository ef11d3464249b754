"""What a program in a container tries, and cannot do: the kernel is asked, not the settings."""

import socket
from contextlib import closing
from dataclasses import replace

import pytest

from service.instances import make_id
from service.model.lifecycle import PowerAction
from service.model.ports import parse
from tests.docker_images import ensure_image, print_inside, run_inside
from tests.support import free_port

pytestmark = pytest.mark.docker

# A program that bears root's rights (setuid), and an account of root's without a password.
PREPARE_SU = """mkdir -p /etc /tmp
echo 'root::0:0::/:/bin/sh' > /etc/passwd
echo 'nobody:x:1000:1000::/:/bin/sh' >> /etc/passwd
busybox cp /bin/busybox /tmp/su && chmod 4755 /tmp/su"""


def become_root(container):
    """Run `su` as somebody else in the container; tell as whom the program runs then."""
    assert (0, "") == run_inside(container, PREPARE_SU)
    done = container.exec_run(["/tmp/su", "root", "-c", "id -u"], user="1000:1000")
    return done.output.decode().strip()


def test_a_setuid_program_gains_nothing(client, running):
    """
    `su` makes nobody root in an instance; in a container without our settings it does.
    """
    image = ensure_image(client, "skyquay-test/python:1")
    unguarded = client.containers.run(image, ["sleep", "300"], detach=True, network="none")
    try:
        assert "0" == become_root(unguarded)
    finally:
        unguarded.remove(force=True)

    assert "0" != become_root(running)


def test_the_limit_of_processes_holds(running):
    """
    A program that starts 600 others gets no further than 512.
    """
    run_inside(running, "i=0; while [ $i -lt 600 ]; do sleep 60 & i=$((i+1)); done 2>/dev/null")

    # Counted by the engine: at the limit nothing more starts inside, not even `cat`.
    counted = running.stats(stream=False)["pids_stats"]
    assert 512 == counted["limit"]
    assert 100 < counted["current"] <= 512


def test_the_network_of_the_machine_is_not_seen(running):
    """
    What listens on the machine's loopback does not answer inside, and its interfaces are not there.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        code, _ = run_inside(running, f"nc -w 2 127.0.0.1 {port} < /dev/null")

    printed = print_inside(running, "ls /sys/class/net")
    inside = set(printed.split())
    assert 0 != code
    assert {"eth0", "lo"} == inside
    assert (
        "bridge" == running.attrs["HostConfig"]["NetworkMode"]
        or "default" == (running.attrs["HostConfig"]["NetworkMode"])
    )


def test_the_processes_of_the_machine_are_not_seen(running):
    """
    The first process inside is the container's own init, and there are few.
    """
    printed = print_inside(running, "echo /proc/[0-9]*")

    assert len(printed.split()) < 10


@pytest.fixture
def neighbour(client, engine, spec):
    """Another instance on the same node, that runs."""
    ports = parse(f"80:{free_port()}")
    other = replace(spec, instance_id=make_id(), ports=ports, primary=ports[0])
    engine.create(other, checkpoint=lambda: None)
    engine.power(other.instance_id, PowerAction.START)
    yield client.containers.get(other.instance_id)
    engine.remove(other.instance_id)


def test_another_instance_s_volume_is_not_seen(running, neighbour):
    """
    What one instance writes into its folder another does not find, nor can it mount it.
    """
    run_inside(neighbour, "echo sesame > /app/data/secret")

    listed = print_inside(running, "ls -d /app/data; ls /app/data")
    mounted = print_inside(running, "cat /proc/mounts")
    code, _ = run_inside(running, "mount -t tmpfs none /tmp")

    assert ["/app/data"] == listed.split()
    assert neighbour.name not in mounted
    assert 0 != code


def test_devices_of_the_machine_are_not_there(running):
    """
    No disk can be opened, and none can be made by its numbers.
    """
    code, _ = run_inside(running, "busybox mknod /tmp/disk b 8 0")
    listed = print_inside(running, "ls /dev")

    assert 0 != code
    assert not {"sda", "vda", "mem", "kmsg"} & set(listed.split())


def test_the_engine_s_socket_is_not_there(running):
    """
    Nothing inside leads to the engine that runs it.
    """
    code, _ = run_inside(running, "ls /var/run/docker.sock /run/docker.sock")

    assert 0 != code


def test_the_port_is_published_and_no_other(running, spec):
    """
    A program that listens on another port than was asked for is not reached by the machine's.
    """
    other = free_port()
    running.exec_run(["sh", "-c", f"nc -l -p {other}"], detach=True)

    with closing(socket.socket()) as probe:
        assert 0 != probe.connect_ex(("127.0.0.1", other))
    assert {"80/tcp", "80/udp"} == set(running.attrs["HostConfig"]["PortBindings"])
