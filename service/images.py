"""What can be done with the catalogue of images."""

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from service.errors import InvalidInput, NotFound
from service.model.documents import Image, new_image
from service.store import Store


def make_id() -> str:
    """Make up an id for an image."""
    return secrets.token_hex(8)


def put(
    store: Store,
    fields: Mapping[str, Any],
    *,
    now: datetime,
    new_id: Callable[[], str] = make_id,
) -> Image:
    """Add an image, or replace the one of the same name, whose id stays.

    `fields` are those of `new_image`.
    """
    return store.images.put(new_image(new_id(), **fields, now=now))


def choose(matching: Sequence[Image], reference: str, name: str | None) -> Image:
    """Choose the image that a deploy means of those that `reference` may: see `get_place`.

    Several images may run one container image; `name` distinguishes them, and without it the oldest
    is meant. Raises NotFound, which names `image`; InvalidInput when `name` is none of them.
    """
    if not matching:
        raise NotFound("image", reference, field="image")
    for image in matching:
        # The id and the name are exact; what else matches shares a container image.
        if reference in (image["_id"], image["name"]):
            return image
    if not name:
        return matching[0]
    for image in matching:
        if name == image["name"]:
            return image
    raise InvalidInput(
        "No image of this name runs this container image.",
        imagename=[f"Must be one of {', '.join(image['name'] for image in matching)}."],
    )


def choose_variables(image: Image, given: Mapping[str, str]) -> dict[str, str]:
    """Complete the variables that were sent with the image's defaults.

    Raises InvalidInput, which names each required variable that has neither. Variables that the
    image does not declare are kept: the older panel handed them to the container too.
    """
    chosen = dict(given)
    missing = []
    for name, variable in image["variables"].items():
        if chosen.get(name, "") == "" and variable["default"] not in (None, ""):
            chosen[name] = str(variable["default"])
        if variable["required"] and chosen.get(name, "") == "":
            missing.append(name)
    if missing:
        raise InvalidInput(
            "A required variable is missing.",
            variables={name: ["This variable is required."] for name in missing},
        )
    return chosen


def list_secret(image: Image, names: Iterable[str]) -> list[str]:
    """Return which of these variables the image calls secret."""
    variables = image["variables"]
    return sorted(name for name in names if name in variables and variables[name].get("secret"))


def outside_catalogue(reference: str) -> Image:
    """Describe a container image that the catalogue does not have: it runs as it was built."""
    return new_image("", name=reference, image=reference, now=datetime.fromtimestamp(0, tz=UTC))
