"""What users have and use."""

from service import keys, quotas
from service.api.blueprint import ALWAYS
from service.api.call import caller, store
from service.api.home import blueprint as home
from service.api.users import blueprint
from service.contract.usage import UserUsageAnswer
from service.errors import NotFound
from service.model.quotas import UserUsage


@blueprint.get("/users/<user_id>/usage")
@blueprint.needs("users:read")
@blueprint.answers(200, UserUsageAnswer, *ALWAYS, 404, description="What the user has.")
def get_user_usage(user_id: str) -> UserUsage:
    """Return what a user's instances are promised, what the quota allows, and what they use.

    `promised` is counted in the transactions that promise it; `measured` is what was sampled last.
    """
    return quotas.find_usage(store(), user_id)


@home.get("/api/me/usage")
@home.needs("users:read")
@home.answers(200, UserUsageAnswer, 400, *ALWAYS, description="What the key's user has.")
def get_own_usage() -> UserUsage:
    """Return the same of the user to whom the key is limited, or for whom it acts.

    400 with the code `user_not_found` for a key that is limited to no user.
    """
    user_id = keys.access_of(caller()).user_id
    if user_id is None:
        raise NotFound("user", "me", field="user")
    return quotas.find_usage(store(), user_id)
