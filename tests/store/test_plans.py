"""What the store asks the database has an index: no collection scan, and no sort in memory.

The store's own methods are called on a seeded database, and what they sent is explained.
"""

from contextlib import closing
from dataclasses import replace

import pytest
from pymongo.monitoring import CommandListener

from service import instances, keys
from service.app import make_store
from service.config import Config
from service.contract.list_queries import (
    ImagesQuery,
    InstancesQuery,
    KeysQuery,
    NodesQuery,
    OperationsQuery,
    UsersQuery,
)
from service.contract.webhooks import DeliveriesQuery, WebhooksQuery
from service.drivers.memory import MemoryNodes
from service.model.documents import new_delivery, new_instance, new_webhook
from service.model.lifecycle import OperationKind
from tests.support import AT_NOON, FAR, NOON, a_node, a_user, an_image, an_order

pytestmark = pytest.mark.heavy

COUNT = 300

# Command and collection, and why its plan may be what others may not.
NAMED = {
    ("leftovers.list_on", "SORT"): "few files are left on a node",
    ("nodes.list_deploying", "COLLSCAN"): "read once when a worker starts; nodes are few",
    ("nodes.list_deploying", "SORT"): "the same",
    ("images.list_words", "COLLSCAN"): "a thousand at the most, after a mistake of a client",
    ("images.list_matching", "SORT"): "as many as have one container image",
    ("nodes.list_for_placement", "COLLSCAN"): "a look at all nodes, for a deploy on any of them",
    ("probes.oldest_age_s", "COLLSCAN"): "a look at all nodes, by the metrics",
    ("sampling.list_usage", "COLLSCAN"): "a look at all nodes, by the metrics",
    ("deliveries.claim", "SORT"): "as few as a webhook is sent at a time",
    ("webhooks.count_for", "COLLSCAN"): "a thousand at the most, when one is made",
    ("deleted.list_deleting", "SORT"): "those of one node that are being purged",
    ("instances.list_deleting", "SORT"): "those of one node that are on their way out",
}


class Watching(CommandListener):
    """Remembers each query, as it was sent."""

    def __init__(self):
        self.sent = []

    def started(self, event):
        """Keep what has a plan."""
        if event.command_name in ("find", "update", "delete", "aggregate", "distinct", "count",
                                  "findAndModify"):  # fmt: skip
            self.sent.append(dict(event.command))

    def succeeded(self, event):
        """Do nothing."""

    def failed(self, event):
        """Do nothing."""


@pytest.fixture(scope="module")
def seeded(mongod_uri, mongo_client):
    """A store whose commands are kept, and the ids of documents among many: for all tests here.

    What some of them write changes no plan of another.
    """
    config = Config(mongodb_uri=mongod_uri, database="plans")
    watching = Watching()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("service.store.CommandTimes", lambda _: watching)
        store = make_store(config)
    with closing(store):
        store.prepare()
        database = mongo_client[config.database]
        yield store, seed(store, database), watching, database
    mongo_client.drop_database(config.database)


@pytest.fixture
def watched(seeded):
    """The same, before the first command."""
    _, _, watching, _ = seeded
    watching.sent.clear()
    return seeded


