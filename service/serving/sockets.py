"""The connections of this process, found among its files: granian does not say which is which."""

import errno
import os
import socket
import stat


def copy_socket(fd: int) -> socket.socket:
    """Copy a socket, so that it stays what it is whatever becomes of the number.

    Raises OSError when it is none.
    """
    copy = os.dup(fd)
    if not stat.S_ISSOCK(os.fstat(copy).st_mode):
        os.close(copy)
        raise OSError(errno.ENOTSOCK, "No socket.")
    return socket.socket(fileno=copy)
