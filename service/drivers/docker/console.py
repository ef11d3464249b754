"""The standard input of a container's program."""

from contextlib import closing

from service.drivers import Delivery
from service.drivers.docker import podman
from service.drivers.docker.client import Client


def write_line(engine: Client, reference: str, line: str) -> Delivery:
    """Have a container's program read a line."""
    if engine.is_podman:
        return podman.write_line(engine, reference, line)
    attached = engine.attach_socket(reference, params={"stdin": 1, "stream": 1})
    # What docker-py hands out for plain connections is made for reading only.
    stdin = getattr(attached, "_sock", attached)
    # The response is closed first: over TLS its hold on the socket would leave that open.
    with closing(stdin), closing(attached), closing(attached._response):
        stdin.sendall(f"{line}\n".encode())
    return Delivery.SENT