def seed(store, database):
    """Store documents, and many others beside them; return their ids."""
    user, node, image = a_user(store), a_node(store, MemoryNodes()), an_image(store)
    order = an_order(user, node, image)
    deployed, operation = instances.deploy(store, order, origin=AT_NOON)
    key, _ = keys.create(store, name="k", grant={"scopes": ["*"]}, now=NOON)
    template = database["operations"].find_one({})
    fields = {
        "name": "n", "user_id": "u", "node_id": "n", "image": "i:1", "image_id": None,
        "image_name": "i", "memory_mib": 1, "cpu_milli": 1, "ports": [], "primary": 1,
        "primary_port": 1,
    }  # fmt: skip
    database["instances"].insert_many(
        [
            {**new_instance(f"x{n}", **fields, now=NOON), "container_id": f"c{n}"}
            for n in range(COUNT)
        ]
    )
    kept = {"state": "READY", "runs": True, "intact": True}
    times = {"deleted_at": NOON, "purge_at": FAR, "kept": kept}
    database["deleted_instances"].insert_many(
        [
            {**new_instance(f"y{n}", **fields, now=NOON), **times, "state": "DELETED",
             "container_id": f"d{n}", "ports": [n + 1], "power": ("stopped", "running")[n % 2]}
            for n in range(COUNT)
        ]
    )  # fmt: skip
    database["operations"].insert_many(
        [{**template, "_id": f"o{n}", "instance_id": f"x{n}", "node_id": f"n{n % 9}",
          "status": "succeeded"} for n in range(COUNT)]
    )  # fmt: skip
    for name, unique in (
        ("users", ("email_key", "username_key")), ("images", ("name", "image")),
        ("keys", ("digest",)), ("nodes", ("name",)),
    ):  # fmt: skip
        template = database[name].find_one({})
        database[name].insert_many(
            [{**template, "_id": f"{name}{n}", **dict.fromkeys(unique, f"{name}{n}"),
              **({"report": None} if name == "nodes" else {})}
             for n in range(COUNT)]
        )  # fmt: skip
    hook = new_webhook(
        "w", url="http://192.0.2.1/", types=None, wanted={}, secret="", key_id="k", acts_for=None,
        family="k", now=NOON,
    )  # fmt: skip
    event = {"type": "t", "kind": "image", "resource_id": "i"}
    delivery = new_delivery("w", {"_id": 1, **event}, expires_at=FAR, now=NOON)
    for n in range(COUNT):
        store.webhooks.add({**hook, "_id": f"w{n}", "enabled": n % 9 == 0})
        status = ("waiting", "succeeded", "failed")[n % 3]
        own = {"_id": f"d{n}", "webhook_id": f"w{n % 20}", "event_id": n, "status": status}
        store.deliveries.add({**delivery, **own})
    return {"user": user["_id"], "node": node["_id"], "image": image, "key": key,
            "instance": deployed["_id"], "operation": operation["_id"]}  # fmt: skip


