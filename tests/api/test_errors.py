"""The tree of errors agrees with its drawing, and every error says what a client must know."""

import inspect
import re

import pytest

from service import errors
from service.contract.error_catalogue import CATALOGUE, list_codes
from service.errors import (
    AlreadyDone,
    AmbiguousName,
    InvalidInput,
    NodeExists,
    NodeFailure,
    NotFound,
    PortInUse,
    PortTaken,
    ServiceError,
    Throttled,
    UserSuspended,
)

LINE = re.compile(r"^    (?P<branch>[│├└─ ]*)(?P<name>[A-Z]\w+) +(?P<status>\d{3}) (?P<code>\S+)")


def walk_tree(error_class=ServiceError, parent=None):
    """List (class, parent) of the class and of everything below it."""
    below = [
        pair
        for child in error_class.__subclasses__()
        if child.__module__ == errors.__name__
        for pair in walk_tree(child, error_class)
    ]
    return [(error_class, parent), *below]


def read_drawing():
    """Read (name, name of the parent, status, code) of each line of the docstring's drawing."""
    rows, path = [], []
    for line in inspect.getsource(errors).split('"""')[1].splitlines():
        if match := LINE.match(line):
            depth = len(match["branch"]) // 4
            del path[depth:]
            parent = path[-1] if path else None
            rows.append((match["name"], parent, int(match["status"]), match["code"]))
            path.append(match["name"])
    return rows


MADE_OF = {
    PortTaken: ("node-1", 25565),
    PortInUse: ("node-1", 25565),
    NodeExists: ("node", "node-1"),
    NotFound: ("user", "u1"),
    AmbiguousName: ("node", "n1", ["a", "b"]),
    AlreadyDone: ({"user": "u1"},),
    UserSuspended: ("u1",),
}
"""What those errors are made of that are not made of a sentence and details."""


def an_error(error_class):
    """Make an error as those who raise it do."""
    if error_class in MADE_OF:
        return error_class(*MADE_OF[error_class])
    if issubclass(error_class, NodeFailure):
        return error_class("node-1", "It is down.")
    if issubclass(error_class, Throttled):
        return error_class("Too many.", limit=3, retry_after_s=60)
    return error_class("It went wrong.", field=["Wrong."])


CLASSES = [error_class for error_class, _ in walk_tree()]


def test_the_drawing_is_the_tree():
    """
    Each class stands in the docstring's drawing under its parent, with its status and its code.
    """
    tree = {
        (
            error_class.__name__,
            parent.__name__ if parent else None,
            error_class.status,
            "<what>_not_found" if error_class is NotFound else error_class.code,
        )
        for error_class, parent in walk_tree()
    }

    assert tree == set(read_drawing())


def test_every_class_of_the_module_is_in_the_tree():
    """
    No error class of the module stands outside ServiceError.
    """
    defined = {
        member
        for member in vars(errors).values()
        if inspect.isclass(member) and member.__module__ == errors.__name__
    }

    assert set(CLASSES) == defined


def test_codes_are_unique():
    """
    A program can tell any two errors apart by their code.
    """
    codes = [an_error(error_class).code for error_class in CLASSES]

    assert sorted(set(codes)) == sorted(codes)


@pytest.mark.parametrize("error_class", CLASSES)
def test_every_error_can_be_answered(error_class):
    """
    Each error has a status of HTTP's error range, a snake_case code, a sentence and details.
    """
    error = an_error(error_class)

    assert 400 <= error.status <= 599
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", error.code)
    assert error.message == str(error) != ""
    assert dict is type(error.details)


@pytest.mark.parametrize("error_class", CLASSES)
def test_every_class_says_what_it_means(error_class):
    """
    Each class has a docstring of its own.
    """
    assert error_class.__dict__["__doc__"].strip()


@pytest.mark.parametrize("error_class", [cls for cls in CLASSES if cls.status == 503])
def test_what_is_away_says_when_to_come_back(error_class):
    """
    A 503 carries the seconds for Retry-After.
    """
    assert error_class.retry_after_s >= 1


@pytest.mark.parametrize(
    ("what", "code"), [("user", "user_not_found"), ("process image", "process_image_not_found")]
)
def test_not_found_names_what_was_not_found(what, code):
    """
    The code and the sentence say what is missing, and the details name the wrong field.
    """
    error = NotFound(what, "u1", field="userId")

    assert code == error.code
    assert what in error.message
    assert {"userId": [f"There is no {what} 'u1'."]} == error.details


def test_not_found_keeps_the_codes_of_others():
    """
    The code of one error is not the code of the class.
    """
    NotFound("user", "u1")

    assert "node_not_found" == NotFound("node", "n1").code


@pytest.mark.parametrize("error_class", [cls for cls in CLASSES if issubclass(cls, NodeFailure)])
def test_a_nodes_failure_carries_its_facts(error_class):
    """
    Who catches it knows which node failed and why, and so does the client.
    """
    error = an_error(error_class)
    said = str(error)

    assert error.node_id == "node-1"
    assert len(said) > 0
    assert (said, said, {"nodeId": "node-1"}) == (error.reason, error.message, error.details)


def test_every_code_is_in_the_catalogue():
    """
    Each code of the tree says what it means and what to do, and the catalogue has no other.
    """
    of_http = {"not_found", "method_not_allowed", "request_entity_too_large", "request_timeout",
               "unsupported_media_type"}  # fmt: skip

    assert {code for _, code in list_codes()} | of_http == {entry.code for entry in CATALOGUE}
    assert all(entry.title.endswith(".") and entry.remedy.endswith(".") for entry in CATALOGUE)


def test_the_type_of_an_error_leads_to_its_explanation(api):
    """
    `type` is a page without a key, with an anchor for each code.
    """
    problem = api.get("/api/operations/nothing").json
    path, _, anchor = problem["type"].partition("#")

    page = api.flask.get(path)

    assert (200, "text/html") == (page.status_code, page.mimetype)
    assert f'id="{anchor}"' in page.text
    assert problem["title"] in page.text


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("application/problem+json", "application/problem+json"),
        ("application/json, application/problem+json", "application/problem+json"),
        ("application/json, application/problem+json;q=0", "application/json"),
    ],
)
def test_an_error_is_called_a_problem_to_who_asks(api, accept, expected):
    """
    Old clients read JSON; RFC 9457's content type is for those that name it.
    """
    answer = api.get("/nope", headers={"Accept": accept} if accept else {})

    assert expected == answer.headers["Content-Type"]


def test_an_error_has_the_members_of_the_rfc(api):
    """
    They say the same as ours, and name the request.
    """
    answer = api.get("/api/operations/nothing", headers={"X-Request-Id": "r-1"})

    assert {
        "type": "/docs/errors#operation_not_found",
        "title": "There is no such operation, or it ended long ago.",
        "status": answer.status,
        "detail": answer.json["error"],
        "instance": "urn:skyquay:request:r-1",
    }.items() <= answer.json.items()


def test_a_field_may_be_called_message():
    """
    The details name fields of requests, which may have any name.
    """
    error = InvalidInput("The request is wrong.", message=["Missing."])

    assert {"message": ["Missing."]} == error.details
