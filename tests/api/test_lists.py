"""Lists and their ETags: encoded once, read anew when something changed, streamed when long."""

import json
import random
import socket
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice

import bson
import pytest
from pymongo.errors import AutoReconnect

from service import keys
from service.api import etags, lists
from service.api.context import EXTENSION
from service.api.fragments import Fragment, Fragments
from service.api.parts import Part, Parts
from service.contract.instances import InstanceAnswer
from service.contract.json_text import encode
from service.model.documents import new_instance
from service.model.lifecycle import Power
from tests.support import (
    NOON,
    ApiClient,
    a_body,
    a_key,
    a_node,
    a_user,
    an_app,
    an_image,
    told,
)

LIST = "/api/instances"
DOCUMENTS = ["/api/users", "/api/instances", "/api/images", "/api/nodes", "/api/keys",
             "/api/operations"]  # fmt: skip


def add_instances(store, place, count, **over):
    """Store instances past the use case; return their ids."""
    user, node, image = place
    ids = [f"i{number:011d}" for number in range(count)]
    for instance_id in ids:
        fields = {
            "name": f'"{instance_id}"', "user_id": user["_id"], "node_id": node["_id"],
            "image": image["image"], "image_id": image["_id"], "image_name": image["name"],
            "memory_mib": 64, "cpu_milli": 100, "ports": [], "primary": "80", "primary_port": 80,
        }  # fmt: skip
        store.instances.add(new_instance(instance_id, **{**fields, **over}, now=NOON))
    return ids


def make_list(store):
    """Make the list as it is made of whole documents."""
    by_id = {node["_id"]: node for node in store.nodes.all()}
    sources = [
        {**each, "node": by_id.get(each["node_id"]), "operation_id": None}
        for each in store.instances.all()
    ]
    return encode([InstanceAnswer.shape(source) for source in sources])


def ask(api, path=LIST, etag=None):
    """Ask for a list, perhaps with what is known of it; return the answer, read to its end."""
    headers = {"x-api-key": api.key, **({"If-None-Match": etag} if etag else {})}
    return api.flask.get(path, headers=headers)


def look_at_reads(store, monkeypatch):
    """Return a list to which the ids of the instances are added that are read for lists."""
    read, list_by_ids = [], store.instances.list_by_ids
    monkeypatch.setattr(
        store.instances, "list_by_ids", lambda ids: list_by_ids(read.extend(ids) or read[-999:])
    )
    return read


@pytest.fixture
def filled(store, place):
    """The ids of a few instances, the first with a node that is gone."""
    return add_instances(store, place, 5)


@pytest.mark.usefixtures("filled")
def test_the_list_is_what_it_would_be_without_a_cache(api, store):
    """Byte by byte: when nothing is encoded yet, when all is, and after a change."""
    first, second = ask(api).data, ask(api).data
    store.instances.update("i00000000002", {"power": Power.RUNNING})
    third, now = ask(api).data, make_list(store)

    assert first == second
    assert (now, True) == (third, first != third)


def test_an_empty_list_is_one(api):
    """With its length."""
    answer = ask(api)

    assert (b"[]", "2") == (answer.data, answer.headers["Content-Length"])


def test_an_instance_whose_node_is_gone_is_listed(api, store, filled, database):
    """As it always was: with the node's id, and an empty name."""
    ask(api)
    database["nodes"].delete_many({})

    assert make_list(store) == ask(api).data
    assert len(filled) == len(ask(api).json)


def test_only_what_changed_is_read(api, store, filled, monkeypatch):
    """The rest is taken from the cache."""
    ask(api)
    read = look_at_reads(store, monkeypatch)

    store.instances.update(filled[1], {"power": Power.RUNNING})
    ask(api)

    assert [filled[1]] == read


@pytest.mark.parametrize("path", DOCUMENTS)
def test_what_is_known_is_not_sent_again(api, place, path):
    """A 304 has no body, and the same ETag; `*` is known too."""
    api.post("/api/instances/deploy", a_body(place))
    first = ask(api, path)

    again = ask(api, path, first.headers["ETag"])

    assert (304, b"", first.headers["ETag"]) == (
        again.status_code, again.data, again.headers["ETag"],
    )  # fmt: skip
    assert "Content-Type" not in again.headers
    assert [304, 200] == [ask(api, path, etag).status_code for etag in ("*", 'W/"other"')]


