"""The front door, for dashboards that look whether their panel answers, and for browsers."""

from importlib.metadata import version

from flask import redirect, request
from werkzeug.wrappers import Response

from service.api import examples
from service.api.blueprint import ALWAYS, Blueprint
from service.api.context import current
from service.api.schemas import HomeAnswer, NameAnswer

blueprint = Blueprint("home", __name__, description="The service itself.")


@blueprint.get("/")
@blueprint.doc(security=[])
@blueprint.answers(200, HomeAnswer, example=examples.HOME, description="What answers here.")
def home() -> dict[str, object] | Response:
    """Tell what answers here. A browser is sent to the documentation instead."""
    if request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html":
        return redirect("/docs/")
    return {
        "name": current().config.name,
        "version": version("skyquay"),
        "links": {"docs": "/docs/", "openapi": "/openapi.json", "health": "/healthz"},
    }


@blueprint.get("/api/name")
@blueprint.answers(200, NameAnswer, *ALWAYS, example={"name": "Skyquay"}, description="The name.")
def name() -> dict[str, str]:
    """Tell what this panel is called, a setting."""
    return {"name": current().config.name}
