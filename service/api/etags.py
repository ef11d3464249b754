"""ETags: which state of which documents an answer was made of, so that it need not be sent again.

Those of lists are weak. Such an answer may show a document that changed while it was made in its
newer state, but the documents never have this state again. That of one resource begins with the
state of its document, which `If-Match` can require of a change.
"""

import hashlib
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

from flask import Response, current_app, request

from service.api.call import caller
from service.contract.answers import Answer
from service.model.precondition import ANY_STATE, Precondition, name_state

LONGEST_LIST = 10_000
"""How many documents a list may have that has an ETag."""


GZIP = "-gzip"
"""How the strong ETag of an answer ends that is compressed: it is of other bytes."""


def make(schema: type[Answer[Any]], states: Iterable[bytes]) -> str:
    """Make the ETag of an answer that is made of these states of documents.

    Beside them an answer depends on what shapes it: this version, and the dialect of the key.
    """
    fields = ",".join(schema._declared_fields)
    dialect = caller()["compatibility"] or ""
    shape = f"{current_app.config['API_VERSION']} {dialect} {schema.__name__} {fields}\0"
    whole = b"".join(chain([shape.encode()], states))
    return hashlib.blake2b(whole, digest_size=16).hexdigest()


def tag(answered: Response, document: Mapping[str, Any] | None) -> Response:
    """Give an answer its ETag; make it a 304 to a client that has it already.

    The ETag is of what the answer says, and, where it shows one resource, of its document's state.
    """
    etag = hashlib.blake2b(answered.get_data(), digest_size=16).hexdigest()
    if document is not None:
        etag = f"{name_state(document)}.{etag}"
    if is_known(etag):
        return answer_known(etag, weak=False)
    answered.set_etag(etag)
    return answered


def read_precondition() -> Precondition:
    """Read `If-Match`: in which states the caller wants the resource to be changed.

    Without it, and with `*`, in any. What is no ETag of ours names no state that there is, nor does
    a weak one (RFC 9110, 13.1.1).
    """
    if "If-Match" not in request.headers or request.if_match.star_tag:
        return ANY_STATE
    # An empty one is None.
    return Precondition(frozenset(tag.partition(".")[0] for tag in request.if_match if tag))


def is_known(etag: str | None) -> bool:
    """Return whether the client has the answer with this ETag."""
    known = request.if_none_match
    return etag is not None and any(map(known.contains_weak, (etag, f"{etag}{GZIP}")))


def answer_known(etag: str, *, weak: bool) -> Response:
    """Say that what the client has is how things are, compressed or not."""
    if request.if_none_match.contains_weak(f"{etag}{GZIP}"):
        etag = f"{etag}{GZIP}"
    answer = Response(status=304)
    del answer.headers["Content-Type"]
    answer.set_etag(etag, weak=weak)
    return answer
