"""Variables of images: their schemas, what may be given for them, and rules of older panels."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import variables
from service.errors import InvalidInput
from service.model import panel_rules
from service.model.variable_schema import MAX_DEPTH, MAX_SIZE

HANGS = "^(a+)+$"
"""Takes Python's own `re` longer than the universe is old, on 64 letters and a wrong one."""


def a_variable(**over):
    """Make a variable as a document is loaded."""
    return {"type": "text", "default": None, "required": False, **over}


def declare(**over):
    """Declare one variable."""
    return variables.declare({"A": a_variable(**over)})


def mismatches(schema, text):
    """Check a text by a schema."""
    declared = declare(schema=schema)
    try:
        assert {"A": text} == variables.check(declared, {"A": text})
    except InvalidInput as exc:
        return exc.details["variables"]["A"]
    return []


@pytest.mark.parametrize(
    ("schema", "fits", "others"),
    [
        ({"type": "string"}, ["a", "1", "ä" * 4096], []),
        ({"type": "string", "minLength": 2, "maxLength": 3}, ["ab", "123"], ["a", "abcd"]),
        ({"type": "string", "enum": ["1", "b"]}, ["1", "b"], ["2", "B"]),
        ({"type": "string", "pattern": "^[a-z]+$"}, ["a"], ["A", "a\n", "1"]),
        ({"type": "string", "pattern": "b"}, ["abc"], ["ac"]),
        ({"type": "string", "format": "ipv4"}, ["10.0.0.1"], ["10.0.0", "localhost"]),
        ({"type": "string", "format": "email"}, ["a@example.org"], ["a"]),
        ({"type": "string", "format": "date"}, ["2026-01-31"], ["2026-02-31"]),
        ({"type": "integer"}, ["0", "-7"], ["1.0", "1e3", "x", "٣", "1" * 16, "true"]),
        ({"type": "integer", "minimum": 1, "maximum": 3}, ["1", "3"], ["0", "4"]),
        ({"type": "integer", "exclusiveMaximum": 3, "multipleOf": 2}, ["2"], ["3", "1"]),
        ({"type": "integer", "enum": [1, 2]}, ["1"], ["3"]),
        ({"type": "number", "maximum": 1.5}, ["1", "1.5"], ["1.6", "NaN", "inf", "1e400"]),
        ({"type": "boolean"}, ["true", "false", "1", "0", "True"], ["yes", "2"]),
        ({"type": "boolean", "const": True}, ["true", "1"], ["false"]),
        ({"type": "string", "anyOf": [{"const": "a"}, {"minLength": 3}]}, ["a", "abc"], ["b"]),
        ({"type": "string", "not": {"enum": ["root"]}}, ["ada"], ["root"]),
        ({"type": "integer", "if": {"minimum": 5}, "then": {"multipleOf": 5}}, ["3", "10"], ["7"]),
    ],
)
def test_a_value_fits_its_schema(schema, fits, others):
    """It is read as the schema's type says, and stays the text that it is."""
    assert [[]] * len(fits) == [mismatches(schema, text) for text in fits]
    assert all(mismatches(schema, text) for text in others)


@pytest.mark.parametrize(
    "schema",
    [
        {"minLength": 1},
        {"type": "object"},
        {"type": ["string"]},
        {"type": "string", "$ref": "https://example.org/schema.json"},
        {"type": "string", "$ref": "#"},
        {"type": "string", "allOf": [{"$dynamicRef": "#x"}]},
        {"type": "string", "patern": "a"},
        {"type": "string", "format": "uri"},
        {"type": "string", "format": []},
        {"type": "string", "pattern": "("},
        {"type": "string", "pattern": "(?=a)"},
        {"type": "string", "pattern": r"(a)\1"},
        {"type": "string", "pattern": "((a{100}){100}){100}"},
        {"type": "string", "pattern": "a" * 513},
        {"type": "string", "pattern": 1},
        {"type": "string", "minLength": "1"},
        {"type": "string", "minLength": -1},
        {"type": "string", "enum": 1},
        {"type": "string", "anyOf": {}},
        {"type": "string", "not": 3},
        {"type": "number", "multipleOf": 0.1},
        {"type": "integer", "maximum": 2**63},
        {"type": "string", "title": "x" * MAX_SIZE},
        {"type": "string", "title": "\0"},
    ],
)
def test_a_schema_that_cannot_be_used_is_named(schema):
    """What calls out, may never end, or is not checked is refused with the image."""
    with pytest.raises(InvalidInput) as refused:
        declare(schema=schema)

    assert {
        "Variables": {"A": {"schema": [*refused.value.details["Variables"]["A"]["schema"]]}}
    } == (refused.value.details)


