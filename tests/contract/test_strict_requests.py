"""Requests that refuse fields that they do not know."""

import marshmallow as ma
import pytest

from service.contract.base import StrictRequest


class Wanted(StrictRequest):
    """A request with one field, whose name on the wire is not its own."""

    memory_mib = ma.fields.Integer(data_key="memory")


def test_an_unknown_field_is_refused_with_what_was_meant():
    """
    The error names the field, and the known one that is closest.
    """
    with pytest.raises(ma.ValidationError) as refused:
        Wanted().load({"memry": 1})

    assert {"memry": ["Unknown field. Did you mean 'memory'?"]} == refused.value.messages


def test_wrong_and_unknown_fields_are_named_at_once():
    """
    One error lists what is wrong and what is unknown.
    """
    with pytest.raises(ma.ValidationError) as refused:
        Wanted().load({"memory": "much", "xyz": 1})

    assert {"memory", "xyz"} == set(refused.value.messages)


@pytest.mark.parametrize("sent", [[None], "x", 7])
def test_what_is_no_object_is_wrong(sent):
    """
    It has no fields that could be unknown.
    """
    with pytest.raises(ma.ValidationError):
        Wanted().load(sent)
