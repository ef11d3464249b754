"""The Flask of this API."""

from collections.abc import Callable
from typing import Any

from flask import Flask


class Application(Flask):
    """A Flask whose views and steps are plain functions, as all of them are."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function itself. Flask looks at each for whether it is a coroutine."""
        return func
