"""What nodes are called with, which is encrypted: opened and encrypted anew."""

from service.model.documents import Node
from service.security.vault import Vault
from service.store import Store

SEALED = ("secret", "pending_secret", "tls")
"""The fields that are encrypted."""


def list_unreadable(store: Store, vault: Vault) -> list[Node]:
    """Read the nodes that have a secret which none of the secret keys opens."""
    return [
        node
        for node in store.nodes.all()
        if not all(vault.can_open(sealed) for sealed in _sealed(node).values())
    ]


def reseal(store: Store, vault: Vault) -> int:
    """Encrypt the secrets of all nodes with the first secret key; return how many those are.

    Raises StoreFailure for one that no key opens; those before it are done, and repeating is safe.
    """
    count = 0
    for node in store.nodes.all():
        for field, sealed in _sealed(node).items():
            anew = {field: vault.seal_anew(sealed)}
            # One that was replaced meanwhile was sealed with the first key already.
            count += store.nodes.replace_secret(node["_id"], anew, only_if={field: sealed})
    return count


def _sealed(node: Node) -> dict[str, str]:
    return {
        field: str(sealed)
        for field in SEALED
        if (sealed := node[field]) is not None  # type: ignore[literal-required]
    }
