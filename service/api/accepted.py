"""Answers while an operation runs: 202, and where it is looked at."""

from dataclasses import dataclass
from typing import Any

from flask import Response

from service.api.encoding import json_answer
from service.contract.answers import Answer, compile_shape


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a view returns whose operation has not ended, with what its answer is shaped from."""

    operation_id: str
    source: Any

    def answer(self, schema: type[Answer[Any]]) -> Response:
        """Make the answer."""
        answered = json_answer(compile_shape(schema)(self.source), 202)
        answered.headers["Location"] = f"/api/operations/{self.operation_id}"
        return answered
