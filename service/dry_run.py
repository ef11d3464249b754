"""Trying what a use case would do, with all that its transaction checks, and leaving nothing."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from service.store import Store
from service.store.collection import Session

Result = TypeVar("Result")


class _Tried(Exception):
    """Aborts a transaction that would have been committed."""

    def __init__(self, result: object) -> None:
        super().__init__()
        self.result = result


def try_out(store: Store, work: Callable[[Store], Result]) -> Result:
    """Do `work`, which returns what its one transaction does, on a store that commits none.

    Raises what `work` raises. What it returns was never stored: ids are of nothing, and ports and
    places are held for nobody.
    """

    def abort(result: Any, _: Session) -> None:
        raise _Tried(result)

    try:
        return work(store.with_each_transaction(abort))
    except _Tried as tried:
        return cast("Result", tried.result)
