"""What can be done with the catalogue of images."""

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn

from service import variables
from service.errors import (
    AlreadyDone,
    Conflict,
    ImageInUse,
    InvalidInput,
    NotFound,
    PreconditionFailed,
    ServiceError,
)
from service.model.documents import Image, ReadyCheck, ReadyKind, Variable, new_image
from service.model.origin import Claim
from service.model.precondition import ANY_STATE, Precondition
from service.model.wrong_fields import WrongFields
from service.patterns import compile_pattern
from service.store import Store
from service.store.collection import Session

_RUNS = (
    "process", "image", "alt_images", "env", "cmd", "scripts", "variables", "stop_command", "ports"
)  # fmt: skip
"""What says which program an image runs, and how."""


def make_id() -> str:
    """Make up an id for an image."""
    return secrets.token_hex(8)


def draft(image_id: str, fields: Mapping[str, Any], *, now: datetime) -> Image:
    """Make the document of an image of the fields of `new_image`.

    Raises InvalidInput for variables that are declared wrongly, and a pattern that is none.
    """
    _check_ready(fields.get("ready"))
    declared = variables.declare(fields.get("variables", {}))
    return new_image(image_id, **{**fields, "variables": declared}, now=now)


def create(
    store: Store,
    fields: Mapping[str, Any],
    *,
    now: datetime,
    claim: Claim | None = None,
    new_id: Callable[[], str] = make_id,
) -> Image:
    """Add an image. `fields` are those of `new_image`.

    Raises Conflict for a name that is taken, and InvalidInput for one that would run as a process,
    and like `draft`. A repeat of what an earlier request did answers the image that it added;
    AlreadyDone when that one is gone.
    """
    if claim is not None and claim.made is not None:
        added = store.images.find(claim.made["image"])
        if added is None:
            raise AlreadyDone(claim.made)
        return added
    check(fields, is_new=True)
    image = draft(new_id(), fields, now=now)

    def write(session: Session) -> None:
        store.images.add(image, session=session)
        store.idempotency.mark(claim, {"image": image["_id"]}, session=session)

    store.transaction(write)
    return image


def check(fields: Mapping[str, Any], *, is_new: bool = False) -> None:
    """Check fields of `new_image`, which may be WellFormed. Raises InvalidInput for all wrong ones.

    What runs as a process already may be replaced as it is; what `is_new` does not run so.
    """
    wrong = WrongFields()
    with wrong.noting():
        variables.declare(fields.get("variables", {}))
    with wrong.noting():
        _check_ready(fields.get("ready"))
    with wrong.noting():
        if is_new and fields.get("process"):
            _refuse_process()
    wrong.raise_any()


def put(
    store: Store,
    fields: Mapping[str, Any],
    *,
    trusted: bool = True,
    now: datetime,
    new_id: Callable[[], str] = make_id,
) -> Image:
    """Add an image, or replace the one of the same name, whose id stays.

    `fields` are those of `new_image`. Who is not `trusted` does not work on the machine itself:
    InvalidInput then for one that would run as a process there, and like `draft`.
    """
    image = draft(new_id(), fields, now=now)

    def write(session: Session) -> Image:
        old = store.images.find_by_name(image["name"], session=session)
        new = _keep_secrets(old, image)
        if not trusted:
            _check_process(old, new)
        return store.images.put(new, session=session)

    return store.transaction(write)


def change(
    store: Store,
    reference: str,
    make: Callable[[Image], Mapping[str, Any]],
    *,
    only_if: Precondition = ANY_STATE,
    now: datetime,
) -> Image:
    """Replace an image by what `make` makes of it: the fields of `new_image`.

    Instances that were made of it stay as they are. Raises NotFound, PreconditionFailed, Conflict
    for a name that is taken, and InvalidInput like `create`; nothing is changed then.
    """

    def write(session: Session) -> Image:
        old = store.images.get_by_reference(reference, session=session)
        only_if.check(old)
        new = _keep_secrets(old, draft(old["_id"], make(old), now=now))
        new["created_at"] = old["created_at"]
        _check_process(old, new)
        store.images.replace(new, session=session)
        return new

    return store.transaction(write)


