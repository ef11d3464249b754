"""How long the commands of the database take."""

from collections.abc import Callable, Mapping
from typing import Any

from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
)

RecordCommand = Callable[[str, str, float], None]
"""Takes a command's name, how it ended (ok, failed), and its seconds."""


class CommandTimes(CommandListener):
    """Record how long each command took, and never what was in it."""

    def __init__(self, note: RecordCommand) -> None:
        self._note = note

    def started(self, event: CommandStartedEvent) -> None:
        """Wait for the end."""

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Note a command that succeeded."""
        # What waits for changes is not slow because there are none. Of a `find` nothing is looked
        # at: where its answer is left as BSON, that would make an object of each document.
        if event.command_name == "find" or not _waits(event.reply):
            self._note(event.command_name, "ok", event.duration_micros / 1e6)

    def failed(self, event: CommandFailedEvent) -> None:
        """Note a command that failed."""
        self._note(event.command_name, "failed", event.duration_micros / 1e6)


def _waits(reply: Mapping[str, Any]) -> bool:
    return "postBatchResumeToken" in reply.get("cursor", ())
