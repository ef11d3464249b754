"""Operations as they happen: each step is printed when it ends."""

import sys
import time
from typing import Any

import click

from service.cli.connection import Answer, Connection
from service.cli.failures import Exit, Failure, Unreachable
from service.cli.text import printable
from service.model.lifecycle import ENDED, OperationStatus, Phase

LOOK_EVERY_S = 1.0
READY_WAIT_S = 30.0
"""How long the server waits for a program before it is asked again."""

_CLEAR_LINE = "\r\x1b[K"

no_wait_option = click.option(
    "--no-wait", is_flag=True, help="End at once; `operations watch` shows the steps."
)

wait_ready_option = click.option(
    "--wait-ready", is_flag=True, help="Wait until its program is ready, as its image says."
)


class Progress:
    """What is printed of one operation, on standard error: on a terminal also what goes on."""

    def __init__(self) -> None:
        self._ended = 0
        self._waits_for: str | None = None
        self._is_terminal = sys.stderr.isatty()

    def show(self, operation: dict[str, Any]) -> None:
        """Print what is new."""
        for step in operation["steps"][self._ended :]:
            if step["endedAt"] is None:
                self._say(f"  {step['name']}... {step['progress'] or ''}", passes=True)
                break
            self._ended += 1
            how = f"failed: {step['error']}" if step["error"] else "done"
            self._say(f"  {step['name']} {how}")
        waits_for = operation["error"] if operation["status"] == OperationStatus.PENDING else None
        if waits_for != self._waits_for:
            self._waits_for = waits_for
            if waits_for is not None:
                self._say(f"  waits: {waits_for}")

    def _say(self, sentence: str, *, passes: bool = False) -> None:
        """Print a line; one that `passes` is on a terminal only, until the next."""
        if self._is_terminal:
            click.echo(f"{_CLEAR_LINE}{printable(sentence)}", nl=not passes, err=True)
        elif not passes:
            click.echo(printable(sentence), err=True)


def follow(api: Connection, operation_id: str) -> Answer:
    """Print the steps of an operation until it has ended, and return it as it is then.

    Raises Failure when it did not succeed. Whoever ends the command before ends no operation.
    """
    progress = Progress()
    hint = f"The operation goes on. To watch it: skyquay operations watch {operation_id}"
    try:
        answer = _follow(api, operation_id, progress)
    except KeyboardInterrupt as exc:
        click.echo(f"\n{hint}", err=True)
        raise click.exceptions.Exit(Exit.INTERRUPTED) from exc
    except Unreachable as exc:
        raise Unreachable(f"{exc.message}\n{hint}") from exc
    operation = answer.json
    if operation["status"] != OperationStatus.SUCCEEDED:
        raise Failure(
            f"The operation {operation_id} ended {operation['status']}: "
            f"{printable(operation['error'] or 'no reason is given')}",
            Exit.FAILED,
        )
    return answer


def await_ready(api: Connection, instance_id: str) -> Answer:
    """Wait until the program of an instance is ready, and return the instance as it is then.

    Raises Failure when it is known that it will not be. Its image says how long that may take.
    """
    while True:
        began_at = time.monotonic()
        query = {"untilPhase": Phase.READY.value}
        answer = api.call("getInstance", instance_id=instance_id, query=query, wait_s=READY_WAIT_S)
        if answer.json["phase"] == Phase.READY:
            return answer
        reason = answer.json["notReadyReason"]
        if reason is not None or answer.json["phase"] is None:
            raise Failure(f"The program is not ready: {reason or 'it does not run'}.", Exit.FAILED)
        time.sleep(max(0.0, LOOK_EVERY_S - (time.monotonic() - began_at)))


def _follow(api: Connection, operation_id: str, progress: Progress) -> Answer:
    while True:
        began_at = time.monotonic()
        answer = api.call("getOperation", operation_id=operation_id, wait_s=LOOK_EVERY_S)
        progress.show(answer.json)
        if answer.json["status"] in ENDED:
            return answer
        # A server where too many wait answers at once.
        time.sleep(max(0.0, LOOK_EVERY_S - (time.monotonic() - began_at)))
