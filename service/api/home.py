"""The root endpoint, for dashboards that check whether their panel answers, and for browsers."""

from importlib.metadata import version

from flask import Response, after_this_request, redirect, request
from werkzeug import Response as Redirect

from service.api.blueprint import ALWAYS, Blueprint
from service.api.context import app_context
from service.contract.home import HomeAnswer, NameAnswer

blueprint = Blueprint("home", __name__, description="The service itself.")


@blueprint.get("/")
@blueprint.opens()
@blueprint.alt_response(302, description="A browser is sent to the console.")
@blueprint.answers(200, HomeAnswer, 429, description="What answers here.")
def get_home() -> dict[str, object] | Redirect:
    """Return what answers here. A browser is sent to the console instead."""
    after_this_request(_vary)
    if request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html":
        return redirect("/console/")
    return {
        "name": app_context().config.name,
        "version": version("skyquay"),
        "links": {"docs": "/docs/", "openapi": "/openapi.json", "health": "/healthz"},
    }


@blueprint.get("/api/name")
@blueprint.needs(None)
@blueprint.answers(200, NameAnswer, *ALWAYS, description="The name.")
def get_name() -> str:
    """Return the panel's name, a setting."""
    return app_context().config.name


def _vary(answer: Response) -> Response:
    """Have caches keep the two answers apart."""
    answer.vary.add("Accept")
    return answer
