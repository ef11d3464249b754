"""What every list may be asked for in the query, and the filters of each kind of list."""

import re
from datetime import UTC, datetime
from typing import Any, ClassVar

import marshmallow as ma

from service.contract import fields
from service.contract.answers import Answer
from service.contract.base import Request
from service.model import labelling
from service.model.listing import BY_AGE, Condition, Listing, Sort, Test
from service.model.suggestions import suggest

LONGEST_PAGE = 1000
POSSIBLE = ma.validate.Range(
    min=datetime(2000, 1, 1, tzinfo=UTC), max=datetime(2200, 1, 1, tzinfo=UTC)
)
"""The times that documents may have."""


def filter_by(
    kind: type[ma.fields.Field[Any]] = ma.fields.String,
    *,
    of: str,
    test: Test = Test.EQUALS,
    fold: bool = False,
    description: str,
    **options: Any,
) -> ma.fields.Field[Any]:
    """Make a parameter that leaves only documents whose field `of` passes the test.

    `fold` is for fields that are stored without their letter case.
    """
    if kind is ma.fields.String:
        options.setdefault("validate", ma.validate.Length(min=1, max=255))
    metadata = {"description": description, "of": of, "test": test, "fold": fold}
    return kind(load_default=None, metadata=metadata, **options)


def one_of(values: Any, *, of: str, description: str) -> ma.fields.Field[Any]:
    """Make a filter by a field with these values."""
    validate = ma.validate.OneOf([each.value for each in values])
    return filter_by(of=of, validate=validate, description=description)


def since(of: str, description: str) -> ma.fields.Field[Any]:
    """Make a filter by a time: that one and later."""
    return filter_by(
        ma.fields.AwareDateTime,
        of=of,
        test=Test.SINCE,
        default_timezone=UTC,
        validate=POSSIBLE,
        description=f"{description} RFC 3339; UTC if it names no zone.",
    )


def sort_by(*, otherwise: str = "createdAt", **others: tuple[str, ...]) -> ma.fields.Field[Any]:
    """Make the parameter of a list's order: by its age, or by these names for documents' fields.

    The fields of an order are unique together.
    """
    sorts = {}
    for name, of in {"createdAt": BY_AGE.fields, **others}.items():
        sorts[name], sorts[f"-{name}"] = Sort(of), Sort(of, descending=True)
    return ma.fields.String(
        load_default=otherwise,
        validate=ma.validate.OneOf(list(sorts), error="Must be one of: {choices}."),
        metadata={"description": "The order; descending after a `-`.", "sorts": sorts},
    )


class ListQuery(Request[Listing]):
    """Which part of a list: without any of these, all of it, oldest first."""

    answer: ClassVar[type[Answer[Any]]]
    """What the list has, whose fields may be chosen."""

    limit = fields.count(
        longest=LONGEST_PAGE,
        load_default=None,
        metadata={
            "description": f"How many at most, {LONGEST_PAGE} or fewer; all if absent. `Link` has "
            "the next page."
        },
    )
    cursor = ma.fields.String(
        load_default=None,
        validate=ma.validate.Length(min=1, max=1000),
        metadata={"description": "Where the page begins: from the `Link` of the page before."},
    )
    sort = sort_by()
    shown = ma.fields.String(
        data_key="fields",
        load_default=None,
        validate=ma.validate.Length(min=1),
        metadata={
            "description": "Only these fields of each, separated by commas. All others are left "
            "out then, also those that the schema calls required: for programs that read the JSON "
            "themselves, as generated clients expect all."
        },
    )

    @ma.validates("shown")
    def check_shown(self, value: str | None, **kwargs: Any) -> None:
        """Refuse fields that the answer has not, and none at all."""
        if value is None:
            return
        known = self.answer._declared_fields
        names = _split(value)
        if not names:
            raise ma.ValidationError("Must name a field.")
        for name in names:
            if name not in known:
                raise ma.ValidationError(
                    f"{name!r} is no field of it.{suggest(name, known)} "
                    f"There are: {', '.join(known)}."
                )

    @ma.post_load
    def collect(self, loaded: dict[str, Any], **kwargs: Any) -> Listing:
        """Take together what is given."""
        sort, shown = loaded.pop("sort"), loaded.pop("shown")
        limit, cursor = loaded.pop("limit"), loaded.pop("cursor")
        conditions = {}
        for label in loaded.pop("label", None) or ():
            name, _, value = label.partition(":")
            conditions[f"label {label}"] = Condition(f"labels.{name}", Test.EQUALS, value)
        for name, value in loaded.items():
            if value is not None:
                declared = self.fields[name].metadata
                wanted = value.casefold() if declared["fold"] else value
                conditions[name] = Condition(declared["of"], declared["test"], wanted)
        return Listing(
            conditions,
            sort=self.fields["sort"].metadata["sorts"][sort],
            limit=limit,
            cursor=cursor,
            shown=None if shown is None else tuple(dict.fromkeys(_split(shown))),
        )


class LabelledQuery(ListQuery):
    """The same of what dashboards label."""

    externalId = filter_by(
        of="external_id",
        validate=ma.validate.Length(min=1, max=128),
        description="With this id of a dashboard's.",
    )
    label = ma.fields.List(
        ma.fields.String(
            validate=ma.validate.Regexp(
                re.compile(
                    rf"{labelling.NAME.pattern}:.{{0,{labelling.LONGEST}}}$", re.ASCII | re.DOTALL
                ),
                error="Must be a label's name and its value, like `plan:gold`.",
            )
        ),
        load_default=None,
        validate=ma.validate.Length(max=labelling.MOST, error="Must be at most {max} labels."),
        metadata={
            "description": "With this label, as `name:value`. Of several all must hold.",
        },
    )


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]
