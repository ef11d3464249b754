"""Changes of instances that exist: what needs a new container becomes an operation."""

from collections.abc import Mapping
from datetime import datetime
from typing import cast

from service import (
    idempotency,
    images,
    port_choice,
    port_edits,
    program_edits,
    quotas,
    replacements,
)
from service.errors import InstanceNotReady
from service.model.container_settings import choose_settings, settings_of
from service.model.documents import Image, Instance, Node, Operation, Settings, User
from service.model.driver_traits import CONTAINER_SETTINGS
from service.model.held_ports import list_held
from service.model.labelling import relabel
from service.model.lifecycle import OperationKind
from service.model.orders import Edit
from service.model.origin import Origin
from service.model.precondition import ANY_STATE, Precondition
from service.model.wrong_fields import WrongFields
from service.store import Store
from service.store.collection import Session


def edit(
    store: Store,
    reference: str,
    order: Edit,
    *,
    allow_any_image: bool = False,
    may_edit_all: bool = True,
    only_if: Precondition = ANY_STATE,
    origin: Origin,
) -> tuple[Instance, Operation | None]:
    """Change an instance; answer the operation that makes its container anew, where that is needed.

    The name, the owner, the external id and labels are changed at once, with no operation. Who may
    not edit all variables changes those of owners only. The ports and the size of before
    and after are both held until the operation has ended, which undoes itself when the new
    container does not start. After an error nothing is changed. Raises NotFound, also for an
    instance that is being deleted, PreconditionFailed, InvalidInput, InstanceNotReady while it is
    being installed, PortTaken, NoFreePorts, Conflict for an external id that is taken,
    QuotaExceeded and CapacityExceeded.
    """
    instance = store.instances.get_by_reference(reference)
    node = store.nodes.get(instance["node_id"])
    user, image = _check(
        store,
        node,
        replacements.expect(store, instance),
        order,
        allow_any_image=allow_any_image,
        may_edit_all=may_edit_all,
    )

    def write(session: Session) -> tuple[Instance, Operation | None]:
        current = store.instances.touch(
            instance["_id"], precondition=only_if, now=origin.now, session=session
        )
        if current["node_id"] != node["_id"]:
            raise InstanceNotReady("The instance was transferred to another node meanwhile.")
        expected = replacements.expect(store, current, session=session)
        changes = _find_changes(
            expected,
            _make_settings(
                store,
                node,
                expected,
                order,
                image,
                may_edit_all=may_edit_all,
                now=origin.now,
                session=session,
            ),
        )
        plain, removed = relabel(current.get("labels", {}), order)
        at_once: dict[str, object] = {**plain}
        if "name" in order:
            at_once["name"] = order["name"]
        if user is not None:
            at_once["user_id"] = user["_id"]
            _hand_over(store, current, user, origin=origin, session=session)
            store.operations.set_owner(current["_id"], user["_id"], session=session)
        if at_once or removed:
            current = store.instances.change(
                current["_id"], at_once, remove=removed, session=session
            )
        if not changes:
            return current, None
        return current, replacements.take_on(
            store, current, changes, origin=origin, session=session
        )

    return store.transaction(write)


def reinstall(
    store: Store,
    reference: str,
    *,
    keep_volume: bool,
    only_if: Precondition = ANY_STATE,
    origin: Origin,
) -> tuple[Instance, Operation]:
    """Have the image installed as at a deploy; answer the operation that does it.

    Without `keep_volume` all files are lost before. Raises NotFound, PreconditionFailed and
    InstanceNotReady as `edit`.
    """
    if done := idempotency.find_done(store, origin.claim):
        return done
    instance = store.instances.get_by_reference(reference)

    def write(session: Session) -> tuple[Instance, Operation]:
        current = store.instances.touch(
            instance["_id"], precondition=only_if, now=origin.now, session=session
        )
        return current, replacements.take_on(
            store,
            current,
            Settings(),
            kind=OperationKind.REINSTALL,
            keep_volume=keep_volume,
            origin=origin,
            session=session,
        )

    return store.transaction(write)


