"""Bring what a Skyport panel has: users, nodes, images, instances and API keys.

Nothing is redeployed: containers run on, and belong to instances of ours. Only what is suspended
and runs all the same is stopped, later, by a worker. It can be repeated: what is there already is
left as it is.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from service import deletions, keys, operations, quotas
from service.admin import skyport_documents, skyport_records
from service.admin.skyport_documents import Fields
from service.admin.skyport_panel import Panel, Record
from service.admin.skyport_records import Unusable, load
from service.drivers import ContainerStatus, DriverFactory
from service.errors import Conflict, NodeFailure, NotFound, ServiceError, StoreFailure
from service.model.documents import Image, Instance, Node, Operation, User
from service.model.lifecycle import InstanceState, OperationKind, OperationStatus, Power
from service.model.origin import Origin
from service.model.replacements import held_by
from service.security.vault import Vault
from service.store import Store
from service.store.collection import Session

log = logging.getLogger(__name__)

KINDS = ("users", "nodes", "images", "instances", "keys")

_NO_CONTAINER = "The panel knew no container of it, and its node has none. A retry makes one."
_NO_ANSWER = (
    "The panel knew no container of it, and its node does not say whether it has one: {} A retry "
    "takes over the one that is there, or makes one."
)


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
    failed: list[dict[str, str]] = field(default_factory=list)
    """New instances that have no container, as far as can be told; each can be retried."""
    suspended: list[str] = field(default_factory=list)
    """New instances that a worker stops if they run."""
    left_behind: list[str] = field(default_factory=list)
    not_moved: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Return whether nothing at all could be brought, now or before."""
        return not any([*self.new.values(), *self.there_already.values()])


