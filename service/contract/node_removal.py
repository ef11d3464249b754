"""Which node goes, on the wire, and what went with it."""

import marshmallow as ma

from service.contract import answers, fields
from service.contract.answers import Answer
from service.contract.base import SingleField


class NodeRef(SingleField[str]):
    """Which node is meant."""

    node_id = fields.text(
        data_key="nodeId", longest=64, description="The node's id.", sample=fields.NODE_ID
    )


class ForceQuery(SingleField[bool]):
    """Whether to go on in spite of what is lost."""

    force = ma.fields.Boolean(
        load_default=False, metadata={"description": "Forget the node's instances too."}
    )


def _explain_deletion(forgotten: int) -> str:
    also = f", with {forgotten} instances" if forgotten else ""
    return f"The node is deleted{also}."


class DeletedNodeAnswer(Answer[int]):
    """The node is gone, with so many instances."""

    message = answers.text("The node is deleted, with 3 instances.", of=_explain_deletion)
    instances = answers.integer(
        3, of=answers.itself, description="How many were forgotten with it."
    )
