"""What all schemas of marshmallow's have in common."""

from typing import Self

import marshmallow as ma


class Schema(ma.Schema):
    """A schema that nobody changes once it is made."""

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        """Return itself. flask-smorest copies and keeps what documents each endpoint."""
        return self
