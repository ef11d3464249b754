"""The volume of an instance on skyportd, emptied through the daemon's calls for files.

The daemon lists a folder by following every entry: one link that leads nowhere, or to itself, makes
an error of the whole list. The error names it, and it can be deleted by that name. A name that is
not UTF-8 arrives with replacement characters, so that nothing can be done to it by name; it goes
only together with the folder that it is in.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from service.drivers import Leftovers

ERASE_TIMEOUT_S = 60.0
"""How long emptying a volume may take before what is not deleted yet is left."""

MAX_LISTS = 1000
"""How many lists are asked for. Each may name but one entry that hides all others."""

MAX_STUCK = 5
"""How many lists in a row may bring no name that was not tried. Which one is named is chance."""

MAX_NAMED = 20
"""How many names of what is left are listed, of MAX_NAME_LENGTH characters at the most."""

MAX_NAME_LENGTH = 255

WHOLE = "./"
"""As a file's name the volume itself: the daemon deletes that with all that is in it."""

_PATH = re.compile(r"'(/.*)'", re.DOTALL)  # from the first quote to the last: names have quotes


@dataclass(frozen=True, slots=True)
class Said:
    """What the daemon answered to a call."""

    ok: bool
    body: object
    reason: str
    """The error's text as it came, such as Node's `ENOENT: ..., stat '<path>'`."""


Ask = Callable[[str, str], Said]
"""Sends a method and a path. An answer that does not come is an answer that is not `ok`."""


def erase(ask: Ask, volume_id: str, *, path: str | None, whole: bool) -> Leftovers | None:
    """Empty the volume; answer what is left of it, with its `path` on the node's disk if known.

    With `whole` its folder goes too. That is nothing for a volume into which the daemon may be
    writing install scripts: it ends when their folder is gone.
    """
    files = f"/fs/{_quote(volume_id)}/files"
    if whole:
        ask("DELETE", f"{files}/delete/{_quote(WHOLE)}")  # whether it is gone, the list tells
    deadline = time.monotonic() + ERASE_TIMEOUT_S
    failed: dict[str, str] = {}
    stuck = 0
    for _ in range(MAX_LISTS):
        listed = ask("GET", files)
        found, name = _find_path(listed.reason, volume_id)
        path = path or found
        if not listed.ok and name is None:
            if found is not None and listed.reason.startswith("ENOENT"):
                return None  # there is no volume
            return _make_leftovers(path, volume_id, failed, listed.reason)
        names = _read_names(listed.body) if listed.ok else [str(name)]
        fresh = [each for each in names if each not in failed]
        stuck = 0 if fresh else stuck + 1
        if listed.ok and not fresh:
            failed = {each: failed[each] for each in names}
            return _make_leftovers(path, volume_id, failed, "") if failed else None
        if stuck >= MAX_STUCK or time.monotonic() >= deadline:
            break
        for each in fresh:
            gone = ask("DELETE", f"{files}/delete/{_quote(each)}")
            if not gone.ok:
                failed[each] = gone.reason
                path = path or _find_path(gone.reason, volume_id)[0]
            if time.monotonic() >= deadline:
                break
    return _make_leftovers(path, volume_id, failed, "Not all of it could be deleted in time.")


def _find_path(reason: str, volume_id: str) -> tuple[str | None, str | None]:
    """Find in an error the volume's path, and the name of the entry in it that is meant."""
    match = _PATH.search(reason)
    if match is None:
        return None, None
    before, inside, after = f"{match[1]}/".partition(f"/{volume_id}/")
    if not inside:
        return None, None
    return f"{before}/{volume_id}", after.partition("/")[0] or None


def _read_names(body: object) -> list[str]:
    files = body.get("files") if isinstance(body, dict) else None
    return [
        each["name"]
        for each in (files if isinstance(files, list) else ())
        if isinstance(each, dict) and isinstance(each.get("name"), str)
    ]


def _make_leftovers(
    path: str | None, volume_id: str, failed: dict[str, str], reason: str
) -> Leftovers:
    return Leftovers(
        path=path or f"volumes/{volume_id}",
        names=tuple(name[:MAX_NAME_LENGTH] for name in sorted(failed)[:MAX_NAMED]),
        reason=next(iter(failed.values()), reason)[: 4 * MAX_NAME_LENGTH],
    )


def _quote(part: str) -> str:
    return quote(part, safe="")
