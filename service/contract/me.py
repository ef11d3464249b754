"""Who is calling, on the wire."""

from typing import TypedDict

from service.contract import answers
from service.contract.answers import Answer
from service.contract.keys import KeyAnswer
from service.contract.users import UserAnswer
from service.model.documents import Key, User


class Me(TypedDict):
    """A key, what it may do, and to whom it is limited."""

    key: Key
    scopes: list[str]
    user: User | None
    acts_for: str | None
    version: str


class MeAnswer(Answer[Me]):
    """The key that is calling, and what it may do."""

    key = answers.nested(KeyAnswer, description="As `GET /api/keys/{key_id}` has it.")
    scopes = answers.texts(
        ["images:read", "instances:deploy", "instances:read", "instances:write"],
        description="What it may do, one by one: what its scopes give, and its limits leave, and "
        "the user for whom it acts may as well.",
    )
    user = answers.nested(
        UserAnswer,
        null=True,
        description="Whom it is limited to. null: nobody, or it may not read users.",
    )
    actsFor = answers.text(
        None,
        of="acts_for",
        null=True,
        description="The id of the user for whom it acts, by the header `Act-As`.",
    )
    version = answers.text("0.1.0", description="Skyquay's.")