def delete(
    store: Store, reference: str, *, only_if: Precondition = ANY_STATE, now: datetime
) -> None:
    """Forget an image.

    Raises NotFound, PreconditionFailed, ImageInUse while instances use it, and Conflict.

    A deploy only reads the image, so that many of one image do not wait for one another. So the
    deletion does more: its mark stops those that begin later, and it writes to every node, as each
    deploy that began before writes to one. They cannot pass each other. A crash in between leaves a
    mark, which is soon void.
    """
    image = store.images.get_by_reference(reference)
    only_if.check(image)  # before it is marked, so that a deploy does not fail for nothing
    image_id = image["_id"]
    store.images.mark_deleting(image_id, now=now)

    def write(session: Session) -> ServiceError | None:
        current = store.images.find(image_id, session=session)
        if current is None:
            return None
        if current.get("deleting_at") != now:
            raise Conflict("Somebody else deletes the image at this moment.")
        store.nodes.touch_all(session=session)
        try:
            only_if.check(current)
            _check_unused(store, image_id, session=session)
        except (PreconditionFailed, ImageInUse) as refusal:
            store.images.unmark(image_id, session=session)
            return refusal
        store.images.remove(image_id, session=session)
        return None

    if refusal := store.transaction(write):
        raise refusal


def choose(
    matching: Sequence[Image], reference: str, name: str | None, *, allow_any_image: bool = False
) -> Image:
    """Choose the image that a deploy means of those that `reference` may: see `find_place`.

    Several images may run one container image; `name` distinguishes them, and without it the oldest
    is meant. Where any image is allowed, one that the catalogue lacks runs as it was built. Raises
    NotFound, which names `image`; InvalidInput when `name` is none of them.
    """
    if not matching and allow_any_image:
        return outside_catalogue(reference)
    if not matching:
        raise NotFound("image", reference, field="image")
    # The id and the name are exact; what else matches shares a container image.
    exact = sorted(
        (image for image in matching if reference in (image["_id"], image["name"])),
        key=lambda image: image["_id"] != reference,
    )
    if exact:
        return exact[0]
    if not name:
        return matching[0]
    for image in matching:
        if name == image["name"]:
            return image
    raise InvalidInput(
        "No image of this name runs this container image.",
        imagename=[f"Must be one of {', '.join(image['name'] for image in matching)}."],
    )


def choose_reference(image: Image, reference: str) -> str:
    """Return the container image that is meant: an alternative only where it is named itself."""
    return reference if reference in image["alt_images"] else image["image"]


def list_secret(image: Image, names: Iterable[str]) -> list[str]:
    """Return which of these variables the image calls secret."""
    declared = image["variables"]
    return sorted(name for name in names if name in declared and declared[name].get("secret"))


def _check_ready(check: ReadyCheck | None) -> None:
    if check is None or check["kind"] != ReadyKind.PATTERN:
        return
    try:
        compile_pattern(check["value"])
    except ValueError as exc:
        reason = f"Is no pattern that RE2 can match: {exc}."
        raise InvalidInput("The pattern is wrong.", ready={"log": [reason]}) from exc


def _check_unused(store: Store, image_id: str, *, session: Session) -> None:
    count = store.instances.count_of_image(image_id, session=session)
    count += store.deleted.count_of_image(image_id, session=session)
    count += store.operations.count_to_image(image_id, session=session)
    if count:
        raise ImageInUse(f"Instances use the image: {count}.", instances=count)


def _check_process(old: Image | None, new: Image) -> None:
    """Raise InvalidInput for a new program that would run on this machine, past all containers."""
    what: list[str] = [name for name in _RUNS if old is None or old.get(name, []) != new[name]]  # type: ignore[literal-required]
    if new["process"] and what:
        _refuse_process()


def _refuse_process() -> NoReturn:
    raise InvalidInput(
        "What runs as a process is changed on the machine itself.",
        process=["Must be false here: only `skyquay images import` changes what runs so."],
    )


def _keep_secrets(old: Image | None, new: Image) -> Image:
    """Complete the secret variables that have no default with those that nobody can read."""
    known = old["variables"] if old else {}
    kept: dict[str, Variable] = {
        name: {**variable, "default": known[name]["default"]}
        for name, variable in new["variables"].items()
        if variable.get("secret") and variable["default"] is None
        if name in known and known[name].get("secret")
    }
    return {**new, "variables": {**new["variables"], **kept}}


def outside_catalogue(reference: str) -> Image:
    """Describe a container image that the catalogue does not have: it runs as it was built."""
    return new_image("", name=reference, image=reference, now=datetime.fromtimestamp(0, tz=UTC))
