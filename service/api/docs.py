"""The page of the API: Swagger UI, which `flask-swagger-ui` ships, in a page of ours."""

from pathlib import Path

import flask_swagger_ui
from flask import Blueprint, Response, send_from_directory

_OURS = Path(__file__).parent / "docs_page"
_SWAGGER_UI = Path(flask_swagger_ui.__file__).parent / "dist"
_FILES = frozenset(path.name for path in _OURS.iterdir())

blueprint = Blueprint("swagger_ui", __name__, url_prefix="/docs")


@blueprint.get("/")
@blueprint.get("/<path:path>")
def show(path: str = "index.html") -> Response:
    """Answer a file of the page. Raises werkzeug's NotFound."""
    return send_from_directory(_OURS if path in _FILES else _SWAGGER_UI, path)
