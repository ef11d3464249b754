"""Which part of a list is meant: what must hold of a document, in what order, from where on."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple


class Test(StrEnum):
    """How a document's field is compared with what was given."""

    EQUALS = "equals"
    ONE_OF = "one of"
    STARTS_WITH = "starts with"
    SINCE = "since"
    TAGGED = "tagged"  # is a list with it, or a text that has it between commas


class Condition(NamedTuple):
    """What must hold of a document's field."""

    field: str
    test: Test
    value: Any


class Sort(NamedTuple):
    """An order. The fields together are unique, so that a place in it is one document's."""

    fields: tuple[str, ...]
    descending: bool = False


BY_AGE = Sort(("created_at", "_id"))


@dataclass(frozen=True, slots=True)
class Listing:
    """A part of a list. The conditions are the filters' by their names."""

    conditions: dict[str, Condition]
    sort: Sort = BY_AGE
    limit: int | None = None
    after: tuple[Any, ...] | None = None
    """The values that the last document of the page before has in the fields of the sort."""

    shown: tuple[str, ...] | None = None
    """The fields of the answer; None: all."""

    cursor: str | None = None
    """Where the page begins, as the client sent it: it is opened into `after`."""

    @property
    def is_whole(self) -> bool:
        """Return whether nothing was asked for but everything."""
        return self == Listing({})