READS = {
    "users.versions": lambda s, **_: list(s.users.versions()),
    "users.find": lambda s, user, **_: s.users.find(user),
    "users.find_by_email": lambda s, **_: s.users.find_by_email("users7"),
    "users.find_by_username": lambda s, **_: s.users.find_by_username("users7"),
    "images.versions": lambda s, **_: list(s.images.versions()),
    "images.list_matching": lambda s, **_: s.images.list_matching("images7"),
    "images.list_words": lambda s, **_: s.images.list_words("_id", "name", limit=1000),
    "instances.find_by_port": lambda s, **_: s.instances.find_by_port("nodes7", 8080),
    "images.put": lambda s, image, **_: s.images.put(image),
    "nodes.versions": lambda s, **_: list(s.nodes.versions()),
    "nodes.all": lambda s, **_: s.nodes.all(),
    "nodes.list_by_ids": lambda s, node, **_: s.nodes.list_by_ids([node]),
    "nodes.list_offline": lambda s, **_: s.nodes.list_offline(),
    "nodes.list_for_placement": lambda s, **_: s.nodes.list_for_placement(),
    "nodes.find_limits": lambda s, **_: s.nodes.find_limits(),
    "nodes.find_same_engine": lambda s, node, **_: s.nodes.find_same_engine("e", except_id=node),
    "drains.list_active": lambda s, **_: s.drains.list_active(),
    "drains.sum_up": lambda s, **_: s.drains.sum_up(),
    "operations.count_open": lambda s, **_: s.operations.count_open(OperationKind.TRANSFER),
    "instances.list_ids_on": lambda s, node, **_: s.instances.list_ids_on(node),
    "operations.has_open_on": lambda s, node, **_: s.operations.has_open_on(node),
    "nodes.list_deploying": lambda s, **_: s.nodes.list_deploying(),
    "probes.oldest_age_s": lambda s, **_: s.probes.oldest_age_s(),
    "nodes.update": lambda s, node, **_: s.nodes.update(node, {"probe_error": None}),
    "probes.claim": lambda s, **_: s.probes.claim("t", interval_s=0, lease_s=1),
    "keys.find_by_digest": lambda s, **_: s.keys.find_by_digest("keys7"),
    "keys.find_spent": lambda s, **_: s.keys.find_spent("keys7"),
    "keys.all": lambda s, **_: s.keys.all(),
    "keys.list_limited": lambda s, user, **_: s.keys.list_limited(
        user_id=user, instance_ids=None, node_ids=None
    ),
    "instances.versions": lambda s, **_: list(s.instances.versions()),
    "instances.short_versions": lambda s, **_: s.instances.short_versions(10_000),
    "instances.all": lambda s, **_: s.instances.all(),
    "instances.versions of a user": lambda s, user, **_: list(
        s.within(user_id=user).instances.versions()
    ),
    "instances.versions on nodes": lambda s, node, **_: list(
        s.within(node_ids=[node, "n"]).instances.versions()
    ),
    "deleted.find_by_reference": lambda s, **_: s.deleted.find_by_reference("d7"),
    "deleted.list_owned": lambda s, user, **_: s.deleted.list_owned(user),
    "deleted.list_on": lambda s, node, **_: s.deleted.list_on(node),
    "deleted.list_observed": lambda s, node, **_: s.deleted.list_observed(node),
    "deleted.list_deleting": lambda s, node, **_: s.deleted.list_deleting(node),
    "deleted.list_known": lambda s, instance, **_: s.deleted.list_known([instance]),
    "deleted.list_containers": lambda s, instance, **_: s.deleted.list_containers([instance]),
    "deleted.list_bound_ports": lambda s, node, **_: s.deleted.list_bound_ports(node),
    "deleted.list_due": lambda s, **_: s.deleted.list_due(NOON),
    "instances.find_by_reference": lambda s, **_: s.instances.find_by_reference("c7"),
    "instances.list_references": lambda s, instance, **_: s.instances.list_references(
        [instance, "c7"]
    ),
    "users.list_taken": lambda s, user, **_: s.users.list_taken(
        {"_id": [user], "email_key": ["users7"], "username_key": ["users7"], "external_id": ["a"]}
    ),
    "instances.list_owned": lambda s, user, **_: s.instances.list_owned(user),
    "instances.list_on": lambda s, node, **_: s.instances.list_on(node),
    "occupancy.list_taken_ports": lambda s, node, **_: s.occupancy.list_taken_ports(node),
    "occupancy.refuse_held_ports": lambda s, node, **_: s.occupancy.refuse_held_ports(
        node, [8080], session=None
    ),
    "instances.list_leaving": lambda s, node, **_: s.transaction(
        lambda session: s.instances.list_leaving(node, session=session)
    ),
    "operations.find_last": lambda s, instance, **_: s.transaction(
        lambda session: s.operations.find_last(instance, OperationKind.TRANSFER, session=session)
    ),
    "operations.find_removal": lambda s, instance, node, **_: s.transaction(
        lambda session: s.operations.find_removal(instance, node, session=session)
    ),
    "operations.list_removals": lambda s, instance, node, **_: s.transaction(
        lambda session: s.operations.list_removals(instance, node, since=NOON, session=session)
    ),
    "occupancy.list_holders": lambda s, node, **_: s.occupancy.list_holders([node], [8080]),
    "occupancy.count_by_node of a user": lambda s, user, **_: s.occupancy.count_by_node(
        {"user_id": user}
    ),
    "occupancy.count_by_node of an image": lambda s, image, **_: s.occupancy.count_by_node(
        {"image_id": image["_id"]}
    ),
    "instances.list_deleting": lambda s, node, **_: s.instances.list_deleting(node),
    "phases.list_starting": lambda s, **_: s.phases.list_starting(),
    "phases.give_up": lambda s, **_: s.phases.give_up(),
    "instances.list_known": lambda s, instance, **_: s.instances.list_known([instance]),
    "operations.list_newest": lambda s, **_: s.operations.list_newest({}, limit=100),
    "operations.list_newest of an instance": lambda s, instance, **_: s.operations.list_newest(
        {"instance_id": instance}, limit=100
    ),
    "operations.list_newest on a node": lambda s, node, **_: s.operations.list_newest(
        {"node_id": node}, limit=100
    ),
    "operations.list_newest of a status": lambda s, **_: s.operations.list_newest(
        {"status": "failed"}, limit=100
    ),
    "operations.list_newest of a user": lambda s, user, **_: s.within(
        user_id=user
    ).operations.list_newest({}, limit=100),
    "operations.find of a user": lambda s, user, operation, **_: s.within(
        user_id=user, key_id="k"
    ).operations.find(operation),
    "operations.list_outcomes": lambda s, operation, **_: s.operations.list_outcomes([operation]),
    "operations.find_latest": lambda s, instance, **_: s.operations.find_latest(instance),
    "operations.find_open": lambda s, instance, **_: s.operations.find_open(
        instance, OperationKind.DEPLOY
    ),
    "operations.list_touched": lambda s, node, **_: s.operations.list_touched(node, FAR),
    "operations.list_removed_containers": lambda s, instance, **_: (
        s.operations.list_removed_containers([instance])
    ),
    "operations.retry_now_on_node": lambda s, node, **_: s.operations.retry_now_on_node(node),
    "samples.list_series": lambda s, instance, **_: s.samples.list_series(
        [instance], since=NOON, resolution_s=15
    ),
    "sampling.list_usage": lambda s, **_: s.sampling.list_usage(),
    "sampling.claim": lambda s, **_: s.sampling.claim("t", lease_s=1),
    "sampling.list_last": lambda s, node, instance, **_: s.sampling.list_last([node], [instance]),
    "claims.take": lambda s, **_: s.claims.take("t", lease_s=30),
    "leftovers.list_on": lambda s, node, **_: s.leftovers.list_on(node),
    "audit.list_newest": lambda s, **_: s.audit.list_newest({}, since=None, before=None, limit=9),
    "audit.list_newest of a user": lambda s, **_: s.audit.list_newest(
        {"acts_for": "u"}, since=NOON, before=None, limit=9
    ),
    "webhooks.list_enabled": lambda s, **_: s.webhooks.list_enabled(),
    "webhooks of an owner": lambda s, **_: s.webhooks.of_owner("k", None).list_enabled(["w9"]),
    "webhooks.count_for": lambda s, **_: s.transaction(
        lambda session: s.webhooks.count_for("k", session=session)
    ),
    "deliveries.list_waiting_webhooks": lambda s, **_: s.deliveries.list_waiting_webhooks(),
    "deliveries.claim": lambda s, **_: s.deliveries.claim("w6", "t", lease_s=30, most=1, now=NOON),
    "deliveries.retry_begun": lambda s, **_: s.deliveries.retry_begun("w6", now=NOON),
    "deliveries.remove_of": lambda s, **_: s.deliveries.remove_of("w7"),
    "deliveries.oldest_waiting_s": lambda s, **_: s.deliveries.oldest_waiting_s(
        [f"w{n}" for n in range(20)], now=NOON
    ),
    "fan_out.list_after": lambda s, **_: s.fan_out.list_after(0, limit=100),
    "audit.list_newest of a key": lambda s, **_: s.audit.list_newest(
        {"key_id": "k"}, since=NOON, before=None, limit=9
    ),
}


