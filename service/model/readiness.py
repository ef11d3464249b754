"""When an instance's program serves: what its image says, and what is known of it (pure)."""

from service.model.documents import Image, Instance, ReadyCheck
from service.model.driver_traits import traits_of
from service.model.lifecycle import Phase, Power

DEFAULT_TIMEOUT_S = 300
MAX_TIMEOUT_S = 3600
MAX_TEXT = 512
"""Characters of a text to look for, of a pattern, and of a path."""


def phase_of(instance: Instance) -> Phase | None:
    """Return how far the program is; None: it does not run, or was not seen to.

    What was seen before phases were kept is ready while it runs.
    """
    if "phase" in instance:
        return instance["phase"]
    return Phase.READY if instance["power"] == Power.RUNNING else None


def check_on(image: Image, driver: str) -> ReadyCheck | None:
    """Return what is to be seen of an instance of the image on nodes of this driver."""
    check = image.get("ready")
    if check is None or check["kind"] in traits_of(driver).ready_checks:
        return check
    return {**check, "unseen": True}


def list_warnings(instance: Instance) -> list[str]:
    """Say in a sentence where nobody looks whether the program is ready as its image says."""
    check = instance.get("ready")
    if check is None or not check.get("unseen"):
        return []
    return [
        "Its node cannot look for what its program prints when it is ready: it counts as ready as "
        "soon as it runs."
    ]
