"""A lease: one holder at a time, by the database's clock."""

import pytest

from service.store.lease import LeaseField

LOCK = LeaseField("lock")
HELD_S = 60
RUN_OUT_S = -1


@pytest.fixture
def documents(mongo_client, config):
    """A collection with one document, whose lease nobody has."""
    documents = mongo_client[config.database]["leased"]
    documents.insert_one({"_id": "one", "lock": None})
    yield documents
    documents.drop()


def holder(documents):
    """Return under which token the lease is."""
    lock = documents.find_one({"_id": "one"})["lock"]
    return lock and lock["token"]


def take(documents, token, lease_s=HELD_S):
    """Take the document's lease."""
    return LOCK.take(documents, {"_id": "one"}, token, lease_s)


def test_what_another_has_is_not_taken(documents):
    """The first one has it."""
    assert [True, False] == [take(documents, "first"), take(documents, "second")]
    assert "first" == holder(documents)


def test_who_has_it_may_take_it_again(documents):
    """Nobody locks himself out."""
    assert [True, True] == [take(documents, "first"), take(documents, "first")]


def test_what_ran_out_is_taken(documents):
    """Who dies loses it without a word."""
    take(documents, "dead", RUN_OUT_S)

    assert take(documents, "second")
    assert "second" == holder(documents)


def test_a_field_that_is_missing_is_free(documents):
    """A document from before there was a lease has none."""
    documents.update_one({"_id": "one"}, {"$unset": {"lock": 1}})

    assert take(documents, "first")


def test_who_comes_late_neither_renews_nor_releases(documents):
    """The lease is another's by then."""
    take(documents, "late", RUN_OUT_S)
    take(documents, "second")

    renewed = LOCK.renew(documents, {"_id": "one"}, "late", HELD_S)
    LOCK.release(documents, {"_id": "one"}, "late")

    assert (False, "second") == (renewed, holder(documents))


def test_what_is_renewed_is_held_longer(documents):
    """Also when it had run out, as long as nobody took it."""
    take(documents, "first", RUN_OUT_S)

    assert LOCK.renew(documents, {"_id": "one"}, "first", HELD_S)
    assert not take(documents, "second")


def test_what_is_released_is_free(documents):
    """Nobody waits for the end of its time."""
    take(documents, "first")

    LOCK.release(documents, {"_id": "one"}, "first")

    assert take(documents, "second")
