"""The details of errors as lines, for people."""

from collections.abc import Iterator, Mapping
from typing import Any

from service.errors import NoNodeFits


def list_details(details: object, path: str = "") -> Iterator[str]:
    """Write details as lines, one for each field and sentence: "tls.key: Is no key."."""
    if isinstance(details, Mapping):
        for name, inner in details.items():
            yield from list_details(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(details, (list, tuple)):
        for inner in details:
            yield from list_details(inner, path)
    else:
        yield f"{path}: {details}" if path else str(details)


def list_facts(code: str, details: Mapping[str, Any], *, most_nodes: int = 20) -> list[str]:
    """Write the details of an error as lines; of NoNodeFits one for each node, as far as they go.

    The last line is how many more nodes there are.
    """
    if code != NoNodeFits.code:
        return list(list_details(details))
    named = [f"{node['name']}: {node['message']}" for node in details["nodes"][:most_nodes]]
    more = sum(details["reasons"].values()) - len(named)
    return [*named, f"{more} more."] if more else named
