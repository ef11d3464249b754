"""What the OpenAPI document says of the header `Act-As`, at each operation that needs a key."""

from service.api.auth import ACT_AS
from service.contract.answers import Json

_PARAMETER = {
    "in": "header",
    "name": ACT_AS,
    "description": "A user's `userId`: do only what both your key and this user may, as the audit "
    "log then says. Needs the scope `users:act`; 400 with the code `user_not_found` for no such "
    "user.",
    "schema": {"type": "string"},
}


def describe(document: Json) -> None:
    """Add the header to the document."""
    document["components"].setdefault("parameters", {})["ActAs"] = _PARAMETER
    for path in document["paths"].values():
        for operation in path.values():
            if isinstance(operation, dict) and operation["security"]:
                parameters = operation.setdefault("parameters", [])
                parameters.append({"$ref": "#/components/parameters/ActAs"})
