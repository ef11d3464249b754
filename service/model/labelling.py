"""What dashboards keep of theirs at documents: an id of their own, and labels (pure)."""

import re
from collections.abc import Mapping
from typing import TypedDict

from service.errors import InvalidInput

MOST = 32
"""How many labels a document has at the most."""

LONGEST = 255
"""How many characters a label's value has at the most."""

NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_/-]{0,61}[A-Za-z0-9])?", re.ASCII)
"""A label's name. It has no dot, which would part it where the database looks for it."""

NAME_RULE = (
    "A label's name has 1 to 63 letters, digits, _, - and /, the first and the last of them a "
    "letter or a digit."
)


_FIELDS = ("external_id", "labels")


class Labelling(TypedDict, total=False):
    """What is stored of it; what is absent was not given."""

    external_id: str
    labels: dict[str, str]


class LabellingChanges(TypedDict, total=False):
    """What is to change: None takes it away, like a label that is None."""

    external_id: str | None
    labels: dict[str, str | None] | None


def label(changes: LabellingChanges) -> Labelling:
    """Make what is stored at a new document. Raises InvalidInput for too many labels."""
    return _merge({}, changes)


def relabel(labels: Mapping[str, str], changes: LabellingChanges) -> tuple[Labelling, list[str]]:
    """Merge changes into labels as RFC 7396 has it; return what is set, and the fields to remove.

    Raises InvalidInput for too many labels.
    """
    merged = _merge(labels, changes)
    removed = [name for name in _FIELDS if name in changes and name not in merged]
    return merged, removed


def _merge(labels: Mapping[str, str], changes: LabellingChanges) -> Labelling:
    merged = Labelling()
    external_id, given = changes.get("external_id"), changes.get("labels")
    if external_id is not None:
        merged["external_id"] = external_id
    if given is not None:
        values = {**labels, **given}
        merged["labels"] = {name: value for name, value in values.items() if value is not None}
        if len(merged["labels"]) > MOST:
            raise InvalidInput("There are too many labels.", labels=[f"At most {MOST}."])
    return merged
