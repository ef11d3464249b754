"""What is wrong in a request: checks that do not depend on one another make one error (pure)."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from service.errors import InvalidInput


class WellFormed(dict[str, Any]):
    """The fields of a request that are well formed, where others are malformed.

    Whatever reads one of the others gets an InvalidInput without details: it cannot be checked.
    """

    def __init__(self, fields: Mapping[str, Any], *, malformed: Collection[str]) -> None:
        super().__init__(fields)
        self._malformed = frozenset(malformed)

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in self._malformed

    def __missing__(self, name: str) -> Any:
        if name not in self._malformed:
            raise KeyError(name)
        raise InvalidInput("The field is malformed.")

    def get(self, name: str, default: Any = None) -> Any:
        """Read a field, or else the default."""
        return self[name] if name in self else default  # noqa: SIM401 - which is this method


class WrongFields:
    """What was found wrong so far."""

    def __init__(self) -> None:
        self._found: list[InvalidInput] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Note the InvalidInput that ends the block, and go on after it."""
        try:
            yield
        except InvalidInput as exc:
            self._found.append(exc)

    def raise_any(self) -> None:
        """Raise what was found, if anything, as one error."""
        if self._found:
            raise combine(self._found)


def combine(errors: Sequence[InvalidInput]) -> InvalidInput:
    """Make one error of several: the first, with the details of all."""
    first, *others = [error for error in errors if error.details] or errors[:1]
    if not others:
        return first
    first.others = [
        *first.others, *(each for error in others for each in (error, *error.others))
    ]  # fmt: skip
    details: dict[str, Any] = {}
    for error in (first, *others):
        _merge(details, error.details)
    first.details = details
    if type(first) is InvalidInput:
        first.message = f"The request is not valid: {', '.join(sorted(details))}."
    return first


def _merge(details: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add reasons: lists, or reasons by the names of what is inside of a field."""
    for name, reasons in more.items():
        known = details.get(name)
        if isinstance(known, dict) and isinstance(reasons, dict):
            _merge(known, reasons)
        elif isinstance(known, list) and isinstance(reasons, list):
            known.extend(reason for reason in reasons if reason not in known)
        elif known is None:
            details[name] = {**reasons} if isinstance(reasons, dict) else reasons
