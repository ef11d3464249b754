"""Answers are compressed for clients that take gzip, and are the same."""

import gzip
import json
import zlib

import pytest

from service.api import compression, lists
from service.api.etags import GZIP
from service.model.documents import new_user
from tests.support import NOON, an_image

TAKES = {"Accept-Encoding": "gzip"}


def ask(api, path, method="GET", **headers):
    """Send a request; return the answer as it is on the wire."""
    headers = {"x-api-key": api.key, **{n.replace("_", "-"): v for n, v in headers.items()}}
    return api.flask.open(path, method=method, headers=headers)


@pytest.fixture
def users(api, store):
    """The path of a list that is longer than what is compressed at least."""
    for number in range(20):
        name = f"somebody-{number}"
        store.users.add(
            new_user(name, username=name, email=f"{name}@x.org", password_hash="h", now=NOON)
        )
    return "/api/users"


@pytest.fixture
def image(store):
    """The path of an image that is long."""
    return f"/api/images/{an_image(store, description='long ' * 400)['_id']}"


@pytest.mark.parametrize("taken", ["gzip", "br, gzip;q=0.5", "*"])
def test_a_long_answer_is_compressed(api, users, taken):
    """It is the same, shorter, and says how long it is."""
    plain, packed = ask(api, users), ask(api, users, Accept_Encoding=taken)

    assert plain.data == gzip.decompress(packed.data)
    assert (None, "gzip") == (plain.content_encoding, packed.content_encoding)
    assert len(packed.data) == packed.content_length < plain.content_length


@pytest.mark.parametrize("taken", ["br", "identity", "gzip;q=0", "identity, gzip;q=0.5", ""])
def test_who_does_not_take_it_gets_the_answer_as_it_is(api, users, taken):
    """Caches learn that it depends on that."""
    answer = ask(api, users, Accept_Encoding=taken)

    assert (None, True) == (answer.content_encoding, "Accept-Encoding" in answer.vary)
    assert 20 == len(answer.json)


def test_a_short_answer_is_not_compressed(api):
    """It would hardly be shorter."""
    answer = ask(api, "/api/me", **TAKES)

    assert len(answer.data) < compression.MIN_BYTES
    assert answer.content_encoding is None


def test_an_answer_with_a_secret_is_not_compressed(api):
    """Its length would say something of the secret, beside what its client chose."""
    ids = [f"i{number:011d}" for number in range(90)]
    body = {"name": "k", "scopes": ["instances:read"], "instances": ids}
    headers = {"x-api-key": api.key, **TAKES}

    answer = api.flask.post("/api/keys", json=body, headers=headers)

    assert (201, None) == (answer.status_code, answer.content_encoding)
    assert len(answer.data) > compression.MIN_BYTES


def test_a_list_that_a_client_has_is_a_304(api, users):
    """Whether it came compressed or not: the ETag of a list is weak."""
    packed = ask(api, users, **TAKES)

    for headers in ({}, TAKES):
        again = ask(api, users, **headers, If_None_Match=packed.headers["ETag"])
        assert (304, b"") == (again.status_code, again.data)
        assert "Accept-Encoding" in again.vary


def test_a_resource_has_another_etag_when_it_is_compressed(api, image):
    """A strong one is of very bytes. It is known, and taken as `If-Match`, all the same."""
    plain, packed = ask(api, image), ask(api, image, **TAKES)
    etag = packed.headers["ETag"]
    again = ask(api, image, If_None_Match=etag)
    edited = api.send("PATCH", image, json={"Name": "another"}, headers={"If-Match": etag})

    assert f"{plain.get_etag()[0]}{GZIP}" == packed.get_etag()[0]
    assert (304, etag) == (again.status_code, again.headers["ETag"])
    assert 200 == edited.status


def test_a_list_that_is_streamed_is_compressed_while_it_is_made(api, users, monkeypatch):
    """Piece by piece, so that nothing is held until its end."""
    monkeypatch.setattr(lists, "STREAMED_ABOVE", 100)
    monkeypatch.setattr(lists, "_CHUNK", 1)
    monkeypatch.setattr(lists, "_PIECE_BYTES", 1)
    monkeypatch.setattr(lists, "SIZE", 1)

    answer = ask(api, users, **TAKES)

    assert ("gzip", None) == (answer.content_encoding, answer.content_length)
    assert 20 == len(json.loads(gzip.decompress(answer.data)))


def test_what_is_compressed_leaves_before_the_next_piece_is_made():
    """Little of a long answer is held, whatever its client reads."""
    noise = (zlib.compress(str(number).encode() * 50) * 2000 for number in range(30))
    made = []

    def make():
        for piece in noise:
            made.append(len(piece))
            yield piece

    packer = zlib.compressobj(0)
    sent = 0
    for packed in compression.pack(packer, make()):
        sent += len(packed)
        if len(made) < 30:
            assert sum(made) - sent < 2**20

    assert sent > sum(made)


def test_the_end_of_a_client_ends_what_makes_the_answer(api, users, monkeypatch):
    """A stream that is closed early lets go of what it reads from."""
    closed = []

    def write(*_):
        try:
            while True:
                yield b"x" * 5000
        finally:
            closed.append(True)

    monkeypatch.setattr(lists._List, "write_short", write)
    monkeypatch.setattr(lists, "STREAMED_ABOVE", 100)
    headers = {"x-api-key": api.key, **TAKES}

    answer = api.flask.get(users, headers=headers, buffered=False)
    next(answer.iter_encoded())
    answer.close()

    assert [True] == closed


def test_an_error_is_compressed_too(api):
    """When it is long."""
    answer = ask(api, "/api/users?" + "&".join(f"unknown{n}=1" for n in range(20)), **TAKES)

    assert (400, "gzip") == (answer.status_code, answer.content_encoding)
