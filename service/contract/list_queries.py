"""What each list may be asked for: its orders and its filters, on top of what all lists have."""

import marshmallow as ma

from service.contract import fields
from service.contract.images import ImageAnswer
from service.contract.instances import InstanceAnswer
from service.contract.keys import KeyAnswer
from service.contract.lists import (
    LONGEST_PAGE,
    LabelledQuery,
    ListQuery,
    filter_by,
    one_of,
    since,
    sort_by,
)
from service.contract.nodes import NodeAnswer
from service.contract.operations import OperationAnswer
from service.contract.users import UserAnswer
from service.model.driver_traits import OFFERED
from service.model.lifecycle import InstanceState, NodeStatus, OperationStatus, Power
from service.model.listing import Test

_BY_CHANGE = ("updated_at", "_id")
_CREATED = since("created_at", "Made at this time or later.")
_UPDATED = since("updated_at", "Changed at this time or later.")


class UsersQuery(LabelledQuery):
    """Which users."""

    answer = UserAnswer
    sort = sort_by(updatedAt=_BY_CHANGE, username=("username_key",))

    username = filter_by(
        of="username_key",
        test=Test.STARTS_WITH,
        fold=True,
        description="Whose name begins with this, in any letter case.",
    )
    email = filter_by(
        of="email_key", fold=True, description="With this e-mail address, in any letter case."
    )
    admin = filter_by(ma.fields.Boolean, of="admin", description="Administrators, or all others.")
    createdSince = _CREATED
    updatedSince = _UPDATED


class InstancesQuery(LabelledQuery):
    """Which instances."""

    answer = InstanceAnswer
    sort = sort_by(updatedAt=_BY_CHANGE, name=("name", "_id"))

    user = filter_by(of="user_id", description="Of the user with this id.")
    node = filter_by(of="node_id", description="On this node: its id or its name.")
    image = filter_by(of="image_id", description="Of this image: its id or its name.")
    name = filter_by(of="name", test=Test.STARTS_WITH, description="Whose name begins with this.")
    state = one_of(InstanceState, of="state", description="With this `InternalState`.")
    power = one_of(Power, of="power", description="Last seen so.")
    suspended = filter_by(
        ma.fields.Boolean, of="suspended", description="Suspended ones, or all others."
    )
    deleted = filter_by(
        ma.fields.Boolean,
        of="deleted",
        description="Those that are deleted and kept, or all others; these if absent, unless "
        "`state` is DELETED.",
    )
    createdSince = _CREATED
    updatedSince = _UPDATED


class ImagesQuery(ListQuery):
    """Which images."""

    answer = ImageAnswer
    sort = sort_by(updatedAt=_BY_CHANGE, name=("name",))

    name = filter_by(of="name", test=Test.STARTS_WITH, description="Whose name begins with this.")
    createdSince = _CREATED
    updatedSince = _UPDATED


class NodesQuery(LabelledQuery):
    """Which nodes."""

    answer = NodeAnswer
    sort = sort_by(updatedAt=_BY_CHANGE, name=("name", "_id"))

    name = filter_by(of="name", test=Test.STARTS_WITH, description="Whose name begins with this.")
    tag = filter_by(of="tags", test=Test.TAGGED, description="With this tag.")
    status = one_of(NodeStatus, of="status", description="With this status.")
    driver = filter_by(
        of="driver", validate=ma.validate.OneOf(OFFERED), description="With this driver."
    )
    createdSince = _CREATED
    updatedSince = _UPDATED


class KeysQuery(ListQuery):
    """Which keys."""

    answer = KeyAnswer

    user = filter_by(of="user_id", description="Limited to the user with this id.")
    createdSince = _CREATED


class OperationsQuery(ListQuery):
    """Which operations: the newest, unless another order is asked for."""

    answer = OperationAnswer
    sort = sort_by(otherwise="-createdAt")
    limit = fields.count(
        longest=LONGEST_PAGE,
        load_default=100,
        metadata={"description": "How many at most. `Link` has the next page."},
    )

    instanceId = filter_by(
        of="instance_id",
        validate=ma.validate.Length(min=1, max=128),
        description="Of this instance.",
    )
    node = filter_by(
        of="node_id", data_key="nodeId", description="On this node: its id or its name."
    )
    status = one_of(OperationStatus, of="status", description="With this status.")
