"""What part of a collection a listing means, as MongoDB is asked for it."""

import re
from collections.abc import Callable, Iterable
from typing import Any

from service.model.listing import Condition, Listing, Sort, Test

Query = dict[str, Any]

_AFTER_ALL = "\U0010ffff"
"""Sorts after every other character."""

_QUERIES: dict[Test, Callable[[Any], Any]] = {
    Test.EQUALS: lambda value: value,
    Test.ONE_OF: lambda value: {"$in": list(value)},
    Test.STARTS_WITH: lambda value: {"$gte": value, "$lt": value + _AFTER_ALL},
    Test.SINCE: lambda value: {"$gte": value},
    Test.TAGGED: lambda value: re.compile(rf"(^|,)\s*{re.escape(value)}\s*(,|$)"),
}


def make_query(listing: Listing) -> Query:
    """Make the query of all that the listing means from its place on."""
    parts = [make_condition(condition) for condition in listing.conditions.values()]
    if listing.after is not None:
        parts.append(_make_after(listing.sort, listing.after))
    return {"$and": parts} if parts else {}


def make_condition(condition: Condition) -> Query:
    """Make the query of one condition."""
    return {condition.field: _QUERIES[condition.test](condition.value)}


def make_sort(sort: Sort) -> list[tuple[str, int]]:
    """Make the order in which documents are read."""
    return [(field, -1 if sort.descending else 1) for field in sort.fields]


def find_place(sort: Sort, document: Any) -> tuple[Any, ...]:
    """Find where a document is in an order."""
    return tuple(document[field] for field in sort.fields)


def _make_after(sort: Sort, place: Iterable[Any]) -> Query:
    further, not_before = ("$lt", "$lte") if sort.descending else ("$gt", "$gte")
    same: Query = {}
    branches = []
    for field, value in zip(sort.fields, place, strict=True):
        branches.append({**same, field: {further: value}})
        same = {**same, field: value}
    first, value = next(iter(same.items()))
    # An index is entered by the first field alone.
    return {first: {not_before: value}, "$or": branches}
