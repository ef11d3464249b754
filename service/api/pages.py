"""Parts of lists: filtered, sorted, a page at a time, with chosen fields.

A page begins after the last document of the one before, wherever that is by now, so documents that
come and go meanwhile neither hide others nor show them twice.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from hashlib import blake2b
from itertools import islice
from typing import Any, Protocol, TypeVar
from urllib.parse import urlencode

from flask import Response, request

from service.api import etags
from service.api.call import current_call
from service.api.context import app_context
from service.contract.answers import Answer
from service.contract.json_text import encode
from service.model.listing import Listing
from service.security import cursors

_CHUNK = 250
"""How many documents are joined and encoded at a time."""

_NOT_OF_THE_LIST = ("cursor", "limit", "fields")
"""Parameters that may change from one page to the next."""

Document = TypeVar("Document", bound=Mapping[str, Any])
Document_co = TypeVar("Document_co", bound=Mapping[str, Any], covariant=True)


class Paged(Protocol[Document_co]):
    """The part of a collection of the store that pages are made of."""

    def page(self, listing: Listing, *, limit: int | None) -> Iterator[Document_co]: ...

    def total(self) -> int | None: ...


def read(
    schema: type[Answer[Any]],
    collection: Paged[Document],
    listing: Listing,
    *,
    join: Callable[[list[Document]], Iterable[Any]] = list,
    may_show: Callable[[Document], bool] | None = None,
) -> Response | Generator[bytes, None, None]:
    """Answer a page; without a `limit`, write all that the listing means in pieces of JSON.

    `join` adds what the answer needs of other documents. Only what `may_show` is shown: it leaves
    out what the store cannot. Raises InvalidInput for a cursor of another list.
    """
    listing = open_cursor(listing)
    limit = None if listing.limit is None or may_show else listing.limit + 1
    documents = filter(may_show, collection.page(listing, limit=limit))
    if listing.limit is None:
        return _write(schema, documents, listing, join)
    found = list(islice(documents, listing.limit + 1))
    shown = found[: listing.limit]
    answer = Response(b"".join(_write(schema, iter(shown), listing, join)))
    answer.content_type = "application/json"
    if len(found) > len(shown):
        answer.headers.add("Link", link_next(make_cursor(listing, shown[-1])))
    total = _count(collection, listing, found)
    if total is not None and may_show is None:
        answer.headers.add("X-Total-Count", str(total))
    return _unless_known(answer)


def open_cursor(listing: Listing) -> Listing:
    """Find where the listing begins. Raises InvalidInput for a cursor of another list."""
    if listing.cursor is None:
        return listing
    secret = app_context().store.settings.read_cursor_secret()
    return replace(listing, after=cursors.unseal(secret, _name_list(), listing.cursor))


def make_cursor(listing: Listing, last: Mapping[str, Any]) -> str:
    """Make the cursor of what comes after the last document of a page."""
    secret = app_context().store.settings.read_cursor_secret()
    place = tuple(last[field] for field in listing.sort.fields)
    return cursors.seal(secret, _name_list(), place)


def link_next(cursor: str) -> str:
    """Name the next page (RFC 8288), by a path, as proxies may give this server another name."""
    asked = [(n, v) for n, v in request.args.items(multi=True) if n != "cursor"]
    return f'<{request.path}?{urlencode([*asked, ("cursor", cursor)])}>; rel="next"'


def _name_list() -> str:
    """Name what a cursor is a place of: the path, the filters, the sort, and who is acted for."""
    acts_for = current_call().acts_for
    every = request.args.items(multi=True)
    asked = sorted((n, v) for n, v in every if n not in _NOT_OF_THE_LIST)
    return f"{request.path}?{urlencode(asked)}{'' if acts_for is None else f'#{acts_for}'}"


def _count(collection: Paged[Any], listing: Listing, found: list[Any]) -> int | None:
    """Count the whole list, where that is cheap."""
    if listing.cursor is None and len(found) <= (listing.limit or 0):
        return len(found)
    return None if listing.conditions else collection.total()


def _write(
    schema: type[Answer[Any]],
    documents: Iterator[Any],
    listing: Listing,
    join: Callable[[list[Any]], Iterable[Any]],
) -> Generator[bytes, None, None]:
    before = b"["
    while chunk := list(islice(documents, _CHUNK)):
        shaped = [schema.shape(source) for source in join(chunk)]
        if listing.shown is not None:
            shaped = [
                {name: each[name] for name in listing.shown if name in each} for each in shaped
            ]
        yield before + b",".join(map(encode, shaped))
        before = b","
    yield b"[]" if before == b"[" else b"]"


def _unless_known(answer: Response) -> Response:
    """Send the page, unless the client has it: it is known by all that it says."""
    said = answer.data + answer.headers.get("Link", "").encode()
    etag = blake2b(said, digest_size=16).hexdigest()
    if etags.is_known(etag):
        return etags.answer_known(etag, weak=True)
    answer.set_etag(etag, weak=True)
    return answer
