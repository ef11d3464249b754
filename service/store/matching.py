"""Whether a document is one that a query finds, told without the database.

Only for queries of what somebody may see: equality, `$in`, `$and` and `$or`, of fields that are no
arrays. MongoDB and this must agree on each; a test compares them.
"""

from collections.abc import Mapping
from typing import Any


def matches(document: Mapping[str, Any], query: Mapping[str, Any]) -> bool:
    """Return whether the query finds the document. Raises ValueError for what it cannot tell."""
    return all(_has(document, name, wanted) for name, wanted in query.items())


def _has(document: Mapping[str, Any], name: str, wanted: Any) -> bool:
    if name == "$and":
        return all(matches(document, each) for each in wanted)
    if name == "$or":
        return any(matches(document, each) for each in wanted)
    value = document.get(name)  # to MongoDB null is what is absent, too
    if isinstance(wanted, Mapping):
        if wanted.keys() != {"$in"}:
            raise ValueError(f"Cannot tell {sorted(wanted)} of {name}.")
        return value in wanted["$in"]
    if name.startswith("$"):
        raise ValueError(f"Cannot tell {name}.")
    return bool(value == wanted)
