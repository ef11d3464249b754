"""What somebody wants to run, and what became of it."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, cast

from pymongo.collection import Collection as MongoCollection
from pymongo.errors import DuplicateKeyError

from service.errors import Conflict, NotFound, PortTaken
from service.model.documents import BeforeSuspension, Instance, Observed
from service.model.lifecycle import InstanceState, instance_states_before
from service.model.precondition import ANY_STATE, Precondition
from service.store import versions
from service.store.collection import (
    EXTERNAL_ID_INDEX,
    LABELS_INDEX,
    Collection,
    Indexes,
    Session,
    duplicate_key,
    translated,
)
from service.store.occupancy import Occupancy
from service.store.phases import follow_power
from service.store.revised import Changes
from service.store.transitions import GONE, TransitionLog
from service.store.versions import LISTED, Versions

INDEXES: Indexes = [
    {"keys": [*LISTED, ("node_id", 1)]},
    {"keys": [("user_id", 1), *LISTED, ("node_id", 1)]},
    {"keys": [("node_id", 1), *LISTED]},
    {"keys": [("image_id", 1), *LISTED]},
    {"keys": [("image_id", 1), ("node_id", 1)]},
    {"keys": [("state", 1), *LISTED]},
    {"keys": [("updated_at", 1), ("_id", 1)]},
    {"keys": [("name", 1), ("_id", 1)]},
    # All that is compared after each probe, so that the index tells it.
    {"keys": [("node_id", 1), ("state", 1), ("power", 1), ("suspended", 1), ("_id", 1)]},
    {"keys": [("container_id", 1)]},
    EXTERNAL_ID_INDEX,
    LABELS_INDEX,
]


class Instances(Collection[Instance]):
    """The instances. A container's id is accepted wherever an instance's is."""

    what = "instance"
    version_fields = (*Collection.version_fields, "node_id")

    def __init__(
        self,
        collection: MongoCollection[dict[str, Any]],
        *,
        moves: TransitionLog,
        only: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(collection, only=only)
        self._moves = moves
        self._occupancy = Occupancy(collection)

    @staticmethod
    def list_version_nodes(short: Versions) -> set[str]:
        """List the ids of the nodes of versions that were read at once."""
        return versions.list_node_ids(short)

    @translated
    def find_by_reference(self, reference: str) -> Instance | None:
        """Read an instance by its id or by its container's."""
        return self._read({"_id": reference}) or self._read({"container_id": reference})

    def get_by_reference(self, reference: str) -> Instance:
        """Read an instance by its id or by its container's. Raises NotFound."""
        instance = self.find_by_reference(reference)
        if instance is None:
            raise NotFound(self.what, reference)
        return instance

    @translated
    def find_by_port(self, node_id: str, port: int) -> Instance | None:
        """Read the instance that holds a host port of a node, if it may be seen."""
        return self._read({"node_id": node_id, "ports": port})

    def add(
        self,
        document: Instance,
        *,
        held_ports: frozenset[int] | None = None,
        session: Session | None = None,
    ) -> None:
        """Write a new instance. Raises Conflict, and PortTaken for a host port that is held.

        `held_ports` are those that the transaction found to be held for instances on their way to
        the node; None: it is looked for them.
        """
        node_id, ports = document["node_id"], document["ports"]
        if held_ports is None:
            self._occupancy.refuse_held_ports(node_id, ports, session=session)
        elif taken := held_ports.intersection(ports):
            raise PortTaken(node_id, min(taken))
        super().add(document, session=session)

    @translated
    def list_leaving(self, node_id: str, *, session: Session) -> list[Instance]:
        """Read the instances of a node that are being transferred to another."""
        return self._read_all(
            {"node_id": node_id, "arrival.node_id": {"$exists": True}}, session=session
        )

    @translated
    def list_references(self, references: Iterable[str]) -> list[Instance]:
        """Read the ids, the containers and the nodes of those that have one of these references."""
        wanted = {"$in": list(references)}
        found = self._collection.find(
            self._within({"$or": [{"_id": wanted}, {"container_id": wanted}]}),
            ["container_id", "node_id"],
        )
        return cast("list[Instance]", list(found))

    @translated
    def list_owned(self, user_id: str, *, session: Session | None = None) -> list[Instance]:
        """Read the instances of one user, oldest first."""
        return self._read_all({"user_id": user_id}, session=session)

    @translated
    def list_places(self, user_id: str, *, limit: int) -> list[Instance]:
        """Read the ids of a user's instances and of their nodes, `limit` at the most."""
        found = self._collection.find(self._within({"user_id": user_id}), ["node_id"]).limit(limit)
        return cast("list[Instance]", list(found))

    def list_ids_on(self, node_id: str, *, session: Session | None = None) -> list[str]:
        """List the ids of the instances of one node; an index tells it."""
        found = self._collection.find({"node_id": node_id}, ["_id"], session=session)
        return sorted(document["_id"] for document in found)

    @translated
    def list_on(self, node_id: str) -> list[Instance]:
        """Read the instances of one node, oldest first."""
        return self._read_all({"node_id": node_id})

    @translated
    def count_of_image(self, image_id: str, *, session: Session) -> int:
        """Count the instances that were made of an image, those that go included."""
        return self._collection.count_documents({"image_id": image_id}, session=session)

    def list_observed(self, node_id: str) -> list[Observed]:
        """Read what was last seen and is wanted of the instances of one node; an index tells it."""
        fields = ["state", "power", "suspended"]
        return cast(list[Observed], list(self._collection.find({"node_id": node_id}, fields)))

    @translated
    def list_by_ids(self, instance_ids: Iterable[str]) -> list[Instance]:
        """Read the instances of these ids that exist, oldest first."""
        wanted = sorted(instance_ids)
        return self._read_all({"_id": {"$in": wanted}}) if wanted else []

    @translated
    def move(
        self,
        instance_id: str,
        state: InstanceState,
        *,
        now: datetime,
        changes: Mapping[str, object] | None = None,
        only_if: Mapping[str, object] | None = None,
        session: Session | None = None,
    ) -> bool:
        """Bring the instance into `state` with `changes`.

        False, with nothing changed, when it is in a state from which that is not allowed, or is not
        as `only_if` says, or is gone.
        """
        before = self._collection.find_one_and_update(
            {
                "state": {"$in": instance_states_before(state)},
                **(only_if or {}),
                "_id": instance_id,
            },
            follow_power({**(changes or {}), "state": state, "updated_at": now}),
            {"state": 1},
            session=session,
        )
        if before is None:
            return False
        self._moves.add_instance(instance_id, before["state"], state, session=session)
        return True

    @translated
    def list_deleting(self, node_id: str) -> list[Instance]:
        """Read the instances of one node that are on their way out."""
        return self._read_all({"node_id": node_id, "state": InstanceState.DELETING})

    @translated
    def list_known(self, instance_ids: Iterable[str]) -> set[str]:
        """Return which of the ids are instances', on whatever node."""
        wanted = sorted(instance_ids)
        found = self._collection.find({"_id": {"$in": wanted}}, {"_id": 1}) if wanted else ()
        return {document["_id"] for document in found}

    @translated
    def list_containers(self, instance_ids: Iterable[str]) -> dict[str, str | None]:
        """List which of the ids are instances', on whatever node, each with its container's id.

        None for one that is being installed: its container may be new.
        """
        found = self._collection.find(
            {"_id": {"$in": sorted(instance_ids)}}, {"state": 1, "container_id": 1}
        )
        return {
            document["_id"]: None
            if document["state"] == InstanceState.INSTALLING
            else document["container_id"]
            for document in found
        }

    @translated
    def update(
        self,
        instance_id: str,
        changes: Mapping[str, object],
        *,
        only_if: Mapping[str, object] | None = None,
        session: Session | None = None,
    ) -> bool:
        """Write down what was seen of the container. Never touches what is wanted.

        False, with nothing changed, when the instance is not as `only_if` says, or is gone.
        """
        noted = self._observing.update_one(
            {**(only_if or {}), "_id": instance_id}, follow_power(changes), session=session
        )
        return noted.matched_count == 1

    @translated
    def set_suspended(
        self,
        instance_id: str,
        suspended: bool,
        *,
        precondition: Precondition = ANY_STATE,
        before: BeforeSuspension | None = None,
        now: datetime,
        session: Session,
    ) -> Instance:
        """Write down what is wanted; also what was `before` its user was suspended, if that is.

        Raises NotFound for an instance that goes or is gone, and PreconditionFailed.
        """
        wish: dict[str, object] = {"suspended": suspended, "updated_at": now}
        removed = [] if before is not None else ["before_suspension"]
        if before is not None:
            wish["before_suspension"] = before
        was = self._change(instance_id, wish, precondition, remove=removed, session=session)
        if was["suspended"] != suspended:
            words = ("unsuspended", "suspended")
            left, entered = words if suspended else reversed(words)
            self._moves.add_instance(instance_id, left, entered, session=session)
        kept = {name: value for name, value in was.items() if name not in removed}
        return cast("Instance", {**kept, **wish})

    @translated
    def touch(
        self,
        instance_id: str,
        *,
        precondition: Precondition = ANY_STATE,
        now: datetime,
        session: Session,
    ) -> Instance:
        """Read an instance so that nobody changes it meanwhile. Raises like `set_suspended`."""
        before = self._change(instance_id, {"updated_at": now}, precondition, session=session)
        return {**before, "updated_at": now}

    def _change(
        self,
        instance_id: str,
        changes: Mapping[str, object],
        precondition: Precondition = ANY_STATE,
        *,
        remove: Iterable[str] = (),
        session: Session,
    ) -> Instance:
        """Change the instance, and read it as it was before, but for its revision."""
        instance = self._collection.find_one_and_update(
            {"_id": instance_id, "state": {"$ne": InstanceState.DELETING}},
            {"$set": dict(changes), "$unset": dict.fromkeys(remove, "")},
            session=session,
        )
        if instance is None:
            raise NotFound(self.what, instance_id)
        precondition.check(instance)
        return cast("Instance", {**instance, "revision": instance.get("revision", 0) + 1})

    @translated
    def take(self, instance_id: str, state: InstanceState, *, session: Session) -> Instance | None:
        """Take an instance out of this collection, to be `state` in another.

        None, with nothing changed, when it is in a state from which that is not allowed, or is not
        here.
        """
        taken = self._collection.find_one_and_delete(
            {"_id": instance_id, "state": {"$in": instance_states_before(state)}}, session=session
        )
        if taken is None:
            return None
        self._moves.add_instance(instance_id, taken["state"], state, session=session)
        return cast("Instance", taken)

    @translated
    def bring(self, instance: Instance, *, session: Session) -> None:
        """Write an instance that was taken out of another collection. Raises like `add`."""
        self._occupancy.refuse_held_ports(instance["node_id"], instance["ports"], session=session)
        try:
            self._collection.bring_one(cast("dict[str, Any]", instance), session=session)
        except DuplicateKeyError as exc:
            raise self._conflict(exc) from exc

    @translated
    def remove(self, instance_id: str, *, session: Session) -> bool:
        """Forget the instance. False when it was gone already."""
        gone = self._collection.find_one_and_delete({"_id": instance_id}, session=session)
        if gone is None:
            return False
        self._moves.add_instance(instance_id, gone["state"], GONE, session=session)
        return True

    @translated
    def remove_on(self, node_id: str, *, session: Session) -> list[Instance]:
        """Forget all instances of a node that goes, and return them."""
        there = cast(
            "list[Instance]", list(self._collection.find({"node_id": node_id}, session=session))
        )
        for instance in there:
            self._moves.add_instance(instance["_id"], instance["state"], GONE, session=session)
        self._collection.delete_many({"node_id": node_id}, session=session)
        return there

    @staticmethod
    def _make_update(changes: Mapping[str, object], remove: Iterable[str]) -> Changes:
        followed = follow_power(changes)
        if isinstance(followed, list):
            return [*followed, {"$unset": [*remove]}] if remove else followed
        return Collection._make_update(changes, remove)

    def _conflict(self, exc: DuplicateKeyError) -> Conflict:
        key = duplicate_key(exc)
        if "arrival.ports" in key:
            return PortTaken(key["arrival.node_id"], key["arrival.ports"])
        if "ports" not in key:
            return super()._conflict(exc)
        return PortTaken(key["node_id"], key["ports"])
