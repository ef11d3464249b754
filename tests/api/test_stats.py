"""What instances used, over HTTP: series and the latest, for whoever may see the instances."""

from datetime import datetime, timedelta

import pytest

from service import instances, keys
from service.app import utc_now
from service.model.documents import new_instance
from service.model.ports import parse
from tests.support import (
    AT_NOON,
    NOON,
    ApiClient,
    a_key,
    a_node,
    a_user,
    an_app,
    an_image,
    an_order,
    run_due,
)

PATH = "/api/stats"
NOW = utc_now().replace(second=0, microsecond=0)


@pytest.fixture
def api(config, store, memory_nodes):
    """A client of an app whose time is NOW, of which there are samples."""
    flask = an_app(config, store, memory_nodes, now=lambda: NOW)
    return ApiClient(flask.test_client(), a_key(store))


def deploy(store, memory_nodes, node, *, user=None, port=8080, image=None):
    """Run an instance."""
    order = an_order(
        user or a_user(store), node, image or an_image(store), ports=parse(f"80:{port}"),
        primary=str(port),
    )  # fmt: skip
    instance, _ = instances.deploy(store, order, origin=AT_NOON)
    run_due(store, memory_nodes)
    return instance["_id"]


@pytest.fixture
def running(store, memory_nodes, node, place):
    """An instance that runs."""
    user, _, image = place
    return deploy(store, memory_nodes, node, user=user, image=image)


def sample(store, instance_id, node_id, ago_s, **values):
    """Store a sample of so many seconds ago."""
    of = {"instance": instance_id, "node": node_id}
    store.samples.add([{"at": NOW - timedelta(seconds=ago_s), "of": of, **values}])


def sampled(store, database, node_id, last, **fields):
    """Store what a node's instances used last."""
    store.sampling.sync(now=NOW)
    fields = {"interval_ms": 15_000, **fields, "last": last}
    database["sampling"].update_one({"_id": node_id}, {"$set": fields})


LAST = {"at": NOW, "cpu_milli": 250, "memory_bytes": 1000, "received_bytes": 2048,
        "received_rate": 12, "started_at": NOW - timedelta(hours=1)}  # fmt: skip


def get(api, **query):
    """Read stats."""
    answer = api.get(PATH, query_string=query)
    assert 200 == answer.status, answer.json
    return answer.json


def test_a_chart_is_drawn_with_one_request(api, store, database, node, running):
    """The series have a value for each of the times, the mean of its samples."""
    sample(store, running, node["_id"], 55, cpu_milli=100, memory_bytes=10)
    sample(store, running, node["_id"], 40, cpu_milli=200, memory_bytes=30)
    sample(store, running, node["_id"], 5, memory_bytes=50, received_rate=7, sent_rate=0)
    sampled(store, database, node["_id"], {running: LAST})

    since = (NOW - timedelta(seconds=90)).isoformat()
    page = get(api, since=since, resolution=30)

    [found] = page["instances"]
    assert [NOW - timedelta(seconds=n) for n in (90, 60, 30)] == [
        datetime.fromisoformat(each) for each in page["times"]
    ]
    assert {
        "cpu": [None, 0.15, None],
        "memoryBytes": [None, 20, 50],
        "networkReceivedRate": [None, None, 7],
        "networkSentRate": [None, None, 0],
    } == found["series"]
    assert (running, 0.25, 12, None) == (
        found["Id"],
        found["latest"]["cpu"],
        found["latest"]["networkReceivedRate"],
        found["latest"]["networkSentRate"],
    )
    assert (30, 15, None) == (page["resolutionSeconds"], page["intervalSeconds"], page["next"])


def test_an_hour_has_120_points_unless_asked_otherwise(api, running):
    """What is longer ago is not kept, so nothing is said of it."""
    long_ago = (NOW - timedelta(days=2)).isoformat()

    for page in (get(api), get(api, since=long_ago)):
        assert (120, 30) == (len(page["times"]), page["resolutionSeconds"])
        assert 120 == len(page["instances"][0]["series"]["cpu"])
    assert 15 == get(api, since=(NOW - timedelta(minutes=5)).isoformat())["resolutionSeconds"]


def test_lists_need_only_the_latest(api, store, database, node, running):
    """Without series, and what has no sample says so."""
    page = get(api, latest="true")
    assert (None, [], None) == (
        page["instances"][0]["latest"],
        page["times"],
        page["resolutionSeconds"],
    )
    sampled(store, database, node["_id"], {running: LAST})

    [found] = get(api, latest="true")["instances"]

    assert "series" not in found
    assert (1000, NOW) == (
        found["latest"]["memoryBytes"],
        datetime.fromisoformat(found["latest"]["time"]),
    )


def test_the_interval_is_what_is_really_kept(api, store, database, node, running):
    """The longest of the nodes, and as often as it takes to ask for all of its instances."""
    sampled(store, database, node["_id"], {}, interval_ms=20_000, rounds=3)

    assert 60 == get(api)["intervalSeconds"]


