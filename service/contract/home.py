"""The service itself on the wire."""

from typing import Any

import marshmallow as ma

from service.contract import answers
from service.contract.answers import Answer


class HomeAnswer(Answer[dict[str, Any]]):
    """What answers here."""

    name = answers.text("Skyquay")
    version = answers.text("0.1.0")
    links = answers.mapping(
        {"docs": "/docs/", "openapi": "/openapi.json", "health": "/healthz"},
        keys=ma.fields.String(),
        values=ma.fields.String(),
    )


class NameAnswer(Answer[str]):
    """What this panel is called."""

    name = answers.text("Skyquay", of=answers.itself)


class HealthAnswer(Answer[str]):
    """Health of the service."""

    status = answers.text("ok", of=answers.itself)
