"""What a deploy names, of three collections and with what is held there, in one query."""

from collections.abc import Collection as Collected
from typing import Any, NamedTuple, cast

from pymongo.database import Database

from service.errors import NotFound
from service.model.documents import Image, Node, User
from service.store.collection import Session
from service.store.images import Images, matching
from service.store.node_names import called, choose
from service.store.nodes import Nodes
from service.store.occupancy import Occupancy, is_held
from service.store.users import Users


class Place(NamedTuple):
    """Whose an instance is to be, where, and of what: all that may be meant."""

    users: list[User]
    nodes: list[Node]
    images: list[Image]
    """Oldest first."""
    held_ports: frozenset[int] = frozenset()
    """Host ports of the node of this id that are held for instances on their way to it.

    All of those of an instance that holds one of the ports that were asked for.
    """

    def get_user(self, user_id: str) -> User:
        """Take the user. Raises NotFound, which names the field of a deploy."""
        for user in self.users:
            return user
        raise NotFound(Users.what, user_id, field="user")

    def get_node(self, reference: str) -> Node:
        """Choose the node: see `choose`. Raises NotFound and AmbiguousName like `get_user`."""
        return choose(self.nodes, reference, field="nodeId")


def find(
    database: Database[dict[str, Any]],
    users: Users,
    nodes: Nodes,
    images: Images,
    occupancy: Occupancy,
    *,
    user_id: str | None,
    node_id: str | None,
    image: str | None,
    ports: Collected[int],
    session: Session | None,
) -> Place:
    """Read a user, a node, and the images whose id, name or container image is `image`.

    The node may be named as well; of one that is called by its id also which of the ports are held
    for instances on their way to it. Nothing has the id None.
    """
    stages = {"nodes": nodes.select(called(node_id)), "images": images.select(matching(image))}
    if node_id and ports:
        stages["instances"] = occupancy.select(is_held(node_id, ports))
    # Unlike `$unionWith` this may be part of a transaction.
    others = [
        {"$lookup": {"from": name, "pipeline": wanted, "as": name}}
        for name, wanted in stages.items()
    ]
    users_found = list(
        database["users"].aggregate([*users.select({"_id": user_id}), *others], session=session)
    )
    if users_found:
        found = {name: users_found[0].pop(name) for name in stages}
    else:  # nothing was looked up for nobody, but what else is wrong is to be known
        found = {
            name: list(database[name].aggregate(wanted, session=session))
            for name, wanted in stages.items()
        }
    return Place(
        cast("list[User]", users_found),
        found["nodes"],
        sorted(found["images"], key=lambda each: (each["created_at"], each["_id"])),
        frozenset(port for each in found.get("instances", ()) for port in each["arrival"]["ports"]),
    )
