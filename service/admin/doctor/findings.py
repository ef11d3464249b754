"""What is found, and how bad it is."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what was found and, where something is wrong, what to do."""

    level: Level
    subject: str
    found: str
    remedy: str = ""


def end(sentence: str) -> str:
    """End a sentence of somebody else's with a full stop."""
    return sentence if sentence.endswith(".") else f"{sentence}."
