"""For how long deleted instances are kept."""

from service.api.context import app_context
from service.errors import InvalidInput


def find_keep_s(asked_s: float | None, *, force: bool) -> float:
    """Find for how many seconds an instance is kept; None: as the installation has it.

    Raises InvalidInput for one that is to be kept and forgotten at once.
    """
    if force and asked_s:
        raise InvalidInput(
            "What is forgotten cannot be kept.", keep=["Must be 0 or absent with `force`."]
        )
    if force or asked_s is not None:
        return asked_s or 0.0
    return app_context().config.keep_deleted_hours * 3600
