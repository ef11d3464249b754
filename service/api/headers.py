"""What every answer says to browsers and caches, and which web pages may call."""

from flask import Flask, Response
from flask_cors import CORS

from service.api.call import Call
from service.config import Config

_NOTHING = "default-src 'none'; frame-ancestors 'none'"
_DOCS = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""Swagger UI styles its elements one by one."""
_CONSOLE = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""It makes no element of text, so nothing that an API answers can become a script."""
_PAGES = {"swagger_ui.show": _DOCS, "console.show": _CONSOLE}


def allow_origins(app: Flask, config: Config) -> None:
    """Let the web pages of the settings' origins call, and no others."""
    origins = config.cors_origins.split()
    if origins:
        CORS(
            app,
            origins=origins,
            allow_headers=["Act-As", "Content-Type", "Idempotency-Key", "If-Match",
                           "If-None-Match", "Last-Event-ID", "x-api-key", "X-Request-Id"],
            expose_headers=["ETag", "Idempotency-Replayed", "Link", "Location", "X-Request-Id",
                            "X-Total-Count", "Retry-After", "RateLimit-Limit",
                            "RateLimit-Remaining", "RateLimit-Reset"],
            max_age=600,
            send_wildcard=origins == ["*"],
        )  # fmt: skip


def protect(call: Call, answer: Response) -> Response:
    """Forbid browsers to guess and to frame an answer, and to keep one that has no ETag."""
    # Nothing else sets them, and adding them asks for less than setting.
    answer.headers.add("X-Content-Type-Options", "nosniff")
    answer.headers.add("Referrer-Policy", "no-referrer")
    if call.reads_accept:
        answer.vary.add("Accept")
    page = _PAGES.get(call.request.endpoint or "")
    if page is not None and call.request.method != "OPTIONS":
        answer.headers["Content-Security-Policy"] = page
    else:
        answer.headers.add("Content-Security-Policy", _NOTHING)
        if "ETag" in answer.headers:
            # Its client may keep it, to ask with the key whether it is still so.
            answer.headers["Cache-Control"] = "private, no-cache"
            answer.vary.update(("x-api-key", "Authorization", "Act-As", "Accept-Encoding"))
        else:
            answer.headers["Cache-Control"] = "no-store"
    return answer
