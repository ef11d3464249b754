"""What filters of lists mean that name other documents."""

from dataclasses import replace

from service.model.listing import Condition, Listing, Test
from service.store import Store


def find_references(store: Store, listing: Listing) -> Listing:
    """Find what a listing of instances or operations names.

    A node by its id, or else all by their name; an image by its id, its name or what it runs. What
    names no image of the catalogue is taken for a container image outside it.
    """
    conditions = dict(listing.conditions)
    if (node := conditions.get("node")) is not None:
        ids = store.nodes.list_called(node.value)
        conditions["node"] = Condition("node_id", Test.ONE_OF, ids or [node.value])
    if (image := conditions.get("image")) is not None:
        ids = [found["_id"] for found in store.images.list_matching(image.value)]
        conditions["image"] = (
            Condition("image_id", Test.ONE_OF, ids)
            if ids
            else Condition("image", Test.EQUALS, image.value)
        )
    return replace(listing, conditions=conditions)
