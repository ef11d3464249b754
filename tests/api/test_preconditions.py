"""What is changed only while it is as its client has read it."""

from datetime import timedelta

import pytest

from service import operations
from service.errors import PreconditionFailed
from service.model.precondition import ANY_STATE, Precondition, name_state
from tests.support import NOON, a_body, told


@pytest.fixture
def path(api, place):
    """The address of an operation that waits."""
    deployed = api.post("/api/instances/deploy", a_body(place)).json
    return f"/api/operations/{deployed['operationId']}"


def read(api, path):
    """Return the ETag of a resource."""
    return api.get(path).headers["ETag"]


def cancel(api, path, etag):
    """Cancel an operation that is as it was read."""
    return api.post(f"{path}/cancel", headers={"If-Match": etag})


@pytest.mark.parametrize("form", ["{}", 'W/"weak", {}', '"other", {}', "*"])
def test_what_is_as_it_was_read_is_changed(api, path, form):
    """The ETag may be one of several."""
    answer = cancel(api, path, form.format(read(api, path)))

    assert (200, "cancelled") == (answer.status, answer.json["status"])


@pytest.mark.parametrize("etag", ['"other"', "other", '""', ""])
def test_what_never_was_its_etag_changes_nothing(api, path, etag):
    """Neither does what is no ETag at all."""
    before = api.get(path).json

    assert (412, "precondition_failed", ["ifMatch"]) == told(cancel(api, path, etag))
    assert before == api.get(path).json


def test_a_weak_etag_is_that_of_nothing(api, path):
    """A weak one says that what it is of may differ (RFC 9110, 13.1.1)."""
    assert 412 == cancel(api, path, f"W/{read(api, path)}").status


def test_what_was_changed_since_is_left_alone(api, store, path):
    """The client decides anew."""
    etag = read(api, path)
    store.operations.retry_now(path.rpartition("/")[2])

    assert 412 == cancel(api, path, etag).status
    assert "pending" == api.get(path).json["status"]


def test_the_etag_of_a_list_is_that_of_no_resource(api, path):
    """It would say nothing of whether this one has changed."""
    assert 412 == cancel(api, path, read(api, "/api/operations")).status


def test_an_unknown_resource_is_unknown(api):
    """Whatever state it should be in."""
    answer = cancel(api, "/api/operations/nothing", '"other"')

    assert (400, "operation_not_found") == told(answer)[:2]


def test_a_change_between_the_check_and_the_write_is_seen(store, path, monkeypatch):
    """The check is part of the transaction that writes: that is run once more, and fails."""
    operation = store.operations.get(path.rpartition("/")[2])
    only_if = Precondition(frozenset({name_state(operation)}))
    cancel_waiting, calls = store.operations.cancel_waiting, []

    def change_first(*arguments, **options):
        calls.append(arguments)
        store.operations.retry_now(operation["_id"])
        return cancel_waiting(*arguments, **options)

    monkeypatch.setattr(store.operations, "cancel_waiting", change_first)
    with pytest.raises(PreconditionFailed):
        operations.cancel(store, operation["_id"], only_if=only_if, now=NOON)

    assert 1 == len(calls)
    assert "pending" == store.operations.get(operation["_id"])["status"]


def test_a_state_is_of_one_document():
    """One that is made anew with the same id, as users may be, is in no state of the other."""
    first = {"created_at": NOON, "revision": 1}
    other = {"created_at": NOON + timedelta(seconds=1), "revision": 1}
    only_if = Precondition(frozenset({name_state(first)}))

    only_if.check(first)
    ANY_STATE.check(other)
    with pytest.raises(PreconditionFailed):
        only_if.check(other)


def test_a_document_of_before_revisions_has_a_state():
    """It counts as revision 0."""
    assert name_state({"created_at": NOON}) == name_state({"created_at": NOON, "revision": 0})