def test_one_operation_has_an_etag(api, store, place):
    """Which changes with it."""
    deployed = api.post("/api/instances/deploy", a_body(place)).json
    path = f"/api/operations/{deployed['operationId']}"
    etag = ask(api, path).headers["ETag"]
    known = ask(api, path, etag).status_code

    store.operations.retry_now(deployed["operationId"])

    assert (304, 200) == (known, ask(api, path, etag).status_code)


def test_an_etag_changes_with_the_node_that_is_shown(api, store, filled, node):
    """But not with what a probe or a deploy writes of it, which is not shown."""
    assert filled
    etag = ask(api).headers["ETag"]
    store.nodes.count_unanswered(node["_id"])
    unseen = ask(api, etag=etag).status_code

    store.nodes.update(node["_id"], {"name": "another"})

    assert (304, 200) == (unseen, ask(api, etag=etag).status_code)


@pytest.mark.usefixtures("filled")
def test_an_etag_is_of_the_dialect(api, store):
    """A key with `compatibility` has other ETags."""
    _, value = keys.create(store, name="old", compatibility="0.3.0", now=NOON)

    assert ask(api).headers["ETag"] != ask(replace(api, key=value)).headers["ETag"]


def test_a_user_who_is_made_again_is_another(config, store, memory_nodes):
    """The id was given before, and the revision is the same; what was encoded is not shown."""
    times = iter([NOON, NOON.replace(hour=13)])
    api = ApiClient(an_app(config, store, memory_nodes).test_client(), a_key(store))
    for name in ("ada", "bob"):
        now = next(times)
        user = {**a_user(store, username=name, user_id=None), "created_at": now}
        with_id = {**user, "_id": "u1"}
        store.transaction(lambda session, id=user["_id"]: store.users.remove(id, session=session))
        store.users.add(with_id)
        listed = ask(api, "/api/users").json
        store.transaction(lambda session: store.users.remove("u1", session=session))

        assert [name] == [each["username"] for each in listed]


def test_a_limited_key_lists_only_what_it_sees(api, store, place, memory_nodes):
    """After a key that sees all had everything encoded."""
    add_instances(store, place, 2)
    other = (a_user(store), a_node(store, memory_nodes, name="n2"), an_image(store))
    deployed = api.post("/api/instances/deploy", a_body(other)).json["Id"]
    etag = ask(api).headers["ETag"]
    for limit in ({"user_id": other[0]["_id"]}, {"node_ids": [other[1]["_id"]]},
                  {"instance_ids": [deployed]}):  # fmt: skip
        _, value = keys.create(store, name="k", grant={"scopes": ["*"], **limit}, now=NOON)

        answer = ask(replace(api, key=value), etag=etag)

        assert (200, [deployed]) == (answer.status_code, [each["Id"] for each in answer.json])


def test_a_reader_sees_its_own_write_on_any_process(config, store, memory_nodes, filled):
    """Each process has a cache of its own, and asks the database which state is the latest."""
    apps = [an_app(config, store, memory_nodes) for _ in range(2)]
    one, other = (ApiClient(app.test_client(), a_key(store)) for app in apps)
    etags_before = [ask(each).headers["ETag"] for each in (one, other)]

    store.instances.update(filled[0], {"power": Power.STOPPED})
    answers = [ask(each, etag=etags_before[0]) for each in (other, one)]

    assert etags_before[0] == etags_before[1]
    assert ["stopped"] * 2 == [answer.json[0]["power"] for answer in answers]


def test_what_changes_between_the_reads_is_shown_newer_or_left_out(api, store, filled, monkeypatch):
    """And never half of each."""
    list_versions = store.instances.list_versions

    def change_first(wanted):
        store.instances.update(filled[0], {"power": Power.STOPPED, "error": "both"})
        store.transaction(lambda session: store.instances.remove(filled[1], session=session))
        monkeypatch.setattr(store.instances, "list_versions", list_versions)
        return list_versions(wanted)

    monkeypatch.setattr(store.instances, "list_versions", change_first)
    during, after = ask(api), ask(api)

    assert during.data == after.data == make_list(store)
    assert ("stopped", "both") == (during.json[0]["power"], during.json[0]["error"])
    assert during.headers["ETag"] != after.headers["ETag"]


