"""What a Skyport panel's own database holds, read as it is: with all that years have left in it.

One SQLite table `keyv(key, value)`; keys have the prefix `keyv:`, values are `{"value": ...}`. The
panel keeps each instance three times, and its copies drift apart: in the list `instances`, under
`<id>_instance`, and in its owner's `<user>_instances`.
"""

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PREFIX = "keyv:"
NOT_MOVED = ("settings", "name")

OWN_RECORD = "skyport_instance"
"""When and as which version the panel was installed. It is no instance, in spite of its key."""

_API_KEY = re.compile(r"[!-~]{1,256}", re.ASCII)

Record = dict[str, Any]


class NoPanel(ValueError):
    """The file is no panel's database. The message says why."""


@dataclass
class Panel:
    """The panel's records, and what of it cannot be read."""

    users: list[Record] = field(default_factory=list)
    nodes: list[Record] = field(default_factory=list)
    images: list[Record] = field(default_factory=list)
    instances: list[Record] = field(default_factory=list)
    left_behind: list[Record] = field(default_factory=list)
    """Instances of which only one copy is left: deleted, and not quite."""
    api_keys: list[str] = field(default_factory=list)
    damaged: list[tuple[str, str]] = field(default_factory=list)
    """(what, why)"""
    not_moved: list[str] = field(default_factory=list)


def read(path: Path) -> Panel:
    """Read a panel's database, and change nothing in it. Raises NoPanel."""
    panel = Panel()
    values = dict(_read_values(path, panel))
    panel.users = _records(values.get("users"), "users", "userId", panel)
    panel.images = _records(values.get("images"), "images", "Id", panel)
    panel.nodes = list(_find_nodes(values, panel))
    panel.api_keys = list(_find_keys(values.get("apiKeys"), panel))
    panel.not_moved = [name for name in NOT_MOVED if name in values]
    _sort_instances(values, panel)
    return panel


def _read_values(path: Path, panel: Panel) -> Iterator[tuple[str, Any]]:
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            # One text that is not UTF-8 is damage of its own record only.
            database.text_factory = lambda raw: raw.decode(errors="surrogateescape")
            rows = database.execute("SELECT key, value FROM keyv").fetchall()
    except sqlite3.Error as exc:
        raise NoPanel(f"{path} is no database of a Skyport panel: {exc}.") from exc
    for key, text in rows:
        name = str(key).removeprefix(PREFIX)
        try:
            yield name, json.loads(text)["value"]
        except (ValueError, TypeError, KeyError, RecursionError):
            panel.damaged.append((name, "Its value cannot be read."))


def _records(value: object, what: str, key: str, panel: Panel) -> list[Record]:
    found: dict[str, Record] = {}
    for number, record in enumerate(_entries(value, what, panel)):
        identifier = record.get(key) if isinstance(record, dict) else None
        if not isinstance(identifier, str) or not identifier:
            panel.damaged.append((f"{what}[{number}]", f"Has no {key}."))
        elif identifier in found:
            panel.damaged.append((f"{what}[{number}]", f"Has the {key} of one before it."))
        else:
            found[identifier] = record
    return list(found.values())


def _entries(value: object, what: str, panel: Panel) -> list[Any]:
    if isinstance(value, list):
        return value
    if value is not None:
        panel.damaged.append((what, "Is no list."))
    return []


def _find_nodes(values: Record, panel: Panel) -> Iterator[Record]:
    names = []
    for number, name in enumerate(_entries(values.get("nodes"), "nodes", panel)):
        if isinstance(name, str) and name:
            names.append(name)
        else:
            panel.damaged.append((f"nodes[{number}]", "Is no node's id."))
    kept = [name.removesuffix("_node") for name in values if name.endswith("_node")]
    for node_id in dict.fromkeys([*names, *kept]):
        node = values.get(f"{node_id}_node")
        if isinstance(node, dict):
            yield {**node, "id": node_id}
        else:
            why = "The node is listed, and is not there." if node is None else "Is no object."
            panel.damaged.append((f"{node_id}_node", why))


def _find_keys(value: object, panel: Panel) -> Iterator[str]:
    for number, entry in enumerate(_entries(value, "apiKeys", panel)):
        key = entry.get("key") if isinstance(entry, dict) else entry
        if isinstance(key, str) and _API_KEY.fullmatch(key):
            yield key
        else:
            panel.damaged.append((f"apiKeys[{number}]", "Has no key that a request could have."))


def _sort_instances(values: Record, panel: Panel) -> None:
    """Return the instances that live from those of which one copy was left behind."""
    everywhere = _records(values.get("instances"), "instances", "Id", panel)
    listed = {record["Id"]: record for record in everywhere}
    alone: dict[str, Record] = {}
    owned: dict[str, Record] = {}
    for name, kept in values.items():
        value = kept
        if name.endswith("_instance") and name != OWN_RECORD and value is not None:
            # A panel of long ago named the key after the container.
            if isinstance(value, dict) and not value.get("Id"):
                value = {**value, "Id": name.removesuffix("_instance")}
            for record in _records([value], name, "Id", panel):
                alone.setdefault(record["Id"], record)
        elif name.endswith("_instances"):
            for record in _records(value, name, "Id", panel):
                owned.setdefault(record["Id"], record)
    for instance_id in dict.fromkeys([*listed, *alone, *owned]):
        copies = [c[instance_id] for c in (alone, listed, owned) if instance_id in c]
        # The panel writes its own pages from the list: what stands there lives.
        lives = instance_id in listed or len(copies) > 1
        (panel.instances if lives else panel.left_behind).append(copies[0])
