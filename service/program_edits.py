"""Which program an instance has after a change: its image, and its variables."""

from collections.abc import Mapping

from service import images, variables
from service.model.container import parse_env
from service.model.documents import Image, Instance, Node, Settings
from service.model.orders import Edit
from service.model.readiness import check_on
from service.model.wrong_fields import WrongFields
from service.order_checks import check_declared, check_image
from service.store import Store
from service.store.collection import Session


def find(
    store: Store,
    node: Node,
    expected: Instance,
    order: Edit,
    image: Image | None,
    *,
    may_edit_all: bool,
    session: Session | None = None,
) -> Settings:
    """Find what changes of the program, with its image, if that is another, and its variables.

    Raises InvalidInput for all that is wrong.
    """
    before = find_image(store, expected, session=session)
    after, merged = image or before, _merge_variables(expected, order)
    wrong = WrongFields()
    with wrong.noting():
        chosen = _check_variables(expected, merged, after, before, may_edit_all=may_edit_all)
    with wrong.noting():
        check_image(node, after)
    with wrong.noting():
        check_declared(node, after, merged)
    wrong.raise_any()
    return _make_program(node, expected, order, after, chosen)


def find_image(store: Store, expected: Instance, *, session: Session | None = None) -> Image:
    """Read the image that the instance is of, as it is now; or make it of what it runs."""
    image_id = expected["image_id"]
    found = store.images.find(image_id, session=session) if image_id is not None else None
    return found or images.outside_catalogue(expected["image"])


def _merge_variables(expected: Instance, order: Edit) -> dict[str, str]:
    """Merge the variables that were sent into those of before."""
    sent = order.get("variables", {})
    merged = {**expected["variables"], **sent} if sent is not None else {}
    return {name: value for name, value in merged.items() if value is not None}


def _check_variables(
    expected: Instance,
    merged: Mapping[str, str],
    image: Image,
    before: Image,
    *,
    may_edit_all: bool,
) -> dict[str, str]:
    """Check and complete variables.

    What only administrators may set of another image is not what an owner once set of this one.
    """
    return variables.check(
        image["variables"],
        merged,
        may_edit_all=may_edit_all,
        current={
            name: value
            for name, value in expected["variables"].items()
            if image["_id"] == before["_id"] or variables.is_of_admin(before, name)
        },
    )


def _make_program(
    node: Node, expected: Instance, order: Edit, image: Image, chosen: Mapping[str, str]
) -> Settings:
    """Make all that the container runs, with these variables."""
    program = _make_image(node, expected, order, image)
    env = [*program["env"], *(f"{name}={value}" for name, value in chosen.items())]
    # What was secret stays so: another image may not know it, and the program has it all the same.
    secret = {*images.list_secret(image, chosen), *expected["secret_variables"]}
    return Settings(
        **{
            **program,
            "variables": dict(chosen),
            "secret_variables": sorted(secret & parse_env(env).keys()),
            "env": env,
        }
    )


def _make_image(node: Node, expected: Instance, order: Edit, image: Image) -> Settings:
    """Make what the image says, with its own environment; what it said before if it stays."""
    if "image" in order:
        return Settings(
            image=images.choose_reference(image, order["image"]),
            image_id=image["_id"] or None,
            image_name=image["name"],
            env=image["env"],
            cmd=image["cmd"],
            alt_images=image["alt_images"],
            stop_command=image["stop_command"],
            scripts=image["scripts"],
            ready=check_on(image, node["driver"]),
        )
    return Settings(
        image=expected["image"],
        image_id=expected["image_id"],
        image_name=expected["image_name"],
        # An environment ends with the variables; what comes before is the image's.
        env=expected["env"][: len(expected["env"]) - len(expected["variables"])],
        cmd=expected["cmd"],
        alt_images=expected["alt_images"],
        stop_command=expected["stop_command"],
        scripts=expected["scripts"],
        ready=expected.get("ready"),
    )