def test_what_comes_twice_while_versions_are_read_is_listed_once(api, store, filled, monkeypatch):
    """A document that is changed moves on in the index, and may be met again."""
    [versions] = list(store.instances.versions())
    store.instances.update(filled[2], {"power": Power.STOPPED})
    newer = next(store.instances.versions())[2]
    twice = [*versions[:3], newer, *versions[3:]]
    short = bson.encode({str(at): bson.decode(each) for at, each in enumerate(twice)})
    monkeypatch.setattr(store.instances, "short_versions", lambda _: short)

    for size in (16, 3, 2, 1):  # both are in one part, and each in one of its own
        monkeypatch.setattr(lists, "SIZE", size)
        assert [filled] * 2 == [[each["Id"] for each in ask(api).json] for _ in range(2)]


@pytest.fixture
def long(monkeypatch):
    """Few instances are many: they are streamed, and have no ETag."""
    monkeypatch.setattr(etags, "LONGEST_LIST", 20)
    monkeypatch.setattr(lists, "STREAMED_ABOVE", 4000)
    monkeypatch.setattr(lists, "_CHUNK", 3)
    monkeypatch.setattr(lists, "_PIECE_BYTES", 1000)
    monkeypatch.setattr(lists, "SIZE", 3)
    monkeypatch.setattr("service.store.versions.BATCH", 7)


@pytest.mark.parametrize("count", [19, 20, 21, 50])
@pytest.mark.usefixtures("long")
def test_a_long_list_is_streamed(api, store, place, count):
    """It is the same list; only those that are not too long have an ETag."""
    add_instances(store, place, count)

    answers = [ask(api) for _ in range(2)]

    assert [make_list(store)] * 2 == [answer.data for answer in answers]
    assert {(None, count <= 20)} == {
        (answer.headers.get("Content-Length"), "ETag" in answer.headers) for answer in answers
    }


@pytest.mark.usefixtures("long")
def test_what_is_streamed_is_made_while_it_is_sent(api, store, place, monkeypatch):
    """Until somebody reads on, no more documents are read."""
    add_instances(store, place, 50)
    read = look_at_reads(store, monkeypatch)

    with ask(api) as answer:
        pieces = list(islice(answer.iter_encoded(), 2))

    assert 2 == len(pieces)
    assert len(read) < 20


@pytest.mark.usefixtures("long")
def test_the_line_of_a_streamed_list_comes_at_its_end(api, store, place, logged):
    """With the request's id, as that of every other."""
    add_instances(store, place, 50)

    answer = ask(api)
    begun = "request.answered" in logged.getvalue()
    assert answer.data
    answer.close()

    [line] = [json.loads(line) for line in logged.getvalue().splitlines()
              if '"request.answered"' in line]  # fmt: skip
    assert not begun
    assert (answer.headers["X-Request-Id"], 200) == (line["request_id"], line["status"])


@pytest.mark.heavy
@pytest.mark.usefixtures("long")
def test_a_list_that_cannot_be_ended_is_cut_off(live_server, store, place, monkeypatch):
    """No client takes its first part for the whole: the connection is closed before the end."""
    add_instances(store, place, 50)
    list_versions, calls = store.instances.list_versions, []

    def fail_later(wanted):
        calls.append(wanted)
        return list_versions(wanted) if len(calls) < 8 else 1 / 0

    monkeypatch.setattr(store.instances, "list_versions", fail_later)
    host, port = live_server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as client:
        client.sendall(
            f"GET {LIST} HTTP/1.1\r\nHost: x\r\nx-api-key: {live_server.key}\r\n\r\n".encode()
        )
        received = b"".join(iter(lambda: client.recv(65536), b""))

    assert received.startswith(b"HTTP/1.1 200")
    assert not received.endswith(b"0\r\n\r\n")


def test_a_database_that_is_away_before_the_first_byte_is_a_503(api, store, monkeypatch):
    """As with every other request."""

    def fail(*arguments, **options):
        raise AutoReconnect

    monkeypatch.setattr(store.instances._collection, "find_batch", fail)

    assert (503, "database_unavailable", []) == told(api.get(LIST))


def test_a_read_that_a_failover_cuts_off_is_repeated(api, store, filled, monkeypatch):
    """Nobody sees it, as with every other read."""
    find_batch, calls = store.instances._collection.find_batch, []

    def fail_once(command):
        calls.append(command)
        if len(calls) == 1:
            raise AutoReconnect
        return find_batch(command)

    monkeypatch.setattr(store.instances._collection, "find_batch", fail_once)

    assert filled == [each["Id"] for each in ask(api).json]


