"""Lists of all documents of a kind: read in batches, encoded once, streamed when they are long.

First the versions of the documents are read, each time, so that everybody sees what was written
before on whatever process. What this process encoded in these versions before is taken as it is;
the rest is read and encoded. A document that is changed or deleted between the two reads is shown
in its newer state, or left out.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any, Generic, Protocol, TypeVar

from flask import Response

from service.api import etags, pages
from service.api.context import app_context
from service.api.encoding import encode, encode_around
from service.api.fragments import Fragment, Fragments
from service.contract.answers import Answer
from service.contract.instances import summarize
from service.model.documents import Node
from service.model.listing import Listing
from service.model.public_addresses import find_host, print_endpoint

STREAMED_ABOVE = 2 * 2**20
"""Bytes. A shorter answer is sent whole, with its length."""

_CHUNK = 250
"""How many documents are encoded and sent at a time."""

_CONNECT = b',"connect":'

Hide = Callable[[Any], Any]
"""Takes from a document what its reader may not see."""

Document = TypeVar("Document", bound=Mapping[str, Any])
Found_co = TypeVar("Found_co", bound=Mapping[str, Any], covariant=True)


class Versioned(Protocol[Found_co]):
    """The part of a collection of the store that lists are made of."""

    def versions(self) -> Iterator[list[bytes]]: ...

    def short_versions(self, limit: int) -> bytes | None: ...

    def split_versions(self, short: bytes, /) -> list[bytes]: ...

    def list_versions(self, wanted: Iterable[bytes]) -> Mapping[bytes, tuple[Found_co, bool]]: ...


class VersionedInstances(Versioned[Found_co], Protocol[Found_co]):
    """The same of instances."""

    def list_version_nodes(self, short: bytes, /) -> set[str]: ...


class Listed(Versioned[Found_co], pages.Paged[Found_co], Protocol[Found_co]):
    """All that a list can be made of."""


class ListedInstances(VersionedInstances[Found_co], pages.Paged[Found_co], Protocol[Found_co]):
    """All that a list of instances can be made of."""


class NodesById(Protocol):
    """The same of nodes."""

    def list_by_ids(self, document_ids: Iterable[str]) -> list[Node]: ...


def answer(
    schema: type[Answer[Any]],
    collection: Listed[Document],
    listing: Listing,
    *,
    hide: Hide | None = None,
) -> Response:
    """Answer the list of the documents that may be seen and are asked for, unless it is known.

    `hide` takes from each what the caller may not see.
    """
    if not listing.is_whole:
        join = list if hide is None else partial(map, hide)
        return _answer_part(pages.read(schema, collection, listing, join=join))
    return _answer(_List(schema, collection, app_context().fragments, hide))


def answer_instances(
    schema: type[Answer[Any]],
    collection: ListedInstances[Document],
    listing: Listing,
    nodes: NodesById,
    *,
    for_owner: bool,
) -> Response:
    """Answer the same of instances, each with its node, as who owns instances sees it or all."""
    if not listing.is_whole:
        join = partial(_add_nodes, nodes, for_owner)
        return _answer_part(pages.read(schema, collection, listing, join=join))
    return _answer(_InstanceList(schema, collection, app_context().fragments, nodes, for_owner))


def answer_page(
    schema: type[Answer[Any]],
    collection: pages.Paged[Document],
    listing: Listing,
    may_show: Callable[[Document], bool] | None = None,
) -> Response:
    """Answer what is asked for of documents that `may_show`, where the store cannot tell which."""
    return _answer_part(pages.read(schema, collection, listing, may_show=may_show))


def _add_nodes(nodes: NodesById, for_owner: bool, documents: list[Any]) -> list[dict[str, Any]]:
    wanted = {document["node_id"] for document in documents}
    by_id = {node["_id"]: node for node in nodes.list_by_ids(wanted)}
    return [
        {
            **document,
            "node": by_id.get(document["node_id"]),
            "operation_id": None,
            "for_owner": for_owner,
        }
        for document in documents
    ]


def _answer_part(part: Response | Generator[bytes, None, None]) -> Response:
    return part if isinstance(part, Response) else _send(part)


class _List(Generic[Document]):
    """One answer in the making."""

    def __init__(
        self,
        schema: type[Answer[Any]],
        collection: Versioned[Document],
        fragments: Fragments,
        hide: Hide | None = None,
    ) -> None:
        self.schema = schema
        self.collection = collection
        self.keeps = True
        """Whether what is encoded is kept. A list that is too long would drive out all others."""

        self._fragments = fragments
        self._hide = hide
        self._kind = schema.__name__ if hide is None else f"{schema.__name__} {hide.__name__}"
        self.kept = fragments.of(self._kind)

    def list_states(self, versions: bytes) -> Iterable[bytes]:
        """List the states of all that the answer is made of."""
        return [versions, self._kind.encode()]

    def write(self, batches: Iterable[list[bytes]]) -> Generator[bytes, None, None]:
        """Write the list in pieces of JSON."""
        before, last_id = b"[", None
        for batch in batches:
            for start in range(0, len(batch), _CHUNK):
                texts = []
                for fragment in self._read(batch[start : start + _CHUNK]):
                    if fragment.document_id != last_id:  # it was changed while versions were read
                        texts.append(self.join(fragment))
                    last_id = fragment.document_id
                if texts:
                    yield before + b",".join(texts)
                    before = b","
        yield b"[]" if before == b"[" else b"]"

    def encode(self, document: Document) -> Fragment:
        """Write one document."""
        shown = document if self._hide is None else self._hide(document)
        return Fragment(document["_id"], None, encode(self.schema.shape(shown)), b"")

    def join(self, fragment: Fragment) -> bytes:
        """Write the whole answer of one document."""
        return fragment.head

    def _read(self, versions: list[bytes]) -> list[Fragment]:
        found = {version: self.kept.get(version) for version in versions}
        missing = [version for version, fragment in found.items() if fragment is None]
        if missing:
            for version, (document, is_same) in self.collection.list_versions(missing).items():
                found[version] = fragment = self.encode(document)
                if is_same and self.keeps:
                    self._fragments.keep(self._kind, version, fragment)
        return [fragment for fragment in found.values() if fragment is not None]


class _InstanceList(_List[Document]):
    """A list of instances, whose nodes are read once each, and change apart from them."""

    def __init__(
        self,
        schema: type[Answer[Any]],
        collection: VersionedInstances[Document],
        fragments: Fragments,
        nodes: NodesById,
        for_owner: bool,
    ) -> None:
        super().__init__(schema, collection, fragments)
        self._for_owner = for_owner
        self._list_nodes = collection.list_version_nodes
        self._nodes = nodes
        self._summaries: dict[str, bytes] = {}
        self._hosts: dict[str, str | None] = {}

    def list_states(self, versions: bytes) -> Iterable[bytes]:
        """Take of nodes what is shown, as their revisions rise with each probe and deploy."""
        self._summarize(self._list_nodes(versions))
        hosts = (str(host).encode() for host in self._hosts.values())
        return chain([versions], self._summaries.values(), hosts)

    def encode(self, document: Document) -> Fragment:
        """Write one instance, without what its node says."""
        source = {**document, "node": None, "operation_id": None}
        head, tail = encode_around(self.schema, source, "Node", "connect")
        return Fragment(document["_id"], document["node_id"], head, tail, document["primary_port"])

    def join(self, fragment: Fragment) -> bytes:
        """Write one instance with its node."""
        node_id = str(fragment.node_id)
        host = self._hosts[node_id]
        connect = encode(host and print_endpoint(host, fragment.port))
        return b"".join((fragment.head, self._summaries[node_id], _CONNECT, connect, fragment.tail))

    def _read(self, versions: list[bytes]) -> list[Fragment]:
        fragments = super()._read(versions)
        self._summarize({str(fragment.node_id) for fragment in fragments})
        return fragments

    def _summarize(self, node_ids: set[str]) -> None:
        wanted = sorted(node_ids - self._summaries.keys())
        if wanted:
            by_id = {node["_id"]: node for node in self._nodes.list_by_ids(wanted)}
            for node_id in wanted:
                node = by_id.get(node_id)
                summary = summarize(node, node_id, for_owner=self._for_owner)
                self._summaries[node_id] = encode(summary)
                self._hosts[node_id] = find_host(node) if node else None


def _answer(listed: _List[Any]) -> Response:
    versions = listed.collection.short_versions(etags.LONGEST_LIST)
    if versions is None:
        listed.keeps = False
        return _stream([], listed.write(listed.collection.versions()))
    etag = etags.make(listed.schema, listed.list_states(versions))
    if etags.is_known(etag):
        return etags.answer_known(etag, weak=True)
    answered = _send(listed.write([listed.collection.split_versions(versions)]))
    answered.set_etag(etag, weak=True)
    return answered


def _send(pieces: Generator[bytes, None, None]) -> Response:
    """Send the pieces as one answer with its length, or one by one as they come."""
    begun: list[bytes] = []
    for piece in pieces:
        begun.append(piece)
        if sum(map(len, begun)) > STREAMED_ABOVE:
            return _stream(begun, pieces)
    return Response(b"".join(begun), mimetype="application/json")


def _stream(begun: list[bytes], rest: Generator[bytes, None, None]) -> Response:
    """Send what is there, and each other piece when it is made."""
    streamed = Response(chain(begun, rest), mimetype="application/json")
    streamed.call_on_close(rest.close)
    return streamed
