"""How answers are shaped: a schema is compiled into one plain function."""

import pytest

from service.contract import answers
from service.contract.answers import Answer
from service.contract.fields import make_example


class Part(Answer):
    """A part of a thing."""

    name = answers.text("wheel")


class Thing(Answer):
    """What these tests shape."""

    Id = answers.text("t1", of="_id")
    size = answers.integer(3, of=lambda source: source["millis"] // 1000)
    part = answers.nested(Part, null=True)
    parts = answers.many(Part, audited=False)
    note = answers.text(optional=True)
    meta = answers.mapping({}, data_key="Meta", audited=False)


def a_thing(**over):
    """Make a document of a thing."""
    return {
        "_id": "t1",
        "millis": 3000,
        "part": {"name": "wheel", "price": 7},
        "parts": [{"name": "wheel", "price": 7}],
        "note": None,
        "meta": {},
        "secret": "sesame",
        **over,
    }


def test_an_answer_has_the_declared_fields_in_their_order():
    """
    What the document has beside them, here and in its parts, is not answered.
    """
    shaped = Thing.shape(a_thing())

    assert [
        ("Id", "t1"),
        ("size", 3),
        ("part", {"name": "wheel"}),
        ("parts", [{"name": "wheel"}]),
        ("Meta", {}),
    ] == list(shaped.items())


def test_an_optional_field_is_there_when_it_has_a_value():
    """
    It comes after the others.
    """
    assert ("note", "new") == list(Thing.shape(a_thing(note="new")).items())[-1]


def test_a_part_may_be_null():
    """
    Then the part's own fields are not looked for.
    """
    assert Thing.shape(a_thing(part=None))["part"] is None


def test_a_document_without_a_field_is_an_error():
    """
    No field is made up for what should have been stored.
    """
    with pytest.raises(KeyError, match="_id"):
        Thing.shape({})


def test_what_is_not_audited_is_left_out_of_the_audit_log():
    """
    It is not even read.
    """
    document = {name: value for name, value in a_thing().items() if name not in ("parts", "meta")}

    assert {"Id", "size", "part"} == Thing.shape_audited(document).keys()


def test_an_example_is_made_of_the_samples():
    """
    Fields without a sample are left out; what is different in one answer can be said.
    """
    example = {"Id": "t1", "size": 3, "part": {"name": "wheel"}, "parts": [{"name": "wheel"}]}

    assert {**example, "Meta": {}} == make_example(Thing)
    assert {**example, "Meta": {}, "note": "new"} == make_example(Thing, note="new")
