"""The page that the `type` of an error leads to: what each code means, and what to do."""

from html import escape

from flask import Blueprint, Response

from service.contract.error_catalogue import CATALOGUE, Entry, strip_markdown

blueprint = Blueprint("errors", __name__)


@blueprint.get("/docs/errors")
def show() -> Response:
    """Return the catalogue of errors. Not JSON, so not in the OpenAPI document."""
    return Response(_PAGE, content_type="text/html; charset=utf-8")


def _describe(entry: Entry) -> str:
    title, remedy = (escape(strip_markdown(words)) for words in (entry.title, entry.remedy))
    head = f'<h2 id="{entry.code}">{entry.code} ({entry.status})</h2>'
    return f"{head}\n<p>{title}</p>\n<p>{remedy}</p>"


_PAGE = "\n".join(
    [
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>Errors</title>',
        "<h1>Errors</h1>",
        *map(_describe, CATALOGUE),
        "</html>\n",
    ]
)
