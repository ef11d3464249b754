"""Transfers of instances to other nodes."""

from service import transfer_targets
from service.api.audit_trail import add_facts, record_change
from service.api.blueprint import ALWAYS, WITH_BODY
from service.api.call import origin, store
from service.api.etags import read_precondition
from service.api.instances import blueprint
from service.contract.fields import make_example
from service.contract.operations import OperationAnswer
from service.contract.transfers import TransferAnswer, TransferInstance
from service.errors import InstanceNotReady, NodeOffline, NoNodeFits, NotCleared, NotSupported
from service.model.documents import Operation


@blueprint.post("/instances/<instance_id>/transfer")
@blueprint.needs("nodes:write", changes="instance")
@blueprint.arguments(TransferInstance)
@blueprint.answers(
    202,
    OperationAnswer,
    *WITH_BODY,
    *ALWAYS,
    404,
    409,
    412,
    InstanceNotReady,
    NoNodeFits,
    NotCleared,
    NotSupported,
    NodeOffline,
    location="/api/operations/{_id}",
    example={"kind": "transfer", "transfer": make_example(TransferAnswer)},
    description="The operation that transfers it.",
)
def transfer_instance(node_id: str, instance_id: str) -> Operation:
    """Transfer an instance to another node, with its files; `auto` is the best that takes it.

    It is stopped, its files are copied and compared, and it is started there as it ran; only then
    it goes from its node. Host ports are kept where they are free, and else found: the instance has
    them at the end. What fails before is undone: it runs where it was, and the operation is
    `failed`. Watch it with `GET /api/operations/{operation_id}?wait=`. 409 while it is not READY
    or another change is open, and for a node without room or in maintenance; with `auto`
    `no_node_fits` where no other node takes it. 400 `not_supported` where files cannot be copied
    between the two nodes.
    """
    instance, operation = transfer_targets.begin(
        store(), instance_id, node_id=node_id, only_if=read_precondition(), origin=origin()
    )
    record_change(instance)
    add_facts(transfer={"from": instance["node_id"], "to": operation["transfer"]["target_id"]})
    return operation
