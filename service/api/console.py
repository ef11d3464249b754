"""The console: a page of files that a browser runs, and that uses nothing but the public API."""

from pathlib import Path

from flask import Blueprint, Response, send_from_directory

_FILES = Path(__file__).parent / "console_page"

blueprint = Blueprint("console", __name__, url_prefix="/console")


@blueprint.get("/")
@blueprint.get("/<path:path>")
def show(path: str = "index.html") -> Response:
    """Answer a file of the page. Raises werkzeug's NotFound."""
    return send_from_directory(_FILES, path)
