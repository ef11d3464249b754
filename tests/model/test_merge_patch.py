"""Merge patches, by the examples of RFC 7396."""

import pytest

from service.model.merge_patch import merge

# The RFC's appendix A, whole.
CASES = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("document", "patch", "merged"), CASES)
def test_a_patch_is_merged(document, patch, merged):
    """As the RFC says."""
    assert merged == merge(document, patch)


def test_nothing_is_changed_in_place():
    """Neither the document nor the patch."""
    document, patch = {"a": {"b": 1}}, {"a": {"c": {"d": 1}}}

    merge(document, patch)["a"]["c"]["d"] = 2

    assert ({"a": {"b": 1}}, {"a": {"c": {"d": 1}}}) == (document, patch)
