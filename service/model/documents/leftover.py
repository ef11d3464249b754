"""The document of files that a removed instance left on its node."""

from datetime import datetime
from typing import TypedDict


class LeftBehind(TypedDict):
    """What of a removed instance's volume could not be deleted."""

    path: str  # where the volume is on the node's disk
    names: list[str]  # of what is left in it; not all where there is much
    reason: str


class Leftover(LeftBehind):
    """The same, until somebody deleted it on the node and it was looked for again in vain."""

    _id: str  # the instance's, which no other will ever bear
    node_id: str
    created_at: datetime
