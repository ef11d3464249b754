"""What webhooks are signed with, which is encrypted: encrypted anew."""

from service.security.vault import Vault
from service.store import Store


def reseal(store: Store, vault: Vault) -> int:
    """Encrypt the secrets of all webhooks with the first secret key; return how many those are.

    Raises StoreFailure for one that no key opens; those before it are done, and repeating is safe.
    """
    count = 0
    for webhook in store.webhooks.all():
        sealed = {"secret": webhook["secret"]}
        if webhook["retiring"] is not None:
            sealed["retiring.secret"] = webhook["retiring"]["secret"]
        for field, before in sealed.items():
            anew = vault.seal_anew(before)
            # One that was replaced meanwhile was sealed with the first key already.
            count += store.webhooks.replace_secret(webhook["_id"], field, anew, before=before)
    return count
