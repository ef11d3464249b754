"""ETags: which state of which documents an answer was made of, so that it need not be sent again.

They are weak. The answer may show a document that changed while it was made in its newer state,
but the documents never have this state again.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from flask import Response, current_app, request

from service.api.call import caller
from service.api.encoding import encode
from service.contract.answers import Answer

LONGEST_LIST = 10_000
"""How many documents a list may have that has an ETag."""


def make(schema: type[Answer[Any]], states: Iterable[bytes]) -> str:
    """Make the ETag of an answer that is made of these states of documents.

    Beside them an answer depends on what shapes it: this version, and the dialect of the key.
    """
    fields = ",".join(schema._declared_fields)
    dialect = caller()["compatibility"] or ""
    shape = f"{current_app.config['API_VERSION']} {dialect} {schema.__name__} {fields}\0"
    whole = b"".join(chain([shape.encode()], states))
    return hashlib.blake2b(whole, digest_size=16).hexdigest()


def make_of(schema: type[Answer[Any]], documents: Sequence[Mapping[str, Any]]) -> str | None:
    """Make the ETag of an answer with these documents; None for too many."""
    if len(documents) > LONGEST_LIST:
        return None
    states = [
        [document["_id"], document["created_at"], document.get("revision", 0)]
        for document in documents
    ]
    return make(schema, [encode(states)])


def is_known(etag: str | None) -> bool:
    """Return whether the client has the answer with this ETag."""
    return etag is not None and request.if_none_match.contains_weak(etag)


def answer_known(etag: str) -> Response:
    """Say that what the client has is how things are."""
    answer = Response(status=304)
    del answer.headers["Content-Type"]
    answer.set_etag(etag, weak=True)
    return answer
