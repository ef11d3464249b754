"""What names a resource in a path."""

from werkzeug.routing import BaseConverter

RESERVED = ("create", "delete", "deploy", "import", "suspend", "unsuspend")
"""Last words of paths, the reference's and ours, and of what clients call that never was one: these
keep their 404 and 405."""


class IdConverter(BaseConverter):
    """An id, or a name, in a path. What is called like a path has its id."""

    regex = rf"(?!(?:{'|'.join(RESERVED)})$)[^/]+"
    part_isolating = True
