"""Lists of all documents of a kind: read in batches, encoded once, streamed when they are long.

First the versions of the documents are read, each time, so that everybody sees what was written
before on whatever process. What this process encoded in these versions before is taken as it is;
the rest is read and encoded. A document that is changed or deleted between the two reads is shown
in its newer state, or left out.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain, islice
from typing import Any, Generic, Protocol, TypeVar

from flask import Response

from service.api import etags, pages
from service.api.context import app_context
from service.api.encoding import encode_around
from service.api.fragments import Fragment, Fragments
from service.api.parts import MAX_BYTES, SIZE, Part, Parts, Place, measure
from service.contract.answers import Answer
from service.contract.instances import summarize
from service.contract.json_text import encode
from service.model.documents import Node
from service.model.listing import Listing
from service.model.public_addresses import find_host, print_endpoint

STREAMED_ABOVE = 2 * 2**20
"""Bytes. A shorter answer is sent whole, with its length."""

_CHUNK = 250
"""How many documents are encoded and sent at a time."""

_PIECE_BYTES = 128 * 1024
"""How much is sent at a time of parts that are there already."""

_CONNECT = b',"connect":'

Found = tuple[Fragment | None, bool]
"""The answer of a document, None when it is gone, and whether it is of the version asked for."""

Hide = Callable[[Any], Any]
"""Takes from a document what its reader may not see."""

Document = TypeVar("Document", bound=Mapping[str, Any])
Found_co = TypeVar("Found_co", bound=Mapping[str, Any], covariant=True)


class Versioned(Protocol[Found_co]):
    """The part of a collection of the store that lists are made of."""

    def versions(self) -> Iterator[list[bytes]]: ...

    def short_versions(self, limit: int) -> bytes | None: ...

    def take_apart(
        self, short: bytes, size: int, known: Mapping[Place, Part], /
    ) -> Iterator[tuple[Place, list[bytes]]]: ...

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

    def find_known(self, node_ids: set[str]) -> Mapping[str, Node]: ...


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
    known = nodes.find_known({document["node_id"] for document in documents})
    return [
        {
            **document,
            "node": known.get(document["node_id"]),
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

    def list_states(self, short: bytes) -> tuple[bytes, ...]:
        """List the states of all that the answer is made of, but for these versions."""
        return (self._kind.encode(),)

    def write(self, batches: Iterable[list[bytes]]) -> Generator[bytes, None, None]:
        """Write the list in pieces of JSON."""
        before, last_id = b"[", None
        for batch in batches:
            found = self._find(batch)
            while group := list(islice(found, _CHUNK)):
                text, last_id = self._join(group, last_id)
                if text:
                    yield before + text
                    before = b","
        yield b"[]" if before == b"[" else b"]"

    def write_short(
        self, short: bytes, states: tuple[bytes, ...], parts: Parts
    ) -> Generator[bytes, None, None]:
        """Write the list of versions that were read at once; only what changed is made anew."""
        known = parts.find(self._kind, states)
        plan = list(self.collection.take_apart(short, SIZE, known))
        found = self._find([version for _, changed in plan for version in changed])
        made: dict[Place, Part] = {}
        size, texts = 0, []
        before, length = b"[", 0
        for place, changed in plan:
            group = list(islice(found, len(changed)))
            part = self._join(group, place[0]) if group else known[place]
            size += measure(place, part)
            if size <= MAX_BYTES and all(is_same for _, is_same in group):
                made[place] = part
            if part.text:
                texts.append(part.text)
                length += len(part.text)
            if length > _PIECE_BYTES:
                yield before + b",".join(texts)
                before, length, texts = b",", 0, []
        parts.keep(self._kind, states, made)
        yield (before if texts or before == b"[" else b"") + b",".join(texts) + b"]"

    def encode(self, document: Document) -> Fragment:
        """Write one document."""
        shown = document if self._hide is None else self._hide(document)
        return Fragment(document["_id"], None, encode(self.schema.shape(shown)), b"")

    def join(self, fragment: Fragment) -> bytes:
        """Write the whole answer of one document."""
        return fragment.head

    def prepare(self, fragments: list[Fragment]) -> None:
        """Read what these are joined with."""

    def _join(self, found: list[Found], last_id: object) -> Part:
        fragments = [fragment for fragment, _ in found if fragment is not None]
        self.prepare(fragments)
        texts = []
        for fragment in fragments:
            if fragment.document_id != last_id:  # it was changed while versions were read
                texts.append(self.join(fragment))
            last_id = fragment.document_id
        return Part(b",".join(texts), last_id)

    def _find(self, versions: list[bytes]) -> Iterator[Found]:
        """Find what the documents of these versions are like; what is missing is read in chunks."""
        missing = iter([version for version in versions if version not in self.kept])
        read: dict[bytes, Found] = {}
        for version in versions:
            fragment = self.kept.get(version)
            if fragment is not None:
                yield fragment, True
                continue
            if version not in read:
                read = self._read([version, *islice(missing, _CHUNK)])
            yield read[version]

    def _read(self, versions: list[bytes]) -> dict[bytes, Found]:
        read: dict[bytes, Found] = dict.fromkeys(versions, (None, False))
        for version, (document, is_same) in self.collection.list_versions(read).items():
            fragment = self.encode(document)
            read[version] = fragment, is_same
            if is_same and self.keeps:
                self._fragments.keep(self._kind, version, fragment)
        return read


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

    def list_states(self, short: bytes) -> tuple[bytes, ...]:
        """Take of nodes what is shown, as their revisions rise with each probe and deploy."""
        self._summarize(self._list_nodes(short))
        hosts = (str(host).encode() for host in self._hosts.values())
        return (*self._summaries.values(), *hosts)

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

    def prepare(self, fragments: list[Fragment]) -> None:
        """Read the nodes of these."""
        self._summarize({str(fragment.node_id) for fragment in fragments})

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
    short = listed.collection.short_versions(etags.LONGEST_LIST)
    if short is None:
        listed.keeps = False
        return _stream([], listed.write(listed.collection.versions()))
    states = listed.list_states(short)
    etag = etags.make(listed.schema, [short, *states])
    if etags.is_known(etag):
        return etags.answer_known(etag, weak=True)
    answered = _send(listed.write_short(short, states, app_context().parts))
    answered.set_etag(etag, weak=True)
    return answered


def _send(pieces: Generator[bytes, None, None]) -> Response:
    """Send the pieces as one answer with its length, or one by one as they come."""
    begun: list[bytes] = []
    size = 0
    for piece in pieces:
        begun.append(piece)
        size += len(piece)
        if size > STREAMED_ABOVE:
            return _stream(begun, pieces)
    return Response(b"".join(begun), mimetype="application/json")


def _stream(begun: list[bytes], rest: Generator[bytes, None, None]) -> Response:
    """Send what is there, and each other piece when it is made."""
    streamed = Response(chain(begun, rest), mimetype="application/json")
    streamed.call_on_close(rest.close)
    return streamed
