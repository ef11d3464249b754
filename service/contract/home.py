"""The service itself on the wire."""

import marshmallow as ma

from service.contract.base import Answer


class HomeAnswer(Answer):
    """What answers here."""

    name = ma.fields.String(required=True)
    version = ma.fields.String(required=True)
    links = ma.fields.Dict(keys=ma.fields.String(), values=ma.fields.String(), required=True)


class NameAnswer(Answer):
    """What this panel is called."""

    name = ma.fields.String(required=True)


class HealthAnswer(Answer):
    """How the service is."""

    status = ma.fields.String(required=True)
