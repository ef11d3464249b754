"""What a deploy names, of three collections in one query."""

from typing import Any, NamedTuple

from pymongo.database import Database

from service.errors import NotFound
from service.model.documents import Image, Node, User
from service.store.images import Images, matching
from service.store.node_names import called, choose
from service.store.nodes import Nodes
from service.store.users import Users


class Place(NamedTuple):
    """Whose an instance is to be, where, and of what: all that may be meant."""

    users: list[User]
    nodes: list[Node]
    images: list[Image]
    """Oldest first."""

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
    *,
    user_id: str | None,
    node_id: str | None,
    image: str | None,
) -> Place:
    """Read a user, a node, and the images whose id, name or container image is `image`.

    The node may be named as well. Nothing has the id None.
    """
    pipeline = [
        *users.part("user", {"_id": user_id}),
        {"$unionWith": {"coll": "nodes", "pipeline": nodes.part("node", called(node_id))}},
        {"$unionWith": {"coll": "images", "pipeline": images.part("image", matching(image))}},
    ]
    found: dict[str, list[Any]] = {"user": [], "node": [], "image": []}
    for part in database["users"].aggregate(pipeline):
        for name, document in part.items():
            found[name].append(document)
    oldest_first = sorted(found["image"], key=lambda each: (each["created_at"], each["_id"]))
    return Place(found["user"], found["node"], oldest_first)
