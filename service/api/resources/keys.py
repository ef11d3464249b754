"""API keys by address."""

from service import key_edits, keys
from service.api.audit_trail import record_change
from service.api.blueprint import ALWAYS, WITH_BODY
from service.api.call import caller, store
from service.api.context import now
from service.api.etags import read_precondition
from service.api.keys import blueprint, check_expiry
from service.api.waiting import changing_keys
from service.contract.keys import EditKey, KeyAnswer
from service.model.documents import Key
from service.model.orders import KeyChanges


@blueprint.get("/<key_id>")
@blueprint.needs("keys:read")
@blueprint.answers(
    200, KeyAnswer, *ALWAYS, 404, etag=True, description="The key, without its value."
)
def get_key(key_id: str) -> Key:
    """Get one API key. 404 for one that may do more than yours, as if there were none."""
    return keys.get_covered(store(), caller(), key_id)


@blueprint.patch("/<key_id>")
@blueprint.needs("keys:write", changes="key")
@blueprint.arguments(EditKey, check=check_expiry, required=False)
@blueprint.answers(
    200, KeyAnswer, *WITH_BODY, *ALWAYS, 404, 412, description="The key, as it is now."
)
def edit_key(changes: KeyChanges, key_id: str) -> Key:
    """Change an API key's name, or when it expires. Its rights stay: make another for other ones.

    403 for a time after your own key expires. All processes know of it when this is answered.
    """
    with changing_keys():
        key = key_edits.edit(
            store(), caller(), key_id, changes, only_if=read_precondition(), now=now()
        )
    record_change(key)
    return key
