"""Where `skyquay login` keeps the server and the key: a file that only its owner reads."""

import json
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

from platformdirs import user_config_path

from service.cli.failures import Exit, Failure


class Login(NamedTuple):
    """A server, and a key of its API."""

    url: str
    key: str


def path() -> Path:
    """Name the file."""
    return user_config_path("skyquay") / "login.json"


def read() -> Login | None:
    """Read the login; None if there is none. Raises Failure for a file that is none."""
    try:
        kept = json.loads(path().read_text("utf-8"))
        return Login(str(kept["url"]), str(kept["key"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as exc:
        raise Failure(f"{path()} cannot be read: log in anew, or delete it.", Exit.REFUSED) from exc


def write(login: Login) -> None:
    """Keep a login: all of it or, whatever happens, what was there before."""
    target = path()
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A file of `tempfile` has mode 0600 from its first moment.
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".login-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(login._asdict(), file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, target)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as exc:
        raise Failure(f"{target} cannot be written: {exc.strerror}.", Exit.REFUSED) from exc


def remove() -> Login | None:
    """Forget the login, and return it; None if there was none."""
    try:
        login = read()
    except Failure:
        login = None
    path().unlink(missing_ok=True)
    return login