def test_a_schema_is_only_so_deep():
    """Deeper ones are refused."""
    schema = {"type": "string", "minLength": 1}
    for _ in range(MAX_DEPTH - 1):
        schema = {"type": "string", "not": schema}
    declare(schema=schema)

    with pytest.raises(InvalidInput):
        declare(schema={"type": "string", "not": schema})


def test_no_pattern_hangs():
    """It is matched in time that grows with the text: this ends."""
    assert ["Must match ^(a+)+$."] == mismatches(
        {"type": "string", "pattern": HANGS}, "a" * 4095 + "!"
    )


@given(
    schema=st.dictionaries(
        st.sampled_from(["type", "enum", "pattern", "minimum", "maxLength", "anyOf", "not", "x"]),
        st.recursive(
            st.none()
            | st.integers()
            | st.text(max_size=5)
            | st.sampled_from(["string", "integer"]),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["type", "pattern", "not"]), inner, max_size=2)
            ),
            max_leaves=5,
        ),
        max_size=4,
    ).map(lambda drawn: {"type": "string", **drawn}),
    text=st.text(max_size=20),
)
def test_what_is_declared_can_be_checked(schema, text):
    """A schema is refused with the image, or never fails afterwards."""
    try:
        declared = declare(schema=schema)
    except InvalidInput:
        return

    found = variables.list_mismatches(declared["A"].get("schema", {"type": "string"}), text)

    assert all(isinstance(sentence, str) for sentence in found)


def test_a_default_fits_its_schema():
    """An image whose default is refused could never be deployed."""
    with pytest.raises(InvalidInput) as refused:
        declare(schema={"type": "integer"}, default="x")

    assert {"Variables": {"A": {"default": ["Must be an integer."]}}} == refused.value.details


def test_every_wrong_variable_is_named():
    """At once, whatever is wrong with each; those that are right are not."""
    declared = variables.declare(
        {
            "MISSING": a_variable(required=True),
            "LOW": a_variable(schema={"type": "integer", "minimum": 5}),
            "FINE": a_variable(required=True),
            "OURS": a_variable(editable_by="admin", default="x"),
        }
    )

    with pytest.raises(InvalidInput) as refused:
        variables.check(declared, {"LOW": "1", "FINE": "a", "OURS": "y"}, may_edit_all=False)

    assert {
        "variables": {
            "MISSING": ["This variable is required."],
            "LOW": ["Must be at least 5."],
            "OURS": ["Only an administrator may set this variable."],
        }
    } == refused.value.details


def test_defaults_complete_what_was_sent():
    """An empty text is as good as none; what is not declared is kept."""
    declared = variables.declare({"A": a_variable(default="a"), "B": a_variable()})

    assert {"A": "a", "B": "", "C": "c"} == variables.check(declared, {"A": "", "B": "", "C": "c"})


def test_an_empty_value_needs_no_schema():
    """A variable that is not required may be left out, and left empty."""
    declared = declare(schema={"type": "integer"})

    assert ({}, {"A": ""}) == (variables.check(declared, {}), variables.check(declared, {"A": ""}))


@pytest.mark.parametrize(
    ("current", "given_", "is_let"),
    [
        (None, {}, True),
        (None, {"A": "x"}, True),
        (None, {"A": "y"}, False),
        ({"A": "y"}, {"A": "y"}, True),
        ({"A": "y"}, {"A": "x"}, False),
        ({"A": "y"}, {}, False),
        ({}, {"A": "x"}, True),
    ],
)
def test_an_owner_does_not_change_what_is_an_administrators(current, given_, is_let):
    """Repeating what it is, as forms do, is no change; an administrator changes it."""
    declared = declare(editable_by="admin", default="x")

    try:
        variables.check(declared, given_, may_edit_all=False, current=current)
        let = True
    except InvalidInput:
        let = False

    assert is_let is let
    variables.check(declared, given_, current=current)


