"""Images on the wire."""

from service.contract import answers, fields
from service.contract.answers import Answer, Json
from service.contract.image_ports import DESCRIPTION as PORTS
from service.contract.image_ports import DeclaredPortAnswer
from service.contract.readiness import DESCRIPTION, SCHEMA, print_check
from service.model.documents import Image, Variable

CONTAINER_IMAGE = "python:3.13-alpine"


_VARIABLES = (
    "By name: `{type, default, required}`, and for some `schema` (a JSON Schema of the values), "
    "`description`, `editableBy` (`admin` or `owner`) and `secret`."
)


def _print_variables(image: Image) -> Json:
    return {name: _leave_out_secret(variable) for name, variable in image["variables"].items()}


def _print_variable(variable: Variable) -> Json:
    return {"editableBy" if name == "editable_by" else name: variable[name] for name in variable}  # type: ignore[literal-required]


def _leave_out_secret(variable: Variable) -> Json:
    known = _print_variable(variable)
    if variable.get("secret"):
        del known["default"]
    return known


def _list_variables(image: Image) -> Json:
    return {name: _hide_secret(variable) for name, variable in image["variables"].items()}


def _hide_secret(variable: Variable) -> Json:
    known = _print_variable(variable)
    return {**known, "default": None} if variable.get("secret") else known


class ImageFileAnswer(Answer[Image]):
    """An image document, as it can be imported."""

    Name = answers.text(fields.IMAGE, of="name")
    Image = answers.text(CONTAINER_IMAGE, of="image", description="The container image.")
    AltImages = answers.texts([CONTAINER_IMAGE], of="alt_images")
    Env = answers.texts([], of="env")
    Cmd = answers.anything(
        'exec python3 -m http.server "$PRIMARY_PORT"',
        of="cmd",
        metadata={"type": ["array", "string", "null"], "items": {"type": "string"}},
        description="A list is executed as it is, a string through `sh -c`.",
    )
    Scripts = answers.mapping({"Install": []}, of="scripts")
    Variables = answers.mapping(
        {},
        of=_print_variables,
        description=_VARIABLES,
    )
    StopCommand = answers.text(None, of="stop_command", null=True)
    Description = answers.text("Serves the instance's own folder over HTTP.", of="description")
    Author = answers.text("", of="author")
    AuthorName = answers.text("Skyquay", of="author_name")
    meta = answers.mapping({}, of="meta", data_key="Meta")
    features = answers.texts([])
    ready = answers.anything(
        {"http": "/", "timeout": 300},
        of=lambda image: print_check(image.get("ready")),
        null=True,
        description=DESCRIPTION,
        metadata=SCHEMA,
    )
    ports = answers.many(
        DeclaredPortAnswer,
        of=lambda image: image.get("ports", ()),
        description=PORTS,
    )
    process = answers.flag(True, description="Whether it runs on nodes of that driver.")


class ImageAnswer(ImageFileAnswer):
    """An image of the catalogue."""

    Id = answers.text("0c7d1e2f3a4b5c6d", of="_id")
    Variables = answers.mapping({}, of=_list_variables, description=_VARIABLES)
