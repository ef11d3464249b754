"""Transactions: all that a piece of work writes happens, with a majority, or nothing does."""

from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from typing import TypeVar

import pymongo
from pymongo.client_session import ClientSession
from pymongo.errors import PyMongoError, ServerSelectionTimeoutError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

TIMEOUT_S = 10.0
"""How long one is tried again. PyMongo itself would go on for two minutes."""

ABANDON_TIMEOUT_S = 1.0

Result = TypeVar("Result")


def run(session: ClientSession, work: Callable[[ClientSession], Result]) -> Result:
    """Call `work`, several times where others write the same documents, and commit what it did.

    It must do nothing but read and write documents with the session. Raises errors of PyMongo.
    """
    try:
        with pymongo.timeout(TIMEOUT_S):
            return session.with_transaction(
                work,
                read_concern=ReadConcern("snapshot"),
                write_concern=WriteConcern("majority"),
            )
    except ServerSelectionTimeoutError:
        raise  # there is nobody to let go of it
    except PyMongoError as exc:
        if exc.timeout:
            Context().run(_abandon, session)  # without what is left of any time limit: nothing
        raise


def _abandon(session: ClientSession) -> None:
    """Have the server let go of what the session's transaction holds.

    Once the time is over PyMongo sends nothing more, not even that it ends. All others who write
    the same documents would fail for as long as the server lets a transaction live: a minute.
    """
    with suppress(PyMongoError), pymongo.timeout(ABANDON_TIMEOUT_S):
        session.client.admin.command("killSessions", [session.session_id])
