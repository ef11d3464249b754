"""Which installation of Skyquay this is, and what is its own on nodes that others may use too."""

from collections.abc import Collection, Mapping

from service.drivers import Owner
from service.store import Store


def make_owner(store: Store) -> Owner:
    """Make the owner that drivers work for. The database is read when something is asked of it."""

    def find_claims(instance_ids: Collection[str]) -> Mapping[str, str | None]:
        # What is forgotten already, and still to be removed, is known to its removal alone.
        removed = store.operations.list_removed_containers(instance_ids)
        # One that goes from one collection to the other meanwhile is in one of the two reads.
        before = store.instances.list_containers(instance_ids)
        deleted = store.deleted.list_containers(instance_ids)
        return {**removed, **before, **deleted, **store.instances.list_containers(instance_ids)}

    def find_id() -> str:
        return store.settings.read_installation_id()

    return Owner(find_id, find_claims)
