"""Lists by what dashboards keep at documents, and by names of nodes; pages of operations."""

import pytest

from tests.support import a_body, a_node, a_user, told

LABELLED = ("users", "instances", "nodes")
IDS = {"users": "userId", "instances": "Id", "nodes": "id"}


@pytest.fixture
def labelled(api, store, ready, node):
    """The paths of a resource of each noun, with an external id and labels."""
    paths = {
        "users": f"/api/users/{a_user(store)['_id']}",
        "instances": f"/api/instances/{ready}",
        "nodes": f"/api/nodes/{node['_id']}",
    }
    for path in paths.values():
        body = {"externalId": "a:1", "labels": {"plan": "gold", "a/b": "x:y=z"}}
        assert 200 == api.send("PATCH", path, json=body).status
    return paths


def found(api, noun, query):
    """Return how many a list has that is asked for like this, and whether it has the labelled."""
    return [each["externalId"] for each in api.get(f"/api/{noun}?{query}").json]


@pytest.mark.parametrize("noun", LABELLED)
@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("externalId=a:1", 1),
        ("externalId=a", 0),
        ("label=plan:gold", 1),
        ("label=plan:gold&label=a/b:x:y%3Dz", 1),
        ("label=plan:gold&label=a/b:x", 0),
        ("label=plan:gold&label=plan:silver", 0),
        ("label=plan:", 0),
        ("label=plan:gold&externalId=a:1&limit=1", 1),
    ],
)
def test_a_list_is_filtered_by_what_a_dashboard_keeps(api, labelled, noun, query, count):
    """Of several labels all must hold."""
    assert ["a:1"] * count == found(api, noun, query)


@pytest.mark.parametrize("noun", LABELLED)
@pytest.mark.parametrize("label", ["plan", ":gold", "a.b:c", "$where:1", "", "plan:" + "x" * 256])
def test_what_is_no_label_is_a_400(api, noun, label):
    """A name and a value are needed."""
    assert (400, "invalid_input", ["label"]) == told(api.get(f"/api/{noun}?label={label}"))


def test_the_next_page_has_all_labels(api, store):
    """Of a filter that is given several times no part is lost, and a cursor belongs to all."""
    for number in range(3):
        path = f"/api/users/{a_user(store)['_id']}"
        api.send("PATCH", path, json={"labels": {"a": "1", "b": str(number // 2)}})
    first = api.get("/api/users?label=a:1&label=b:0&limit=1")
    path = first.headers["Link"].partition(">")[0].strip("<")
    second = api.get(path)
    other = api.get(path.replace("label=b%3A0", "label=b%3A1"))

    assert [1, 1, None] == [len(first.json), len(second.json), second.headers.get("Link")]
    assert first.json != second.json
    assert (400, "invalid_input", ["cursor"]) == told(other)


def test_a_node_is_called_by_its_name(api, store, memory_nodes, ready, node):
    """An exact id wins, and of several nodes of a name all are meant."""
    a_node(store, memory_nodes, name=node["_id"])
    a_node(store, memory_nodes, name=node["name"])

    for reference in (node["_id"], node["name"]):
        assert [ready] == [each["Id"] for each in api.get(f"/api/instances?node={reference}").json]
        assert api.get(f"/api/operations?nodeId={reference}").json
    assert [] == api.get("/api/instances?node=nothing").json


def test_operations_are_read_page_by_page(api, place):
    """Newest first; the pages together are the whole list."""
    for number in range(3):
        ports = str(9000 + number)
        api.post("/api/instances", a_body(place, ports=f"80:{ports}", primary=ports))
    whole = [each["id"] for each in api.get("/api/operations").json]
    pages, path = [], "/api/operations?limit=2&status=pending"
    while path:
        answer = api.get(path)
        pages.append([each["id"] for each in answer.json])
        path = answer.headers.get("Link", "").partition(">")[0].strip("<")

    assert [whole[:2], whole[2:]] == pages
    assert whole[::-1] == [each["id"] for each in api.get("/api/operations?sort=createdAt").json]


def test_a_cursor_of_operations_belongs_to_its_filter(api, ready, place):
    """Of another list it is a 400."""
    api.post("/api/instances", a_body(place, ports="80:9100", primary="9100"))
    link = api.get("/api/operations?limit=1").headers["Link"]
    path = link.partition(">")[0].strip("<")

    assert (400, "invalid_input", ["cursor"]) == told(api.get(f"{path}&status=pending"))


def test_the_next_page_of_the_audit_log_is_linked(api):
    """As that of other lists, beside `next`."""
    for number in range(3):
        api.post("/api/keys", {"name": f"k{number}", "scopes": ["nodes:read"]})
    first = api.get("/api/audit?limit=2")
    second = api.get(first.headers["Link"].partition(">")[0].strip("<"))

    assert first.json["next"] in first.headers["Link"]
    assert (1, None) == (len(second.json["entries"]), second.headers.get("Link"))