def list_stages(plan):
    """List the stages of a plan, wherever they stand in it."""
    if isinstance(plan, dict):
        stage = plan.get("stage") or next((k for k in plan if k.startswith("$")), None)
        found = [stage] if stage else []
        return found + [each for value in plan.values() for each in list_stages(value)]
    return [each for value in plan for each in list_stages(value)] if isinstance(plan, list) else []


def explain(database, command):
    """Return the stages of the winning plans of a command that was sent."""
    dropped = ("lsid", "$db", "$clusterTime", "txnNumber", "$readPreference", "maxTimeMS",
               "writeConcern", "readConcern", "autocommit", "startTransaction")  # fmt: skip
    bare = {name: value for name, value in command.items() if name not in dropped}
    explained = database.command("explain", bare, verbosity="queryPlanner")
    plans = [explained, *(each.get("$cursor", {}) for each in explained.get("stages", []))]
    return [
        stage
        for plan in plans
        for stage in list_stages(plan.get("queryPlanner", {}).get("winningPlan", {}))
    ]


@pytest.mark.parametrize("name", READS)
def test_a_query_has_an_index(watched, name):
    """And what it sorts by comes from the index too, but for what is named above with a reason."""
    store, ids, watching, database = watched
    READS[name](store, **ids)

    stages = {stage for command in watching.sent for stage in explain(database, command)}

    allowed = {stage for method, stage in NAMED if method == name}
    assert stages
    assert set() == stages & {"COLLSCAN", "SORT", "$sort"} - allowed


@pytest.mark.parametrize("called", ["_id", "name"])
def test_what_a_deploy_names_has_an_index(watched, called):
    """All that one query looks up beside the user: no collection is scanned."""
    store, ids, watching, database = watched
    store.find_place(
        user_id=ids["user"], node_id=ids["node"], image=ids["image"][called], ports=[8080]
    )

    [sent] = watching.sent
    bare = {name: sent[name] for name in ("aggregate", "pipeline", "cursor")}
    explained = database.command("explain", bare, verbosity="executionStats")
    lookups = [stage for stage in explained["stages"] if "$lookup" in stage]
    assert (3, 0) == (len(lookups), sum(int(stage["collectionScans"]) for stage in lookups))
    assert 2 == sum(int(stage["totalDocsExamined"]) for stage in lookups)


@pytest.mark.parametrize(
    "name", [name for name in READS if "versions" in name or "count_by_node" in name]
)
def test_versions_and_counts_are_read_from_an_index_alone(watched, name):
    """No document is fetched."""
    store, ids, watching, database = watched
    READS[name](store, **ids)

    stages = {stage for command in watching.sent for stage in explain(database, command)}

    assert ("IXSCAN" in stages, "FETCH" in stages) == (True, False)


