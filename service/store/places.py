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
    """Whose an instance is to be, where, and of what."""

    user: User
    node: Node
    images: list[Image]
    """All that may be meant, oldest first."""


def get(
    database: Database[dict[str, Any]],
    users: Users,
    nodes: Nodes,
    images: Images,
    *,
    user_id: str,
    node_id: str,
    image: str,
) -> Place:
    """Read a user, a node, and the images whose id, name or container image is `image`.

    The node may be named as well. Raises NotFound without the user, or else without the node, and
    AmbiguousName for several nodes of this name; each names the field of a deploy.
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
    if not found["user"]:
        raise NotFound(users.what, user_id, field="user")
    node = choose(found["node"], node_id, field="nodeId")
    oldest_first = sorted(found["image"], key=lambda each: (each["created_at"], each["_id"]))
    return Place(found["user"][0], node, oldest_first)
