"""Who is calling."""

from importlib.metadata import version

from service import keys
from service.api.blueprint import ALWAYS
from service.api.call import caller, current_call, own_key, store
from service.api.home import blueprint
from service.contract.me import Me, MeAnswer


@blueprint.get("/api/me")
@blueprint.needs(None)
@blueprint.answers(200, MeAnswer, *ALWAYS, description="The key, never with its value.")
def get_me() -> Me:
    """Return the key that is calling, for whom it acts, what it may do so, and the version."""
    access = keys.access_of(caller())
    user_id = access.user_id if access.may("users:read") else None
    return Me(
        key=own_key(),
        scopes=sorted(access.allowed),
        user=None if user_id is None else store().users.find(user_id),
        acts_for=current_call().acts_for,
        version=version("skyquay"),
    )