class SkyportImport:
    """Brings records one by one. A dry run plans the same, and writes nothing.

    What was planned counts as if it were there, for all that comes after it.
    """

    def __init__(
        self,
        store: Store,
        vault: Vault,
        open_driver: DriverFactory,
        *,
        apply: bool,
        compatibility: str | None = None,
        rename: Mapping[str, str] | None = None,
        now: datetime,
    ) -> None:
        """`rename` has new names and e-mail addresses of users, by those that the panel has."""
        self._store = store
        self._vault = vault
        self._open_driver = open_driver
        self._apply = apply
        self._compatibility = compatibility
        self._rename = rename or {}
        self._now = now
        self._brought: dict[str, set[str]] = {kind: set() for kind in KINDS}
        self._left: dict[tuple[str, str], type[ValueError]] = {}
        self._users: dict[tuple[str, str], User] = {}
        self._nodes: dict[str, Node] = {}
        self._images: list[Image] = []
        self._ports: dict[str, set[int]] = {}
        self._containers: dict[str, Mapping[str, ContainerStatus] | str] = {}
        self.report = Report(applied=apply)

    def move(self, panel: Panel) -> Iterable[None]:
        """Bring everything, what others need first. Yields after each record."""
        self.report.damaged += [{"what": what, "why": why} for what, why in panel.damaged]
        self.report.left_behind += [record["Id"] for record in panel.left_behind]
        self.report.not_moved += panel.not_moved
        steps: list[tuple[str, str | None, Callable[[Any], bool], Iterable[Any]]] = [
            ("users", "userId", self._move_user, panel.users),
            ("nodes", "id", self._move_node, panel.nodes),
            ("images", "Id", self._move_image, panel.images),
            ("instances", "Id", self._move_instance, panel.instances),
            ("keys", None, self._move_key, panel.api_keys),
        ]
        for kind, name_of, move_one, records in steps:
            for record in records:
                # A key is named by the digest that we keep of it.
                name = record[name_of] if name_of else keys.digest(record)[:8]
                self._settle(kind, name, move_one, record)
                yield

    def _settle(self, kind: str, name: str, move_one: Callable[[Any], bool], record: Any) -> None:
        """Bring one record, and report what became of it. Raises when the database is away."""
        try:
            is_new = move_one(record)
        except (Clash, Conflict, NotFound) as exc:
            self._leave(kind, name, Clash, str(exc))
        except Unusable as exc:
            self._leave(kind, name, Unusable, str(exc))
        except StoreFailure as exc:
            self._leave(kind, name, Unusable, exc.message)
        except ServiceError:
            raise
        except Exception:
            # A bug of ours must not keep the others from being brought.
            log.exception("import.crashed")
            self._leave(kind, name, Unusable, "Unexpected error; see Skyquay's log.")
        else:
            self._brought[kind].add(name)
            (self.report.new if is_new else self.report.there_already)[kind].append(name)

    def _leave(self, kind: str, name: str, reason: type[ValueError], why: str) -> None:
        self._left[kind, name] = reason
        entries = self.report.conflicts if reason is Clash else self.report.damaged
        entries.append({"what": f"{kind} {name}", "why": why})

    def _require(self, kind: str, name: str, what: str) -> None:
        """Raise for a record that what it needs was not brought for; say what that is."""
        if name in self._brought[kind]:
            return
        reason = self._left.get((kind, name))
        if reason is None:
            raise Unusable(f"Its {what} {name!r} is not there.")
        raise reason(f"Its {what} is not brought: see {kind} {name}.")

    def _move_user(self, record: Record) -> bool:
        names = {name: record.get(name) for name in ("username", "email")}
        renamed = {
            name: self._rename.get(value, value)
            for name, value in names.items()
            if isinstance(value, str)
        }
        fields = load(skyport_records.USER, {**record, **renamed})
        if self._store.users.find(fields["user_id"]) is not None:
            return False
        user = skyport_documents.make_user(fields, now=self._now)
        keys_of_user = (("username", user["username_key"]), ("email", user["email_key"]))
        for other in (
            self._store.users.find_by_username(user["username"]),
            self._store.users.find_by_email(user["email"]),
            *map(self._users.get, keys_of_user),
        ):
            if other is not None:
                _check_distinct(user, other)
        if self._apply:
            self._store.users.add(user)
        self._users |= dict.fromkeys(keys_of_user, user)
        return True

    def _move_node(self, record: Record) -> bool:
        fields = load(skyport_records.NODE, record)
        node_id = fields["node_id"]
        there = self._store.nodes.find(node_id)
        if there is not None:
            self._nodes[node_id] = there
            return False
        key = fields["api_key"]
        secret = self._vault.seal(key) if key is not None else None
        node = skyport_documents.make_node(fields, secret=secret, now=self._now)
        if self._apply:
            self._store.nodes.add(node)
        self._nodes[node_id] = node
        return True

    def _move_image(self, record: Record) -> bool:
        fields = load(skyport_records.IMAGE, record)
        if self._store.images.find(fields["image_id"]) is not None:
            return False
        name = fields["name"]
        if any(image["name"] == name for image in self._list_images(name)):
            raise Clash(f"There is another image named {name!r}, which is used instead.")
        image = skyport_documents.make_image(fields, now=self._now)
        if self._apply:
            self._store.images.add(image)
        self._images.append(image)
        return True

    def _move_instance(self, record: Record) -> bool:
        fields = load(skyport_records.INSTANCE, record)
        if deletions.is_known(self._store, fields["instance_id"]):
            return False
        self._require("users", fields["user_id"], "owner")
        self._require("nodes", fields["node_id"], "node")
        taken = self._list_ports(fields["node_id"])
        wanted = {mapping.host for mapping in fields["ports"]}
        if taken & wanted:
            port = min(taken & wanted)
            raise Clash(f"The host port {port} belongs to another instance of the node.")
        container, missing = self._find_container(fields)
        instance = skyport_documents.make_instance(
            fields,
            image=self._find_image(fields),
            container=container,
            missing=missing,
            now=self._now,
        )
        if self._apply:
            self._add(instance)
        taken |= wanted
        if missing is not None:
            self.report.failed.append({"what": f"instances {instance['_id']}", "why": missing})
        if instance["suspended"]:
            self.report.suspended.append(instance["_id"])
        return True

    def _list_ports(self, node_id: str) -> set[int]:
        """List the host ports of a node that are taken; what is planned next is added to it."""
        if node_id not in self._ports:
            there = self._store.instances.list_on(node_id)
            self._ports[node_id] = {port for instance in there for port in instance["ports"]}
        return self._ports[node_id]

    def _list_images(self, reference: str) -> list[Image]:
        """List the images, stored and planned, that are or run `reference`."""
        there = {image["_id"]: image for image in self._store.images.list_matching(reference)}
        planned = {
            image["_id"]: image
            for image in self._images
            if reference in (image["_id"], image["name"], image["image"], *image["alt_images"])
        }
        return list({**planned, **there}.values())

    def _add(self, instance: Instance) -> None:
        deployment = self._draft_failed(instance)

        def write(session: Session) -> None:
            self._store.instances.add(instance, session=session)
            if deployment is not None:
                self._store.operations.add(deployment, session=session)
            quotas.charge(self._store, instance, even_if_over=True, now=self._now, session=session)
            self._store.nodes.reserve(
                instance["node_id"],
                **held_by(instance),
                even_if_full=True,  # it has the memory already
                session=session,
            )

        self._store.transaction(write)

    def _draft_failed(self, instance: Instance) -> Operation | None:
        """Make the deployment of an instance that FAILED, so that it can be retried.

        It is not forgotten with time, as the instance has no other way back.
        """
        if instance["state"] != InstanceState.FAILED:
            return None
        return {
            **operations.draft(OperationKind.DEPLOY, instance, origin=Origin(self._now)),
            "status": OperationStatus.FAILED,
            "error": instance["error"],
            "ended_at": self._now,
        }

    def _find_image(self, fields: Fields) -> Image | None:
        reference = fields["image_data"].get("name") or fields["image"]
        matching = self._list_images(reference) if reference else []
        return matching[0] if len(matching) == 1 else None

    def _find_container(self, fields: Fields) -> tuple[ContainerStatus | None, str | None]:
        """Find the instance's container, or why there is none.

        The panel writes its id down half a minute late: where it is not there, the node is asked. A
        worker looks at all the others after the node's next probe.
        """
        if fields["container_id"] is not None:
            return ContainerStatus(fields["container_id"], Power.UNKNOWN), None
        containers = self._list_containers(fields["node_id"])
        if isinstance(containers, str):
            return None, _NO_ANSWER.format(containers)
        status = containers.get(fields["instance_id"])
        return status, _NO_CONTAINER if status is None else None

    def _list_containers(self, node_id: str) -> Mapping[str, ContainerStatus] | str:
        """List the node's containers, once; or say why it gives no answer."""
        if node_id not in self._containers:
            try:
                with closing(self._open_driver(self._nodes[node_id])) as driver:
                    self._containers[node_id] = driver.list()
            except NodeFailure as failure:
                self._containers[node_id] = failure.reason
        return self._containers[node_id]

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


def list_unknown_names(panel: Panel, names: Iterable[str]) -> list[str]:
    """List which of the names are neither a user's name nor an e-mail address in the panel."""
    known = [user.get(field) for user in panel.users for field in ("username", "email")]
    return [name for name in names if name not in known]


def _check_distinct(user: User, other: User) -> None:
    """Raise Clash when the two have a name or an e-mail address in common, in any letter case."""
    pairs = {
        "name": (user["username"], other["username"]),
        "e-mail address": (user["email"], other["email"]),
    }
    for what, (mine, theirs) in pairs.items():
        if mine.casefold() == theirs.casefold():
            case = "" if mine == theirs else f" {theirs!r}, which differs in letter case only"
            raise Clash(
                f"Another user, {other['_id']}, has this {what}{case}. "
                f"--rename '{mine}=...' brings this one under another."
            )
