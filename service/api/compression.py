"""Answers of JSON in gzip, for clients that take it.

One that is streamed is compressed piece by piece, so that no more of it is held than before. What
bears a secret stays as it is: how short it became could say what is in it (BREACH).
"""

import zlib
from collections.abc import Generator, Iterable

from flask import Response

from service.api.call import Call
from service.api.etags import GZIP

MIN_BYTES = 1024
"""Less is not worth it."""

LEVEL = 1
"""Of 9. The usual 6 takes more than twice as long, for 8 % of the size instead of 9 %."""

_GZIP_WBITS = 31
_MIMETYPES = ("application/json", "application/problem+json")


def compress(call: Call, answer: Response) -> Response:
    """Compress an answer if its client takes that; say to caches that it depends on it."""
    if not answer.is_streamed and (answer.content_length or 0) < MIN_BYTES:
        return answer
    if answer.mimetype not in _MIMETYPES or call.shows_secret:
        return answer
    answer.vary.add("Accept-Encoding")
    if call.request.accept_encodings.best_match(["gzip", "identity"]) != "gzip":
        return answer
    packer = zlib.compressobj(LEVEL, wbits=_GZIP_WBITS)
    if answer.is_streamed:
        answer.response = pack(packer, answer.iter_encoded())
    else:
        answer.set_data(packer.compress(answer.get_data()) + packer.flush())
    answer.content_encoding = "gzip"
    etag, weak = answer.get_etag()
    if etag is not None and not weak:  # of these very bytes
        answer.set_etag(f"{etag}{GZIP}")
    return answer


def pack(packer: "zlib._Compress", pieces: Iterable[bytes]) -> Generator[bytes, None, None]:
    """Compress the pieces of an answer one by one. What holds them back holds these back."""
    for piece in pieces:
        if packed := packer.compress(piece):
            yield packed
    yield packer.flush()