def test_what_was_skipped_is_said(api, store, database, memory_nodes, node, running):
    """Of a node that does not answer, and of one that is not Online."""
    other = a_node(store, memory_nodes, name="other")
    deploy(store, memory_nodes, other)
    sampled(store, database, node["_id"], {}, skipped="The node did not answer in time.")
    database["sampling"].delete_one({"_id": other["_id"]})

    skipped = {each["nodeId"]: each["reason"] for each in get(api)["skipped"]}

    assert {
        node["_id"]: "The node did not answer in time.",
        other["_id"]: "The node is not Online.",
    } == skipped


@pytest.mark.heavy
def test_filters_choose_instances(api, store, memory_nodes, node, place, running):
    """By user, by node, which may be named, and by their ids."""
    other = a_node(store, memory_nodes, name="other")
    owner = a_user(store)
    second = deploy(store, memory_nodes, other, user=owner)

    def ids(**query):
        return {each["Id"] for each in get(api, **query)["instances"]}

    assert {running, second} == ids() == ids(instance=f"{running}, {second}")
    assert {second} == ids(user=owner["_id"]) == ids(node="other") == ids(node=other["_id"])
    assert {running} == ids(instance=running)
    assert set() == ids(user="nobody") == ids(node="nowhere") == ids(instance="ix")


def test_pages_lead_to_all(api, store, memory_nodes, database, node, running):
    """Each once; a cursor of another list is refused."""
    template = database["instances"].find_one({"_id": running})
    database["instances"].insert_many(
        [{**template, "_id": f"x{n}", "ports": [], "container_id": None} for n in range(4)]
    )
    first = get(api, limit=2)
    second = get(api, limit=2, cursor=first["next"])
    third = get(api, limit=2, cursor=second["next"])

    pages = [[each["Id"] for each in page["instances"]] for page in (first, second, third)]
    assert ([2, 2, 1], 5) == ([len(each) for each in pages], len({i for p in pages for i in p}))
    assert third["next"] is None
    answer = api.get(PATH, query_string={"user": "u", "cursor": first["next"]})
    assert (400, {"cursor"}) == (answer.status, set(answer.json["details"]))


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({"since": "yesterday"}, {"since"}),
        ({"since": (NOW + timedelta(seconds=9)).isoformat()}, {"since"}),
        ({"resolution": "0"}, {"resolution"}),
        ({"limit": "1001"}, {"limit"}),
        ({"limit": "1000"}, {"limit", "resolution"}),
        ({"resolution": "1"}, {"limit", "resolution"}),
        ({"latest": "perhaps"}, {"latest"}),
        ({"instance": ",".join(["i"] * 101)}, {"instance"}),
        ({"users": "u"}, {"users"}),
        ({"since": "x", "limit": "y"}, {"since", "limit"}),
    ],
)
def test_what_is_wrong_is_named(api, query, named):
    """All of it, in one 400; too many points too."""
    answer = api.get(PATH, query_string=query)

    assert (400, named) == (answer.status, set(answer.json["details"]))


@pytest.mark.parametrize("limit", ["user_id", "instance_ids", "node_ids"])
def test_a_limited_key_sees_only_its_own(api, store, memory_nodes, place, node, running, limit):
    """Whatever it asks for by name."""
    other = a_node(store, memory_nodes, name="other")
    second = deploy(store, memory_nodes, other)
    limits = {
        "user_id": place[0]["_id"], "instance_ids": [running], "node_ids": [node["_id"]]
    }  # fmt: skip
    grant = {"scopes": ["instances:read"], limit: limits[limit]}
    _, key = keys.create(store, name="limited", grant=grant, now=NOON)
    client = ApiClient(api.flask, key)

    assert [running] == [each["Id"] for each in get(client)["instances"]]
    assert [] == get(client, instance=second)["instances"]
    assert [] == get(client, node="other")["instances"]
    assert {node["_id"]} >= {each["nodeId"] for each in get(client)["skipped"]}


def test_reading_samples_no_node(api, store, memory_nodes, node, running):
    """Whoever asks often, and for much, costs no node a call."""
    calls = memory_nodes[node["_id"]].calls

    get(api)
    get(api, latest="true")

    assert calls == memory_nodes[node["_id"]].calls


def test_a_thousand_instances_are_two_queries(api, store, database, running):
    """However many nodes they are on: none for each."""
    fields = {
        "name": "n", "user_id": "u", "image": "i:1", "image_id": None, "image_name": "i",
        "memory_mib": 1, "cpu_milli": 1, "ports": [], "primary": 1, "primary_port": 1,
    }  # fmt: skip
    database["instances"].insert_many(
        [new_instance(f"x{n}", node_id=f"n{n}", **fields, now=NOON) for n in range(999)]
    )

    page = get(api, latest="true", limit=1000)

    assert (1000, 1000) == (len(page["instances"]), len(page["skipped"]))
