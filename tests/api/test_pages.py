"""Parts of lists: pages, cursors, orders, filters and chosen fields."""

from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from service import keys
from service.model.documents import new_instance
from service.model.lifecycle import InstanceState, Power
from tests.support import FAR, NOON, ApiClient, a_node, a_user, an_image

LIST = "/api/instances"
COUNT = 7


def add_instance(store, place, number, **over):
    """Store an instance past the use case; those of higher numbers are younger."""
    user, node, image = place
    fields = {
        "name": f"game {number % 3}", "user_id": user["_id"], "node_id": node["_id"],
        "image": image["image"], "image_id": image["_id"], "image_name": image["name"],
        "memory_mib": 64, "cpu_milli": 100, "ports": [], "primary": "80", "primary_port": 80,
        "state": InstanceState.READY, "now": NOON + timedelta(seconds=number),
    }  # fmt: skip
    store.instances.add(new_instance(f"i{number:011d}", **{**fields, **over}))


@pytest.fixture
def filled(store, place):
    """Seven instances, of which each third has the same name."""
    for number in range(COUNT):
        add_instance(store, place, number)


def ids(answer):
    """List the ids of an answer, as numbers."""
    return [int(each["Id"][1:]) for each in answer.json]


def follow(api, path):
    """Read page after page; return the ids of each."""
    pages = []
    while path:
        answer = api.get(path)
        assert answer.status == 200, answer.json
        pages.append(ids(answer))
        link = answer.headers.get("Link")
        path = link and link[1 : link.index(">")]
    return pages


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("query", "pages"),
    [
        ("limit=3", [[0, 1, 2], [3, 4, 5], [6]]),
        ("limit=7", [[0, 1, 2, 3, 4, 5, 6]]),
        ("limit=4&sort=-createdAt", [[6, 5, 4, 3], [2, 1, 0]]),
        ("limit=4&sort=name", [[0, 3, 6, 1], [4, 2, 5]]),
        ("limit=4&sort=-name", [[5, 2, 4, 1], [6, 3, 0]]),
        ("limit=4&sort=-updatedAt", [[6, 5, 4, 3], [2, 1, 0]]),
        ("limit=2&name=game%200", [[0, 3], [6]]),
        ("sort=-createdAt", [[6, 5, 4, 3, 2, 1, 0]]),
    ],
)
def test_pages_have_all_in_order(api, query, pages):
    """
    The links lead through the whole list, each instance once; without a limit it is one page.
    """
    assert pages == follow(api, f"{LIST}?{query}")


@pytest.mark.usefixtures("filled")
def test_pages_stay_while_documents_come_and_go(api, store, place):
    """
    What is deleted on a page that was read, and what is added, moves nothing on the next.
    """
    first = api.get(f"{LIST}?limit=3")
    store.transaction(lambda session: store.instances.remove("i00000000000", session=session))
    add_instance(store, place, 9)

    [link] = [first.headers["Link"]]
    assert [[3, 4, 5], [6, 9]] == follow(api, link[1 : link.index(">")])


@pytest.mark.usefixtures("filled")
def test_a_page_says_how_long_the_list_is(api):
    """
    Where that is cheap: all, or what is on the only page. A filtered list is not counted.
    """
    totals = [
        api.get(f"{LIST}?{query}").headers.get("X-Total-Count")
        for query in ("limit=3", "limit=5&name=game%200", "limit=2&name=game%200")
    ]

    assert ["7", "3", None] == totals


@pytest.mark.usefixtures("filled")
def test_a_link_keeps_what_was_asked_for(api):
    """
    The next page has the same filters, sort, limit and fields.
    """
    link = api.get(f"{LIST}?limit=1&sort=-name&name=game&fields=Id,Name").headers["Link"]
    query = parse_qs(urlsplit(link[1 : link.index(">")]).query)

    assert link.endswith('; rel="next"')
    assert query.pop("cursor")
    assert {"limit": ["1"], "sort": ["-name"], "name": ["game"], "fields": ["Id,Name"]} == query


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.replace("limit=2", "limit=2&sort=-createdAt"),
        lambda path: path.replace("limit=2", "limit=2&name=game"),
        lambda path: path.replace("/instances", "/users"),
        lambda path: path.replace("cursor=", "cursor=A"),
        lambda path: path.partition("cursor=")[0] + "cursor=x",
        lambda path: path.partition("cursor=")[0] + "cursor=%C3%A9",
    ],
)
def test_a_cursor_of_another_list_is_refused(api, change):
    """
    400 with the field: it says a place in the list that it was made for, and cannot be made up.
    """
    link = api.get(f"{LIST}?limit=2").headers["Link"]
    answer = api.get(change(link[1 : link.index(">")]))

    assert (400, ["cursor"]) == (answer.status, list(answer.json["details"]))


@pytest.mark.parametrize(
    "name",
    ["limit=0", "limit=1001", "limit=x", "sort=age", "sort=", "fields=Id,Nme", "fields=",
     "fields=,", "state=ready", "suspended=perhaps", "createdSince=yesterday",
     "updatedSince=99999-01-01"],
)  # fmt: skip
def test_what_no_list_can_be_asked_for_is_refused(api, name):
    """
    400 with the parameter's name.
    """
    answer = api.get(f"{LIST}?{name}")

    assert (400, [name.partition("=")[0]]) == (answer.status, list(answer.json["details"]))


def test_all_wrong_parameters_are_named_at_once(api):
    """
    With what there is, and what may have been meant.
    """
    details = api.get(f"{LIST}?fields=Nam&limit=no&state=x").json["details"]

    assert {"fields", "limit", "state"} == set(details)
    assert "Did you mean 'Name'?" in details["fields"][0]


