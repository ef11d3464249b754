"""How a node's daemon gives us the key that the node is called with."""

import hashlib
import secrets
from datetime import datetime, timedelta

from service import idempotency
from service.errors import InvalidInput
from service.model.documents import ConfigureKey, Node
from service.model.driver_traits import traits_of
from service.model.lifecycle import NodeStatus
from service.model.origin import Claim
from service.security.vault import Vault
from service.store import Store

CONFIGURE_KEY_LIFETIME = timedelta(hours=1)
"""How long a skyportd node may enrol itself with its configure key."""

RESTART = "Restart the daemon."
"""What is left to do for a daemon that enrolled itself."""


def issue_configure_key(
    store: Store, node_id: str, *, now: datetime, claim: Claim | None = None
) -> tuple[Node, str]:
    """Make the key that the node's daemon enrols itself with, once; the one before is worthless.

    Raises NotFound, InvalidInput for a node of another driver, and AlreadyDone for a repeat.
    """
    idempotency.refuse_repeat(claim)
    node = store.nodes.get_by_reference(node_id, field="nodeId")
    if not traits_of(node["driver"]).enrols:
        raise InvalidInput(
            "Only skyportd nodes are enrolled.", nodeId=[f"Is a {node['driver']} node."]
        )
    key = secrets.token_hex(32)
    expires_at = now + CONFIGURE_KEY_LIFETIME
    kept = ConfigureKey(digest=_digest(key), expires_at=expires_at)
    return store.nodes.update(node["_id"], {"configure_key": kept}), key


def enroll(
    store: Store, vault: Vault, *, configure_key: str, access_key: str, now: datetime
) -> Node:
    """Take the key that a daemon made for itself; it is used once the daemon answers to it.

    Raises InvalidInput for a configure key that is wrong, used or expired.
    """
    node = store.nodes.take_configure_key(
        _digest(configure_key),
        changes={"pending_secret": vault.seal(access_key), "probed_at": None},
        now=now,
    )
    if node is None:
        raise InvalidInput(
            "The configure key is not valid.", configureKey=["Is wrong, used or expired."]
        )
    if node["status"] == NodeStatus.UNCONFIGURED:
        waits = {"status": NodeStatus.OFFLINE, "probe_error": RESTART}
        return store.nodes.update(node["_id"], waits)
    return node


def use_new_key(node: Node) -> Node:
    """Make the node as it is once its daemon answers to the key that it enrolled itself with."""
    if node["pending_secret"] is None:
        return node
    return {**node, "secret": node["pending_secret"]}


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
