"""Transfers of instances to other nodes on the wire."""

from service.contract import answers, fields
from service.contract.answers import Answer
from service.contract.base import SingleField, StrictRequest
from service.model.documents import Transfer


class TransferInstance(StrictRequest[str], SingleField[str]):
    """Where an instance is to be."""

    node_id = fields.text(
        data_key="nodeId",
        longest=64,
        description="The node to transfer it to, by its id or name; `auto` for the best that takes "
        "it.",
        sample=fields.NODE,
    )


class TransferAnswer(Answer[Transfer]):
    """From where an instance is transferred to where, and how far its files are."""

    sourceId = answers.text(fields.NODE_ID, of="source_id")
    targetId = answers.text("8d4c2b1a09f7e6d5", of="target_id")
    bytesCopied = answers.integer(73_400_320, of="bytes_copied")
    bytesTotal = answers.integer(
        104_857_600,
        of="bytes_total",
        null=True,
        description="About how many there are: what the volume takes on the disk of its node. "
        "null: not known.",
    )