@pytest.mark.heavy
def test_parts_that_did_not_change_are_those_of_a_new_list(api, store, place, monkeypatch):
    """Byte by byte, whatever was changed, added or removed since, in one part or another."""
    monkeypatch.setattr(lists, "SIZE", 3)
    ids = add_instances(store, place, 40)
    ask(api)

    for seed in range(30):
        drawn = random.Random(seed)
        for instance_id in drawn.sample(ids, drawn.randrange(3)):
            store.instances.update(instance_id, {"power": drawn.choice(list(Power))})
        if seed % 4 == 0:
            gone = ids.pop(drawn.randrange(len(ids)))
            store.transaction(lambda s, gone=gone: store.instances.remove(gone, session=s))
        if seed % 5 == 0:
            store.nodes.update(place[1]["_id"], {"name": f"n{seed}"})
        if seed % 6 == 0:
            ids.append(f"z{seed:011d}")
            instance = store.instances.get(ids[0])
            later = NOON.replace(hour=13, minute=seed)
            store.instances.add({**instance, "_id": ids[-1], "created_at": later})

        assert make_list(store) == ask(api).data


def test_a_part_is_looked_for_where_it_was_only(api, store, filled):
    """What looks like the beginning of the next version inside of one is taken for none."""
    created_at = datetime.fromtimestamp(int.from_bytes(b"\0\x0316\0\0\0\0", "little") / 1000, UTC)
    instance = store.instances.get(filled[0])
    for number in range(40):
        store.instances.add({**instance, "_id": f"j{number:03d}", "created_at": created_at})
    short = store.instances.short_versions(100)

    assert short.count(b"\0\x0316\0") > 1
    assert [make_list(store)] * 2 == [ask(api).data for _ in range(2)]


def test_the_parts_of_the_oldest_kind_make_room():
    """What is kept of all kinds has one bound. With what else is shared nothing is found."""
    parts, kinds = Parts(max_bytes=6000), ("users", "nodes", "keys")
    for kind in kinds:
        parts.keep(kind, "shared", {(None, kind.encode()): Part(b"x" * 2000, "id")})

    assert [0, 1, 1] == [len(parts.find(kind, "shared")) for kind in kinds]
    assert {} == parts.find("keys", "other")


@pytest.mark.usefixtures("filled")
def test_versions_are_the_same_read_at_once_or_one_by_one(store):
    """Both are of the same index; only their form differs."""
    [one_by_one] = list(store.instances.versions())
    count = len(one_by_one)
    at_once = store.instances.short_versions(count)

    for size in (1, 2, 5, 9):
        taken = store.instances.take_apart(at_once, size, {})
        assert one_by_one == [version for _, part in taken for version in part]
    assert None is store.instances.short_versions(count - 1)
    assert {each["node_id"] for each in store.instances.all()} == (
        store.instances.list_version_nodes(at_once)
    )


def test_the_cache_has_a_bound():
    """What was kept first goes first."""
    cache = Fragments(max_bytes=10_000)
    for number in range(100):
        cache.keep("users", b"%d" % number, Fragment("u", None, b"x" * 1000, b""))

    kept = [number for number in range(100) if b"%d" % number in cache.of("users")]
    assert list(range(94, 100)) == kept


@pytest.mark.parametrize("size", [1, 700, 20_000])
def test_the_cache_takes_no_more_memory_than_it_may(size):
    """All that Python allocates for it counts, whether the fragments are short or long."""
    limit = 2 * 2**20
    tracemalloc.start()
    cache = Fragments(max_bytes=limit)
    for number in range(2 * limit // (size + 500)):
        fragment = Fragment(f"i{number:011d}", f"n{number:011d}", b"x" * size, b"%d" % number)
        cache.keep("instances", b"%091d" % number, fragment)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert limit / 3 < taken <= limit


def test_one_kind_makes_room_for_another():
    """A list that fills the cache keeps no other out of it."""
    cache = Fragments(max_bytes=10_000)
    for number in range(20):
        cache.keep("users", b"%d" % number, Fragment("u", None, b"x" * 1000, b""))
    cache.keep("nodes", b"1", Fragment("n", None, b"x", b""))

    assert b"1" in cache.of("nodes")


def test_each_app_has_a_cache_of_its_own(config, store, memory_nodes):
    """Two of one process may have different databases."""
    contexts = [an_app(config, store, memory_nodes).extensions[EXTENSION] for _ in range(2)]

    assert contexts[0].fragments is not contexts[1].fragments
