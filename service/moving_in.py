"""Bring what a Skyport panel has: users, nodes, images, instances and API keys.

Nothing is redeployed and nothing is stopped: containers run on, and belong to instances of ours. It
can be repeated: what is there already is left as it is.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import marshmallow as ma

from service import images, keys, nodes
from service.api.image_files import ImageFile
from service.documents import Image, Instance, PortPair, User
from service.errors import Conflict
from service.lifecycle import InstanceState, NodeStatus, Power
from service.ports import PortMapping, parse, parse_primary
from service.quantities import parse_cpu_milli, parse_memory_mib
from service.skyport_panel import Panel, Record
from service.store import Store
from service.store.collection import Session
from service.vault import Vault

KINDS = ("users", "nodes", "images", "instances", "keys")
_HASH = re.compile(r"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}")


class Unusable(ValueError):
    """A record cannot be brought. The message says why."""


class Clash(ValueError):
    """Something of ours is in the way of a record. The message says what."""


@dataclass
class Report:
    """What became of every record, by kind; or would, in a dry run."""

    applied: bool
    new: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    there_already: dict[str, list[str]] = field(
        default_factory=lambda: {kind: [] for kind in KINDS}
    )
    conflicts: list[dict[str, str]] = field(default_factory=list)
    damaged: list[dict[str, str]] = field(default_factory=list)
    left_behind: list[str] = field(default_factory=list)
    not_moved: list[str] = field(default_factory=list)


class Mover:
    """Brings records one by one. In a dry run it writes nothing, and finds the same."""

    def __init__(
        self,
        store: Store,
        vault: Vault,
        *,
        apply: bool,
        compatibility: str | None = None,
        now: datetime,
    ) -> None:
        self._store = store
        self._vault = vault
        self._apply = apply
        self._compatibility = compatibility
        self._now = now
        self._seen: dict[str, set[str]] = {kind: set() for kind in KINDS}
        self._ports: set[tuple[str, int]] = set()
        self._names: set[str] = set()
        self.report = Report(applied=apply)

    def move(self, panel: Panel) -> Iterable[None]:
        """Bring everything, what others need first. Yields after each record."""
        self.report.damaged += [{"what": what, "why": why} for what, why in panel.damaged]
        self.report.left_behind += [record["Id"] for record in panel.left_behind]
        self.report.not_moved += panel.not_moved
        steps: list[tuple[str, Callable[[Any], bool], Iterable[Any]]] = [
            ("users", self._move_user, panel.users),
            ("nodes", self._move_node, panel.nodes),
            ("images", self._move_image, panel.images),
            ("instances", self._move_instance, panel.instances),
            ("keys", self._move_key, panel.api_keys),
        ]
        for kind, move_one, records in steps:
            for record in records:
                self._settle(kind, move_one, record)
                yield

    def _settle(self, kind: str, move_one: Callable[[Any], bool], record: Any) -> None:
        name = _name(kind, record)
        try:
            is_new = move_one(record)
        except (Clash, Conflict) as exc:
            self.report.conflicts.append({"what": f"{kind} {name}", "why": str(exc)})
            return
        except (Unusable, ma.ValidationError, ValueError) as exc:
            self.report.damaged.append({"what": f"{kind} {name}", "why": str(exc)})
            return
        self._seen[kind].add(name)
        (self.report.new if is_new else self.report.there_already)[kind].append(name)

    def _move_user(self, record: Record) -> bool:
        user_id = record["userId"]
        if self._store.users.find(user_id) is not None:
            return False
        username, email = record.get("username"), record.get("email")
        if not isinstance(username, str) or not username:
            raise Unusable("Has no username.")
        if not isinstance(email, str) or not email:
            raise Unusable("Has no email.")
        for taken, what in (
            (self._store.users.find_by_username(username), f"name:{username.casefold()}"),
            (self._store.users.find_by_email(email), f"email:{email.casefold()}"),
        ):
            if taken is not None or what in self._names:
                raise Clash(f"Another user has this {what.partition(':')[0]}.")
            self._names.add(what)
        password_hash = record.get("password")
        if not isinstance(password_hash, str) or not _HASH.fullmatch(password_hash):
            raise Unusable("Has no password hash of bcrypt.")
        if self._apply:
            self._store.users.add(self._make_user(record, username, email, password_hash))
        return True

    def _make_user(self, record: Record, username: str, email: str, hashed: str) -> User:
        access_to = record.get("accessTo")
        return User(
            _id=record["userId"],
            username=username,
            username_key=username.casefold(),
            email=email,
            email_key=email.casefold(),
            password_hash=hashed,
            admin=record.get("admin") is True,
            access_to=[a for a in access_to if isinstance(a, str)]
            if isinstance(access_to, list)
            else [],
            created_at=self._now,
            updated_at=self._now,
        )

    def _move_node(self, record: Record) -> bool:
        if self._store.nodes.find(record["id"]) is not None:
            return False
        address, key = record.get("address"), record.get("apiKey")
        if not isinstance(address, str) or not address:
            raise Unusable("Has no address.")
        secret = self._vault.seal(key) if isinstance(key, str) and key else None
        if self._apply:
            order: nodes.NodeOrder = {
                "name": str(record.get("name") or record["id"]),
                "driver": "skyportd",
                "tags": record.get("tags") or "",
                "ram": str(record.get("ram") or ""),
                "disk": str(record.get("disk") or ""),
                "processor": str(record.get("processor") or ""),
                "address": address,
                "port": int(record.get("port") or 3002),
            }
            node = nodes.draft(order, node_id=record["id"], now=self._now)
            node["trusted_address"] = True
            if secret is not None:
                node["secret"] = secret
                node["status"] = NodeStatus.OFFLINE
                node["probe_error"] = "It was not probed since it was imported."
                node["probed_at"] = None
            self._store.nodes.add(node)
        return True

    def _move_image(self, record: Record) -> bool:
        if self._store.images.find(record["Id"]) is not None:
            return False
        fields = ImageFile().load(record)
        name = fields["name"]
        if any(image["name"] == name for image in self._store.images.list_matching(name)):
            raise Clash(f"There is another image named {name!r}, which is used instead.")
        if self._apply:
            # A panel's image never runs as a process of ours.
            images.put(
                self._store,
                {**fields, "process": False},
                now=self._now,
                new_id=lambda: record["Id"],
            )
        return True

    def _move_instance(self, record: Record) -> bool:
        if self._store.instances.find(record["Id"]) is not None:
            return False
        user_id, node_id = str(record.get("User")), _find_node_id(record)
        if user_id not in self._seen["users"]:
            raise Unusable(f"Its owner {user_id!r} is not there.")
        if node_id not in self._seen["nodes"]:
            raise Unusable(f"Its node {node_id!r} is not there.")
        instance = self._make_instance(record, user_id, node_id)
        taken = {(node_id, port) for port in instance["ports"]} & self._ports
        taken |= {
            (node_id, port)
            for other in self._store.instances.list_on(node_id)
            for port in set(other["ports"]) & set(instance["ports"])
        }
        if taken:
            raise Clash(f"The host port {min(taken)[1]} belongs to another instance of the node.")
        self._ports |= {(node_id, port) for port in instance["ports"]}
        if self._apply:
            self._add(instance)
        return True

    def _add(self, instance: Instance) -> None:
        def write(session: Session) -> None:
            self._store.instances.add(instance, session=session)
            self._store.nodes.reserve(
                instance["node_id"],
                memory_mib=instance["memory_mib"],
                cpu_milli=instance["cpu_milli"],
                even_if_full=True,  # it has the memory already
                session=session,
            )

        self._store.transaction(write)

    def _make_instance(self, record: Record, user_id: str, node_id: str) -> Instance:
        mappings = _find_ports(record)
        primary = _find_primary(record, mappings)
        image = self._find_image(record)
        container_id = record.get("ContainerId")
        container_id = container_id if isinstance(container_id, str) and container_id else None
        env = [line for line in record.get("Env") or () if isinstance(line, str)]
        state = InstanceState.READY if container_id else InstanceState.FAILED
        return Instance(
            _id=record["Id"],
            name=str(record.get("Name") or record["Id"]),
            user_id=user_id,
            node_id=node_id,
            image=str(record.get("Image") or (image["image"] if image else "")),
            image_id=image["_id"] if image else None,
            image_name=image["name"] if image else str(record.get("Image") or ""),
            memory_mib=_amount(parse_memory_mib, record.get("Memory")),
            cpu_milli=_amount(parse_cpu_milli, record.get("Cpu")),
            disk_gb=None,
            ports=[mapping.host for mapping in mappings],
            port_map=[PortPair(container=m.container, host=m.host) for m in mappings],
            primary=record.get("Primary") or str(primary.host),
            primary_port=primary.host,
            variables={},
            secret_variables=[],
            env=[line for line in env if not line.startswith("PRIMARY_PORT=")],
            cmd=image["cmd"] if image else None,
            alt_images=[a for a in record.get("AltImages") or () if isinstance(a, str)],
            stop_command=record.get("StopCommand") or None,
            scripts={},  # its files are there
            state=state,
            suspended=record.get("suspended") is True,
            power=Power.UNKNOWN,
            container_id=container_id,
            node_env=env,
            error=None if container_id else "The panel knew no container of it.",
            created_at=self._now,
            updated_at=self._now,
        )

    def _find_image(self, record: Record) -> Image | None:
        data = record.get("imageData")
        name = data.get("Name") if isinstance(data, dict) else None
        matching = self._store.images.list_matching(str(name or record.get("Image")))
        return matching[0] if len(matching) == 1 else None

    def _move_key(self, key: str) -> bool:
        if self._store.keys.find_by_digest(keys.digest(key)) is not None:
            return False
        if self._apply:
            keys.create(
                self._store,
                name="from the panel",
                key=key,
                compatibility=self._compatibility,
                now=self._now,
            )
        return True


def count(panel: Panel) -> int:
    """Count the records that will be looked at."""
    lists = (panel.users, panel.nodes, panel.images, panel.instances, panel.api_keys)
    return sum(len(records) for records in lists)


def _name(kind: str, record: Any) -> str:
    if kind == "keys":
        return keys.digest(record)[:8]  # never the key
    return str(record[{"users": "userId", "nodes": "id"}.get(kind, "Id")])


def _find_node_id(record: Record) -> str:
    node = record.get("Node")
    return str(node.get("id")) if isinstance(node, dict) else str(node)


def _find_ports(record: Record) -> tuple[PortMapping, ...]:
    text = str(record.get("Ports") or "").strip().strip(",")
    if not text:
        bindings = record.get("PortBindings")
        pairs = {
            f"{port.partition('/')[0]}:{hosts[0]['HostPort']}"
            for port, hosts in (bindings.items() if isinstance(bindings, dict) else ())
        }
        text = ",".join(sorted(pairs))
    mappings = parse(text)
    if not mappings:
        raise Unusable("Has no ports.")
    return mappings


def _find_primary(record: Record, mappings: tuple[PortMapping, ...]) -> PortMapping:
    try:
        return parse_primary(record.get("Primary") or "", mappings)
    except ValueError:
        return mappings[0]


def _amount(read: Callable[[Any], int], value: object) -> int:
    try:
        return read(value)
    except ValueError:
        return 0  # nothing, which the panel's daemon takes for no limit