@pytest.mark.parametrize("limit", ["user_id", "instance_ids", "node_ids"])
def test_what_a_limited_key_looks_up_examines_one_document(watched, limit):
    """Whatever number of others there are."""
    store, ids, watching, database = watched
    limits = {"user_id": ids["user"], "instance_ids": [ids["instance"]], "node_ids": [ids["node"]]}
    store.within(**{limit: limits[limit]}).instances.find(ids["instance"])

    [sent] = watching.sent
    bare = {name: sent[name] for name in ("find", "filter")}
    explained = database.command("explain", bare, verbosity="executionStats")

    assert 1 == explained["executionStats"]["totalDocsExamined"]


QUERIES = {"users": UsersQuery, "instances": InstancesQuery, "images": ImagesQuery,
           "nodes": NodesQuery, "keys": KeysQuery, "operations": OperationsQuery,
           "webhooks": WebhooksQuery}  # fmt: skip
ORDERS = [
    (name, sort)
    for name, query in QUERIES.items()
    for sort in query().fields["sort"].metadata["sorts"]
]


@pytest.mark.parametrize(("name", "sort"), ORDERS)
def test_a_page_in_the_middle_reads_no_more_than_itself(watched, name, sort):
    """In every order of every list: it is entered at its place, and nothing is sorted."""
    store, _, watching, database = watched
    listing = QUERIES[name]().load({"sort": sort, "limit": 10})
    collection = getattr(store, name)
    *_, last = collection.page(listing, limit=100)
    watching.sent.clear()
    place = tuple(last[field] for field in listing.sort.fields)
    page = list(collection.page(replace(listing, after=place), limit=10))

    [sent] = watching.sent
    bare = {part: sent[part] for part in ("find", "filter", "sort", "limit")}
    explained = database.command("explain", bare, verbosity="executionStats")
    stages = set(list_stages(explained["queryPlanner"]["winningPlan"]))
    assert (10, set()) == (len(page), stages & {"COLLSCAN", "SORT"})
    assert explained["executionStats"]["totalDocsExamined"] <= len(page) + 1


@pytest.mark.parametrize(
    "given",
    [{"user": "u"}, {"node": "n"}, {"image": "i"}, {"state": "READY"}, {"name": "n"},
     {"updatedSince": "2026-01-31T12:00:00Z", "sort": "updatedAt"},
     {"createdSince": "2026-01-31T12:00:00Z"}],
)  # fmt: skip
def test_a_filter_of_instances_has_an_index(watched, given):
    """Those that leave few, and are asked for often."""
    store, _, watching, database = watched
    listing = InstancesQuery().load({**given, "sort": given.get("sort", "createdAt")})
    if "name" in given:
        listing = replace(listing, sort=InstancesQuery().load({"sort": "name"}).sort)
    list(store.instances.page(listing, limit=10))

    [sent] = watching.sent
    assert set() == set(explain(database, sent)) & {"COLLSCAN", "SORT"}


@pytest.mark.parametrize("name", ["users", "instances", "nodes"])
@pytest.mark.parametrize("given", [{"externalId": "a"}, {"label": ["plan:gold"]}])
def test_what_a_dashboard_keeps_has_an_index(watched, name, given):
    """Few documents are read; those with one label may be sorted."""
    store, _, watching, database = watched
    database[name].update_one({}, {"$set": {"labels": {"plan": "gold"}, "external_id": "a"}})
    listing = QUERIES[name]().load(given)
    list(getattr(store, name).page(listing, limit=10))

    [sent] = watching.sent
    bare = {part: sent[part] for part in ("find", "filter", "sort", "limit")}
    explained = database.command("explain", bare, verbosity="executionStats")
    assert 1 == explained["executionStats"]["totalDocsExamined"]


@pytest.mark.parametrize("given", [{}, {"status": "failed"}])
@pytest.mark.parametrize("sort", ["createdAt", "-createdAt"])
def test_the_deliveries_of_a_webhook_have_an_index(watched, given, sort):
    """All of them, and those of a status."""
    store, _, watching, database = watched
    listing = DeliveriesQuery().load({**given, "sort": sort, "limit": 10})
    list(store.deliveries.of_webhook("w5").page(listing, limit=10))

    [sent] = watching.sent
    assert set() == set(explain(database, sent)) & {"COLLSCAN", "SORT"}


@pytest.mark.parametrize("given", [{"instanceId": "x1"}, {"nodeId": "n1"}, {"status": "succeeded"}])
def test_a_filter_of_operations_has_an_index(watched, given):
    """Newest first, as they are listed."""
    store, _, watching, database = watched
    listing = OperationsQuery().load(given)
    list(store.operations.page(listing, limit=10))

    [sent] = watching.sent
    assert set() == set(explain(database, sent)) & {"COLLSCAN", "SORT"}