def check(
    store: Store,
    reference: str,
    order: Edit,
    *,
    allow_any_image: bool = False,
    may_edit_all: bool = True,
) -> None:
    """Check changes, which may be WellFormed. Raises NotFound and InvalidInput like `edit`."""
    instance = store.instances.get_by_reference(reference)
    _check(
        store,
        store.nodes.get(instance["node_id"]),
        replacements.expect(store, instance),
        order,
        allow_any_image=allow_any_image,
        may_edit_all=may_edit_all,
    )


def _hand_over(
    store: Store, instance: Instance, user: User, *, origin: Origin, session: Session
) -> None:
    """Count the instance as the new owner's. Raises QuotaExceeded, and NotFound for one gone."""
    if user["_id"] != instance["user_id"]:
        quotas.refund(store, [instance], session=session)
        taken = cast("Instance", {**instance, "user_id": user["_id"]})
        quotas.charge(store, taken, now=origin.now, session=session)


def _check(
    store: Store,
    node: Node,
    expected: Instance,
    order: Edit,
    *,
    allow_any_image: bool,
    may_edit_all: bool,
) -> tuple[User | None, Image | None]:
    """Find the new owner and the new image. Raises InvalidInput for all that is wrong.

    The instance may be changed until the transaction, which makes its settings once more.
    """
    wrong = WrongFields()
    user: User | None = None
    image: Image | None = None
    with wrong.noting():
        user = store.users.get(order["user_id"], field="user") if "user_id" in order else None
    with wrong.noting():
        if CONTAINER_SETTINGS & order.keys():
            choose_settings(settings_of(expected), order, node)
    with wrong.noting():
        image = _choose_image(store, order, allow_any_image=allow_any_image)
        if image is not None or "variables" in order:
            program_edits.find(store, node, expected, order, image, may_edit_all=may_edit_all)
    with wrong.noting():
        if port_edits.concerns_ports(order, image):
            after = image or program_edits.find_image(store, expected)
            port_edits.find(expected, order, after, is_new_image=image is not None)
    wrong.raise_any()
    return user, image


def _choose_image(store: Store, order: Edit, *, allow_any_image: bool) -> Image | None:
    if "image" not in order:
        return None
    return images.choose(
        store.images.list_matching(order["image"]),
        order["image"],
        order.get("image_name"),
        allow_any_image=allow_any_image,
    )


def _find_changes(expected: Instance, settings: Settings) -> Settings:
    """Return the settings, or nothing where the instance will have them all."""
    before: Mapping[str, object] = {
        **expected, "container": settings_of(expected), "ready": expected.get("ready")
    }  # fmt: skip
    same = all(before[name] == value for name, value in settings.items())
    return Settings() if same else settings


def _make_settings(
    store: Store,
    node: Node,
    expected: Instance,
    order: Edit,
    image: Image | None,
    *,
    may_edit_all: bool,
    now: datetime,
    session: Session,
) -> Settings:
    settings = Settings()
    if "memory_mib" in order:
        settings["memory_mib"] = order["memory_mib"]
    if "cpu_milli" in order:
        settings["cpu_milli"] = order["cpu_milli"]
    if CONTAINER_SETTINGS & order.keys():
        settings["container"] = choose_settings(settings_of(expected), order, node)
    if port_edits.concerns_ports(order, image):
        wanted, at, sent = port_edits.find(
            expected,
            order,
            image or program_edits.find_image(store, expected, session=session),
            is_new_image=image is not None,
            held=list_held(node, now=now),
        )
        ports = port_choice.settle(store, node, wanted, before=expected, now=now, session=session)
        settings.update(port_choice.describe(ports, wanted, at, sent=sent))
    if image is not None or "variables" in order:
        settings.update(
            program_edits.find(
                store, node, expected, order, image, may_edit_all=may_edit_all, session=session
            )
        )
    return settings
