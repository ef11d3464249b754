"""Our certificate for a node, as Python's TLS takes it."""

import os
import ssl


def load_pair(context: ssl.SSLContext, *, cert: str, key: str) -> None:
    """Have the context say who we are. Raises ssl.SSLError for a pair that cannot be used."""
    # Python reads them from files only. This one is in memory, where no program that runs as
    # the same user finds it, such as an instance of a `process` node.
    with open(os.memfd_create("certificate"), "w", encoding="ascii") as file:
        file.write(f"{cert}\n{key}\n")
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}", password="")
