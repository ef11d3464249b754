"""How many connections of one address a process keeps open.

granian accepts them all and asks nobody. So the open ones are counted each second, by address, and
those past the limit are closed, but none with a request under way.
"""

import asyncio
import logging
import os
import socket
from collections import Counter
from collections.abc import Container
from contextlib import suppress

from service.model.addresses import find_caller
from service.serving.sockets import copy_socket

log = logging.getLogger(__name__)

ADDRESS_LIMIT = 500
"""How many connections one address may keep. Behind proxies, whose addresses stand for many
clients, they are not counted."""

INTERVAL_S = 1.0

OPEN_FILES = "/proc/self/fd"


async def enforce(port: int, busy: Container[str]) -> None:
    """Close what is past the limit, again and again, until this is cancelled.

    A look that fails, as where no more files can be opened, is followed by the next.
    """
    while True:
        await asyncio.sleep(INTERVAL_S)
        try:
            excess = close_excess(port, busy)
        except OSError as exc:
            log.warning("connections.uncounted", extra={"reason": str(exc)})
            continue
        for address, closed in excess.items():
            log.info("connections.closed", extra={"address": address, "count": closed})


def close_excess(port: int, busy: Container[str]) -> Counter[str]:
    """Close connections to this port past the limit of their address; count them by address.

    `busy` has the clients, as "IPV4:PORT" or "[IPV6]:PORT", with a request under way: theirs stay.
    """
    kept, closed = Counter[str](), Counter[str]()
    files = os.listdir(OPEN_FILES)
    if len(files) <= ADDRESS_LIMIT:
        return closed
    for number in files:
        try:
            # A number of its own, which no other thread can close and give to something else.
            connection = copy_socket(int(number))
        except OSError:
            continue  # no socket, or closed by now
        with connection:
            client = _client_of(connection, port)
            if client is None:
                continue
            address = find_caller(client.rpartition(":")[0].strip("[]"))
            kept[address] += 1
            if kept[address] > ADDRESS_LIMIT and client not in busy:
                with suppress(OSError):  # its client was faster
                    connection.shutdown(socket.SHUT_RDWR)
                closed[address] += 1
    return closed


def _client_of(connection: socket.socket, port: int) -> str | None:
    """Name who is connected to this port; None for any other socket."""
    try:
        if connection.getsockname()[1] != port:
            return None
        address, client_port = connection.getpeername()[:2]
    except (OSError, IndexError, TypeError):
        return None  # it listens, is closed, or is of another kind
    return f"[{address}]:{client_port}" if ":" in address else f"{address}:{client_port}"
