"""Free host ports of nodes on the wire."""

import marshmallow as ma

from service.contract import answers, fields
from service.contract.answers import Answer
from service.contract.base import Request
from service.model.orders import PortsWish

MOST_LISTED = 100


class FreePortsQuery(Request[PortsWish]):
    """How many free host ports are looked for."""

    count = fields.count(
        longest=MOST_LISTED,
        load_default=1,
        metadata={"description": f"How many, {MOST_LISTED} at the most."},
    )
    consecutive = ma.fields.Boolean(
        load_default=False, metadata={"description": "Whether they must follow each other."}
    )


class FreePortsAnswer(Answer[list[int]]):
    """Host ports that no instance of the node holds now. They are held for nobody."""

    ports = answers.integers([20000], of=answers.itself)
