"""Containers that no document knows become instances of users."""

from contextlib import closing
from datetime import datetime

from service import images, quotas
from service.drivers import DriverFactory
from service.errors import InvalidInput
from service.model.container import ContainerStatus
from service.model.documents import Instance, Node, new_instance
from service.model.lifecycle import InstanceState
from service.model.orders import Adoption
from service.model.replacements import held_by
from service.store import Store
from service.store.collection import Session


def draft(
    store: Store,
    open_driver: DriverFactory,
    node: Node,
    adoption: Adoption,
    status: ContainerStatus,
    *,
    now: datetime,
) -> Instance:
    """Make the document of an instance from what the node knows of its container.

    Raises NotFound for no user, and InvalidInput when the node does not know what the container was
    made from.
    """
    user = store.users.get(adoption["user"], field="adopt")
    with closing(open_driver(node)) as driver:
        spec = driver.describe(adoption["id"])
    if spec is None:
        raise InvalidInput(
            "The node does not know what the container was made from.",
            adopt=[f"{adoption['id']} cannot be adopted."],
        )
    candidates = store.images.list_matching(spec.image)
    secret = {name for each in candidates for name in images.list_secret(each, spec.env)}
    # Only one that runs its container image is certain.
    image = candidates[0] if len(candidates) == 1 else None
    return new_instance(
        spec.instance_id,
        name=adoption["name"] or spec.instance_id,
        user_id=user["_id"],
        node_id=node["_id"],
        image=spec.image,
        image_id=image["_id"] if image else None,
        image_name=image["name"] if image else spec.image,
        memory_mib=spec.memory_mib,
        cpu_milli=spec.cpu_milli,
        ports=spec.ports,
        primary=str(spec.primary.host),
        primary_port=spec.primary.host,
        secret_variables=sorted(secret),
        env=[f"{name}={value}" for name, value in spec.env.items()],
        cmd=list(spec.cmd) if isinstance(spec.cmd, tuple) else spec.cmd,
        alt_images=image["alt_images"] if image else [],
        stop_command=spec.stop_command,
        state=InstanceState.READY,
        power=status.power,
        container_id=status.container_id,
        now=now,
    )


def add(store: Store, instance: Instance) -> None:
    """Write the instance, with its ports and memory. Raises PortTaken, and NotFound for no user.

    Neither the node's capacity nor the user's quota counts: the container has the memory already.
    """

    def write(session: Session) -> None:
        store.instances.add(instance, session=session)
        quotas.charge(
            store, instance, even_if_over=True, now=instance["created_at"], session=session
        )
        store.nodes.reserve(
            instance["node_id"],
            **held_by(instance),
            even_if_full=True,
            session=session,
        )

    store.transaction(write)
