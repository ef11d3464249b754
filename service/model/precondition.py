"""In which states of a document somebody wants it changed, who looked at it before."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.errors import PreconditionFailed


@dataclass(frozen=True, slots=True)
class Precondition:
    """States of one document, one of which it must be in when it is changed."""

    states: frozenset[str] | None = None
    """As `name_state` names them; None: it may be in any."""

    def check(self, document: Mapping[str, Any]) -> None:
        """Raise PreconditionFailed when the document is in another state.

        To be called in the transaction that changes the document, with what was read in that: then
        a change by others in between makes MongoDB run the transaction, and this, once more.
        """
        if self.states is not None and name_state(document) not in self.states:
            raise PreconditionFailed(
                "It was changed since you read it. Read it again, and decide anew.",
                ifMatch=["Is not the ETag that it has now."],
            )


ANY_STATE = Precondition()


def name_state(document: Mapping[str, Any]) -> str:
    """Name the state that a document is in. It has another after each change.

    So has a document that was made anew with the id of one that was removed. What was only observed
    of it, such as a probe, is no change: nobody who edits it would overwrite that.
    """
    created_ms = round(document["created_at"].timestamp() * 1000)
    changes = document.get("revision", 0) - document.get("observations", 0)
    return f"{created_ms:x}-{changes:x}"
