"""Tickets: what a browser opens a stream with, once."""

import json
from contextlib import closing
from datetime import timedelta

import pytest

from service import keys, tickets
from service.api import open_answers
from service.api.live_answer import DRIVEN
from service.store.admin.migrations import begin_events
from tests.event_writing import writing
from tests.following import read_frames
from tests.support import NOON, ApiClient, a_user, an_app

EVENTS = "/api/events"
TICKETS = "/api/events/ticket"
STREAM = {"Accept": "text/event-stream"}


def make(api, **headers):
    """Make a ticket; return its value."""
    answer = api.post(TICKETS, headers=headers)
    assert 201 == answer.status, answer.json
    return answer.json["ticket"]


def follow(client, ticket, headers=STREAM, **query):
    """Ask for events with a ticket and no key."""
    return client.get(
        EVENTS,
        query_string={"ticket": ticket, **query},
        headers=headers,
        environ_overrides={DRIVEN: True},
    )


@pytest.fixture
def writer(store, database):
    """A thread that writes events."""
    begin_events(database)
    with writing(store) as thread:
        yield thread


def test_a_ticket_opens_a_stream(api, store, writer):
    """It goes on like any other."""
    with closing(follow(api.flask, make(api), types="user.created")) as answer:
        frames = (frame for frame in read_frames(answer.response) if frame.data)
        next(answer.response)
        user = a_user(store)

        assert user["_id"] == next(frames).told["resourceId"]


def test_a_ticket_is_worth_nothing_after_its_use(api, config, store, memory_nodes):
    """In any process."""
    ticket = make(api)
    other = an_app(config, store, memory_nodes).test_client()
    with closing(follow(api.flask, ticket)) as first, closing(follow(other, ticket)) as second:
        assert [200, 401] == [first.status_code, second.status_code]


def test_any_process_takes_it(api, config, store, memory_nodes):
    """Not only the one that made it."""
    other = an_app(config, store, memory_nodes).test_client()
    with closing(follow(other, make(api))) as answer:
        assert 200 == answer.status_code


def test_a_ticket_is_valid_for_half_a_minute(store):
    """The database forgets it later; that is too late."""
    made = tickets.create(store, key_digest="d", acts_for=None, now=NOON)

    with pytest.raises(tickets.Unauthorized):
        tickets.redeem(store, made.value, now=NOON + timedelta(seconds=30))


def test_only_its_digest_is_stored(api, store, database):
    """Whoever reads the database cannot use it."""
    ticket = make(api)

    assert ticket not in str(list(database["tickets"].find()))
    assert 1 == database["tickets"].count_documents({})


def test_a_revoked_key_s_ticket_is_dead(api, store):
    """Also one that was made before."""
    document, value = keys.create(store, name="mine", now=NOON)
    ticket = make(ApiClient(api.flask, value))
    keys.revoke(store, document["_id"])

    with closing(follow(api.flask, ticket)) as answer:
        assert 401 == answer.status_code


def test_a_stream_by_ticket_ends_with_its_key(api, store, monkeypatch):
    """As one by the key itself does."""
    monkeypatch.setattr(open_answers, "CHECK_S", 0.02)
    document, value = keys.create(store, name="mine", now=NOON)
    with closing(follow(api.flask, make(ApiClient(api.flask, value)))) as answer:
        keys.revoke(store, document["_id"])

        assert b"data:" not in b"".join(answer.response)


def test_a_ticket_bears_the_access_of_its_use(api, store):
    """What the key may no more is refused, although it could when the ticket was made."""
    document, value = keys.create(store, name="mine", now=NOON)
    ticket = make(ApiClient(api.flask, value))
    narrowed = {"$set": {"scopes": ["nodes:read"]}}
    store._database["keys"].update_one({"_id": document["_id"]}, narrowed)

    with closing(follow(api.flask, ticket, types="user.created")) as answer:
        assert 403 == answer.status_code


def test_a_ticket_acts_for_whom_it_was_made(api, store, writer):
    """Its stream shows that user's events only."""
    mine, other = a_user(store), a_user(store)
    ticket = make(api, **{"Act-As": mine["_id"]})
    with closing(follow(api.flask, ticket, after=str(1), types="user.created")) as late:
        assert 410 == late.status_code
    begun = api.get(EVENTS).json["next"]
    ticket = make(api, **{"Act-As": mine["_id"]})
    with closing(follow(api.flask, ticket, after=begun, types="user.updated")) as answer:
        frames = (frame for frame in read_frames(answer.response) if frame.data)
        for user in (other, mine):
            api.send("PATCH", f"/api/users/{user['_id']}", json={"email": f"{user['_id']}@e.org"})

        assert mine["_id"] == next(frames).told["resourceId"]


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (EVENTS, {}),  # JSON
        ("/api/users", STREAM),
    ],
)
def test_a_ticket_opens_nothing_else(api, path, headers):
    """Neither lists nor what is never live; and it is not used up by that."""
    ticket = make(api)
    query = {"ticket": ticket}
    refused = api.flask.get(path, query_string=query, headers=headers)

    with closing(follow(api.flask, ticket)) as answer:
        assert (401, 200) == (refused.status_code, answer.status_code)


def test_a_ticket_says_what_it_opens(api):
    """Who forgets to ask for a stream is told to, not that a key is missing."""
    answer = api.flask.get(EVENTS, query_string={"ticket": make(api)})

    said = "A ticket opens server-sent events only: send Accept: text/event-stream."
    assert (401, said) == (answer.status_code, answer.json["error"])


def test_a_key_is_taken_before_a_ticket(api):
    """Whoever sends both keeps the ticket."""
    ticket = make(api)
    with closing(follow(api.flask, ticket, headers={**STREAM, "x-api-key": api.key})) as answer:
        assert 200 == answer.status_code
    with closing(follow(api.flask, ticket)) as answer:
        assert 200 == answer.status_code


def test_a_ticket_is_shown_once_and_kept_nowhere(api):
    """Its answer is kept by nobody."""
    answer = api.post(TICKETS)

    assert "no-store" == answer.headers["Cache-Control"]
    assert answer.json.keys() == {"ticket", "expiresAt"}


def test_no_log_has_a_ticket(api, logged, database):
    """Neither of the request that made it, nor of the one that used it, nor the audit log."""
    ticket = make(api)
    for _ in range(2):
        with closing(follow(api.flask, ticket)) as answer:
            next(answer.response)

    lines = logged.getvalue()
    assert "events" in lines
    assert ticket not in lines
    assert ticket not in json.dumps(list(database["audit"].find()), default=str)
