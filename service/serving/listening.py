"""The address that is served.

Only the standard library is imported here: the address is tried before anything is installed.
"""

import os
import socket

from service.config import Config, ConfigError

BACKLOG = 1024
"""How many connections may wait to be accepted."""


def bind(config: Config) -> socket.socket:
    """Listen where the settings say. Raises ConfigError when that is taken."""
    host, port = config.listen_address()
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as exc:
        # The system's own words: Python's have the address a second time.
        number = exc.errno or 0
        reason = os.strerror(number) if number > 0 else exc.strerror  # < 0: a name is not found
        raise ConfigError(
            f"Cannot serve on {config.listen}: {reason}; choose another address with --listen, "
            "SKYQUAY_LISTEN, or `make run LISTEN=HOST:PORT`."
        ) from exc


def name_url(config: Config, listener: socket.socket) -> str:
    """Name the address that is served, with the port that the system chose for port 0."""
    return f"http://{config.listen.rpartition(':')[0]}:{listener.getsockname()[1]}"
