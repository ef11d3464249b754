"""What filters of lists mean that name other documents, or another collection."""

from dataclasses import replace

from service.model.lifecycle import InstanceState
from service.model.listing import Condition, Listing, Test
from service.store import Store
from service.store.instances import Instances


def choose_instances(store: Store, listing: Listing) -> Instances:
    """Choose the collection that a listing of instances is of: the deleted ones, or all others."""
    deleted, state = (listing.conditions.get(name) for name in ("deleted", "state"))
    if deleted is None:
        is_meant = state is not None and state.value == InstanceState.DELETED
    else:
        is_meant = deleted.value
    return store.deleted if is_meant else store.instances


def find_references(store: Store, listing: Listing) -> Listing:
    """Find what a listing of instances or operations names.

    A node by its id, or else all by their name; an image by its id, its name or what it runs. What
    names no image of the catalogue is taken for a container image outside it.
    """
    conditions = dict(listing.conditions)
    if (deleted := conditions.pop("deleted", None)) is not None and deleted.value:
        going = [InstanceState.DELETED, InstanceState.DELETING]
        conditions["deleted"] = Condition("state", Test.ONE_OF, going)
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
