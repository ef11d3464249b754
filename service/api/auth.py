"""Who is calling."""

from flask import g, request

from service import keys
from service.api.context import now, store

OPEN_ENDPOINTS = frozenset(
    {
        "home.home",
        "health.healthz",
        "health.readyz",
        "enrolment.configure",
        "api-docs.openapi_json",
        "swagger_ui.show",
    }
)
"""What answers without a key. Everything else, unknown paths included, needs one."""


def authenticate() -> None:
    """Find out whose key the request bears. Raises Unauthorized where one is needed."""
    if request.endpoint in OPEN_ENDPOINTS or request.method == "OPTIONS":
        return
    g.key = keys.authenticate(store(), request.headers.get("x-api-key", ""), now=now())