@pytest.mark.parametrize("value", ["hush-hush", "hush"])
def test_no_reason_repeats_a_value(value):
    """It may be secret."""
    for schema in (
        {"type": "string", "maxLength": 1},
        {"type": "integer"},
        {"type": "string", "enum": ["a"]},
        {"type": "string", "anyOf": [{"const": "a"}]},
        {"type": "string", "format": "ipv4"},
        {"type": "string", "pattern": "^x$"},
    ):
        assert "hush" not in str(mismatches(schema, value))


# Rules of older panels


@pytest.mark.parametrize(
    ("over", "schema"),
    [
        ({"rules": "required|string|max:20"}, {"type": "string", "maxLength": 20}),
        ({"rules": ["integer", "between:1,10"]}, {"type": "integer", "minimum": 1, "maximum": 10}),
        ({"rules": "numeric|min:0.5"}, {"type": "number", "minimum": 0.5}),
        ({"rules": "string|size:3"}, {"type": "string", "minLength": 3, "maxLength": 3}),
        ({"rules": "in:a,b"}, {"type": "string", "enum": ["a", "b"]}),
        ({"rules": "int|in:1,2"}, {"type": "integer", "enum": [1, 2]}),
        ({"rules": "not_in:root"}, {"type": "string", "not": {"enum": ["root"]}}),
        ({"rules": "boolean"}, {"type": "boolean"}),
        ({"rules": "regex:/^(a|b)$/|max:1"}, {"type": "string", "pattern": "^(a|b)$",
                                              "maxLength": 1}),
        ({"rules": "regex:/^a$/i"}, {"type": "string", "pattern": "(?i)^a$"}),
        ({"rules": "alpha|regex:/^a/"}, {"type": "string", "pattern": r"^[A-Za-z]+$",
                                         "allOf": [{"pattern": "^a"}]}),
        ({"rules": "digits_between:2,3"}, {"type": "string", "pattern": "^[0-9]{2,3}$"}),
        ({"rules": "ip"}, {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}),
        ({"rules": "email"}, {"type": "string", "format": "email"}),
        ({"type": "number"}, {"type": "number"}),
        ({"type": "number", "rules": "string|max:2"}, {"type": "string", "maxLength": 2}),
        ({"type": "number", "rules": "string"}, None),
        # What cannot be read, used, or would refuse the default is left out, and the rest kept.
        ({"rules": "nullable|exists:users|max:x|max:5"}, {"type": "string", "maxLength": 5}),
        ({"rules": "regex:/(?=a)/|max:5"}, {"type": "string", "maxLength": 5}),
        ({"rules": "min:3|max:5", "default": "a"}, {"type": "string", "maxLength": 5}),
        ({"type": "number", "default": "latest"}, None),
        ({"rules": 7}, None),
        ({"rules": "required"}, None),
        ({"rules": "max:5", "schema": {"type": "string"}}, {"type": "string"}),
    ],
)  # fmt: skip
def test_rules_become_a_schema(over, schema):
    """As far as they can be read."""
    assert schema == declare(**over)["A"].get("schema")
    assert "rules" not in declare(**over)["A"]


def test_what_the_rules_require_is_required():
    """It is a rule to them, and a field to us."""
    assert declare(rules="required|string")["A"]["required"]


@given(rules=st.lists(st.text(max_size=30) | st.sampled_from(["min:1", "max:2", "in:", "integer"])))
def test_any_rules_are_read(rules):
    """Whatever they say, the image can be used, as it could before."""
    declared = declare(rules=rules, default="x")

    assert {"A": "x"} == variables.check(declared, {})


def test_rules_are_split_between_rules():
    """Not at what stands in a regular expression."""
    assert ["regex:/^(a|b)$/", "max:1", "required"] == panel_rules.split(
        "regex:/^(a|b)$/|max:1|required"
    )
