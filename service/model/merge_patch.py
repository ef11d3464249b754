"""JSON merge patches (RFC 7396): a change of a document, written like the document."""

from collections.abc import Mapping
from typing import Any


def merge(document: object, patch: object) -> Any:
    """Return the document as the patch has it; neither is changed.

    What the patch does not name stays, null removes a member, and what is no object replaces.
    """
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(document) if isinstance(document, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged
