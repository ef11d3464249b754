"""The document of a setting of the database's own."""

from datetime import datetime
from typing import TypedDict


class Setting(TypedDict):
    """What is kept once for a database."""

    _id: str  # what it is: "installation"
    value: str
    created_at: datetime