@pytest.mark.usefixtures("filled")
def test_only_the_chosen_fields_are_answered(api):
    """
    In the order of the request, each once.
    """
    answer = api.get(f"{LIST}?limit=1&fields=Name,Id,Name")

    assert [{"Name": "game 0", "Id": "i00000000000"}] == answer.json
    assert ["Name", "Id"] == list(answer.json[0])


@pytest.fixture
def various(store, memory_nodes, place):
    """Instances that differ in one thing each from the first."""
    user, node, image = place
    add_instance(store, place, 0)
    add_instance(store, (a_user(store, username="other"), node, image), 1)
    add_instance(store, (user, a_node(store, memory_nodes, name="other"), image), 2)
    add_instance(store, (user, node, an_image(store, name="Other", image="other:1")), 3)
    add_instance(store, place, 4, state=InstanceState.FAILED)
    add_instance(store, place, 5, power=Power.RUNNING)
    add_instance(store, place, 6, suspended=True)
    add_instance(store, place, 7, image_id=None, image="strange:1", name="x")


@pytest.mark.usefixtures("various")
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("user={other_user}", [1]),
        ("node={other_node}", [2]),
        ("image={other_image}", [3]),
        ("image=Other", [3]),
        ("image=other:1", [3]),
        ("image=strange:1", [7]),
        ("state=FAILED", [4]),
        ("power=running", [5]),
        ("suspended=true", [6]),
        ("name=x", [7]),
        ("name=ame", []),
        ("user=nobody", []),
        ("createdSince=2026-01-31T12:00:06Z", [6, 7]),
        ("updatedSince=2026-01-31T12:00:07Z", [7]),
        ("suspended=false&power=running&state=READY", [5]),
        ("suspended=true&power=running", []),
    ],
)
def test_filters_leave_what_fits(api, store, query, found):
    """
    Each alone, and all together.
    """
    assert NOON.isoformat().startswith("2026-01-31T12:00:00")
    others = {
        "other_user": store.users.find_by_username("other")["_id"],
        "other_node": next(n["_id"] for n in store.nodes.all() if n["name"] == "other"),
        "other_image": store.images.list_matching("Other")[0]["_id"],
    }

    assert found == ids(api.get(f"{LIST}?{query.format(**others)}"))


def test_users_nodes_images_and_keys_are_filtered_too(api, store, memory_nodes):
    """
    By what their lists show.
    """
    user = a_user(store, username="Straße", email="S@example.org", admin=True)
    a_node(store, memory_nodes, name="tagged", tags="eu, ssd")
    a_node(store, memory_nodes, name="listed", tags=["eu west", "ssd"])
    an_image(store, name="Paper 1.21")
    keys.create(store, name="limited", grant={"user_id": user["_id"]}, now=FAR)

    def names(path, field):
        return [each[field] for each in api.get(path).json]

    assert ["Straße"] == names("/api/users?username=STRASSE", "username")
    assert ["Straße"] == names("/api/users?email=s@EXAMPLE.org&admin=yes", "username")
    assert ["listed", "tagged"] == names("/api/nodes?tag=ssd&sort=name", "name")
    assert ["tagged"] == names("/api/nodes?tag=eu", "name")
    assert [] == names("/api/nodes?tag=s.d", "name")
    assert ["Paper 1.21"] == names("/api/images?name=Paper&sort=-name", "Name")
    assert ["limited"] == names(f"/api/keys?user={user['_id']}&limit=5", "name")


@pytest.mark.usefixtures("filled")
def test_a_page_that_did_not_change_is_not_sent_again(api, store):
    """
    304 to who has it, 200 once something on it, or what follows it, changed.
    """
    path = f"{LIST}?limit=2"
    headers = {"If-None-Match": api.get(path).headers["ETag"]}
    same = api.get(path, headers=headers)
    store.instances.update("i00000000001", {"power": Power.STOPPED})
    changed = api.get(path, headers=headers)

    assert (304, 200) == (same.status, changed.status)


@pytest.mark.usefixtures("filled")
def test_a_limited_key_pages_through_what_it_may_see(api, store, place):
    """
    Its own instances, whatever it filters by, and it is not told how many there are of others.
    """
    other = a_user(store, username="other")
    for number in (20, 21, 22):
        add_instance(store, (other, *place[1:]), number)
    _, value = keys.create(store, name="k", grant={"user_id": other["_id"]}, now=NOON)
    limited = ApiClient(api.flask, value)

    assert [[20, 21], [22]] == follow(limited, f"{LIST}?limit=2")
    assert [] == limited.get(f"{LIST}?user={place[0]['_id']}").json
    assert limited.get(f"{LIST}?limit=2").headers.get("X-Total-Count") is None


def test_a_key_pages_through_the_keys_that_it_covers(api, store, place):
    """
    Pages are full although others' keys lie between those that it may see.
    """
    user = place[0]["_id"]
    grant = {"scopes": ["keys:read", "instances:read"], "user_id": user}
    _, value = keys.create(store, name="mine", grant=grant, now=NOON)
    limited = ApiClient(api.flask, value)
    for number in range(6):
        grant = {"scopes": ["instances:read"], **({"user_id": user} if number % 2 else {})}
        keys.create(store, name=f"k{number}", grant=grant, now=FAR + timedelta(seconds=number))
    first = limited.get("/api/keys?limit=2&sort=-createdAt&fields=name")
    link = first.headers["Link"]
    second = limited.get(link[1 : link.index(">")])

    assert [{"name": "k5"}, {"name": "k3"}] == first.json
    assert {"name": "k1"} == second.json[0]
