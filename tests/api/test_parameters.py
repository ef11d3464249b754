"""Parameters of the query: each endpoint takes those that it knows, and ignores almost nothing."""

import pytest

from tests.support import SPEC, a_user, told

PATHS = [
    (method.upper(), path)
    for path, operations in SPEC["paths"].items()
    for method in operations
    if method != "parameters"
]


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_an_unknown_parameter_is_a_400(api, method, path):
    """
    Whatever the path names, and before anything is done.
    """
    answer = api.send(method, f"{path}?prety=1")

    assert (400, "invalid_input") == told(answer)[:2]
    assert ["Unknown parameter. This takes"] == [
        reason[0][:29] for name, reason in answer.json["details"].items() if name == "prety"
    ]


def test_a_filter_that_there_is_not_does_not_answer_everything(api, store):
    """
    The list of one user's instances is not everybody's because of a wrong name.
    """
    a_user(store)

    answer = api.get("/api/instances?owner=nobody")

    assert (400, "invalid_input", ["owner"]) == told(answer)
    assert answer.json["details"]["owner"][0].startswith("Unknown parameter.")


def test_the_known_ones_are_listed_and_the_closest_is_asked_about(api):
    """
    A slip of the pen is found without the documentation.
    """
    answer = api.get("/api/operations?instanceid=x&limit=0")

    assert {
        "instanceid": [
            "Unknown parameter. Did you mean 'instanceId'? "
            "This takes limit, cursor, sort, fields, instanceId, nodeId, status."
        ],
        "limit": ["Must be a number between 1 and 1000."],
    } == answer.json["details"]


def test_it_is_named_beside_wrong_fields_of_the_body(api, store):
    """
    One 400 has all of it, on the reference's paths too.
    """
    answer = api.send("DELETE", "/api/instance/delete?wiat=1&wait=x", json={"id": 7})

    assert (400, "invalid_input", {"wiat", "wait", "id"}) == (
        answer.status, answer.json["code"], set(answer.json["details"])
    )  # fmt: skip


@pytest.mark.parametrize("path", ["/api/users?_=1706700000", "/api/instances?key=x&_=1", "/?_=1"])
def test_what_caches_are_passed_by_with_is_ignored(api, path):
    """
    `_`, which libraries add, passes everywhere, and `key` where a recorded client sends it.
    """
    assert 200 == api.get(path).status


def test_who_is_not_authenticated_learns_of_no_parameters(api):
    """
    The key comes first.
    """
    assert 401 == api.get("/api/users?x=1", headers={"x-api-key": "wrong"}).status


def test_few_of_many_are_named(api):
    """
    Looking for what is like each of thousands would take its time.
    """
    answer = api.get("/api/operations?" + "&".join(f"x{i}=" for i in range(500)))

    assert (400, 20) == (answer.status, len(answer.json["details"]))
