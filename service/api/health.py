"""Doors that tell how the service is. They need no key."""

from service.api.blueprint import Blueprint
from service.api.context import store
from service.api.schemas.service import HealthAnswer

blueprint = Blueprint("health", __name__, description="How the service is.")


@blueprint.get("/healthz")
@blueprint.opens()
@blueprint.answers(200, HealthAnswer, example={"status": "ok"}, description="It runs.")
def healthz() -> dict[str, str]:
    """Tell that the process runs."""
    return {"status": "ok"}


@blueprint.get("/readyz")
@blueprint.opens()
@blueprint.answers(
    200, HealthAnswer, 503, example={"status": "ready"}, description="It can do its work."
)
def readyz() -> dict[str, str]:
    """Tell whether the database answers."""
    store().ping()
    return {"status": "ready"}
