"""Regular expressions that others write, in images.

They are matched by RE2, in time that grows with the text only: Python's own `re` may take years for
some of them. https://github.com/google/re2/wiki/Syntax
"""

from functools import lru_cache
from typing import Any

_PATTERN_MEMORY = 2**20
"""How many bytes RE2 may use for a pattern; one that needs more is refused."""


@lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> Any:
    """Compile a pattern. Raises ValueError for one that RE2 cannot match in linear time."""
    import re2

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _PATTERN_MEMORY
    try:
        return re2.compile(pattern, options)
    except re2.error as exc:
        reason = exc.args[0]
        raise ValueError(reason.decode() if isinstance(reason, bytes) else str(reason)) from exc
