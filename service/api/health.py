"""Health endpoints. They need no key."""

from service.api.blueprint import Blueprint
from service.api.context import BRIEFLY_S, app_context
from service.contract.home import HealthAnswer
from service.errors import StoreFailure, Unready

blueprint = Blueprint("health", __name__, description="Health of the service.")


@blueprint.get("/healthz")
@blueprint.opens(for_monitoring=True)
@blueprint.answers(200, HealthAnswer, description="It runs.")
def check_health() -> str:
    """Return that the process runs."""
    return "ok"


@blueprint.get("/readyz")
@blueprint.opens(for_monitoring=True)
@blueprint.answers(200, HealthAnswer, 503, example={"status": "ready"}, description="Ready.")
def check_readiness() -> str:
    """Return whether it can do its work: a primary of the database answers, its indexes are there.

    No validator of another version is in the way, and there is a secret key, without which no node
    can be worked on. 503 when not.
    """
    ctx = app_context()
    reasons: dict[str, list[str]] = {}
    with ctx.store.bounded(BRIEFLY_S):
        ctx.store.ping()
    try:
        ctx.prepare()
    except StoreFailure as exc:
        reasons["database"] = [exc.message]
    if missing := ctx.store.list_missing_indexes():
        reasons["indexes"] = [f"{name} is missing." for name in missing]
    if stale := ctx.store.list_stale_validators():
        reasons["validators"] = [
            f"That of {name} is another version's, and replacing it takes the role dbAdmin."
            for name in stale
        ]
    if not ctx.config.secret_key:
        reasons["secretKey"] = ["SKYQUAY_SECRET_KEY is not set."]
    if reasons:
        raise Unready("Skyquay cannot do its work yet.", **reasons)
    return "ready"
