"""How a command ends that speaks with the API: the exit codes, and errors in words."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

import click

from service.cli.text import printable
from service.model.error_lines import list_facts


class Exit(IntEnum):
    """The exit codes. 2 is also what click gives to wrong usage."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    UNAUTHORIZED = 3
    NOT_FOUND = 4
    UNREACHABLE = 5
    FAILED = 6
    INTERRUPTED = 130


MEANINGS = {
    Exit.DONE: "It is done, or its operation has begun with `--no-wait`.",
    Exit.REFUSED: "It was refused: not valid, taken, in conflict, or declined when asked. On the "
    "database of this machine, whatever the reason.",
    Exit.USAGE: "The command was called wrongly, or it destroys something and nobody confirmed it.",
    Exit.UNAUTHORIZED: "The API key is not valid, or may not do this.",
    Exit.NOT_FOUND: "There is no such thing.",
    Exit.UNREACHABLE: "The server cannot be reached, cannot be trusted, does not answer in time or "
    "is too busy: try again.",
    Exit.FAILED: "The operation that was waited for failed, or was cancelled.",
    Exit.INTERRUPTED: "Ctrl-C ended the waiting. The operation goes on.",
}
"""What each says, for the documentation."""


_BY_STATUS = {
    401: Exit.UNAUTHORIZED,
    403: Exit.UNAUTHORIZED,
    404: Exit.NOT_FOUND,
    429: Exit.UNREACHABLE,
    502: Exit.UNREACHABLE,
    503: Exit.UNREACHABLE,
    504: Exit.UNREACHABLE,
}


class Failure(click.ClickException):
    """The end of a command, with a sentence and an exit code."""

    def __init__(self, message: str, exit_code: Exit) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click reads that of the instance


class Unreachable(Failure):
    """No server answered, or not as Skyquay does."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Exit.UNREACHABLE)


class Rejected(Failure):
    """The API answered with an error.

    On the machine's own database every error ends with 1, as in versions without the API.
    """

    def __init__(
        self,
        status: int,
        problem: Mapping[str, Any],
        *,
        request_id: str | None = None,
        is_local: bool = False,
    ) -> None:
        self.status = status
        self.code = str(problem.get("code"))
        details = list_facts(self.code, problem.get("details", {}))
        is_plain = is_local and details and self.code == "invalid_input"
        said = ["That is not valid." if is_plain else str(problem["error"]), *details]
        lines = [printable(line) for line in said]
        if request_id is not None:
            lines.append(f"request id: {request_id}")
        exit_code = _BY_STATUS.get(status, Exit.REFUSED)
        if self.code.endswith("_not_found"):
            exit_code = Exit.NOT_FOUND
        super().__init__("\n  ".join(lines), Exit.REFUSED if is_local else exit_code)
