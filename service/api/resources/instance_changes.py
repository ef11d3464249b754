"""Changes of an instance that exists."""

from functools import partial

from service import instance_changes, operations
from service.api.accepted import Accepted
from service.api.audit_trail import record_change
from service.api.blueprint import ALWAYS, WITH_BODY
from service.api.call import current_call, is_owner, origin, store
from service.api.context import app_context
from service.api.etags import read_precondition
from service.api.instances import blueprint, record_latest, show_plan
from service.api.resources.instances import add_node
from service.api.waiting import wait_for
from service.contract.base import ReadyQuery
from service.contract.dry_run import DryRunQuery
from service.contract.fields import OPERATION_ID
from service.contract.instance_changes import InstanceEdit, Reinstall
from service.contract.instances import InstanceAnswer, InstanceOnNode
from service.dry_run import try_out
from service.model.documents import Instance, Operation
from service.model.lifecycle import ENDED
from service.model.orders import Edit, ReadyWish, Reinstallation
from service.model.replacements import foresee
from service.replacements import expect


def _check(edit: Edit, instance_id: str) -> None:
    instance_changes.check(
        store(),
        instance_id,
        edit,
        allow_any_image=app_context().config.allow_any_image,
        may_edit_all=not is_owner(),
    )


@blueprint.patch("/instances/<instance_id>")
@blueprint.needs("instances:deploy", changes="instance", can_be_dry=True)
@blueprint.arguments(InstanceEdit, check=_check, required=False)
@blueprint.arguments(DryRunQuery, location="query")
@blueprint.answers(
    200,
    InstanceAnswer,
    *WITH_BODY,
    *ALWAYS,
    404,
    409,
    412,
    accepted=InstanceAnswer,
    example={"Name": "my second", "Memory": 256, "operationId": OPERATION_ID},
    description="The instance, changed.",
)
def edit_instance(edit: Edit, wish: ReadyWish, instance_id: str) -> InstanceOnNode | Accepted:
    """Change an instance (RFC 7396: what is left out stays as it is).

    A name, an owner, labels and the external id are changed at once. All else needs a new
    container, which an operation makes: the files stay, and a suspended or stopped instance stays
    so. Where the new container does not start, the one before is made again, and the operation is
    `failed`. 409 when a host port or the `externalId` is taken, when the node has not enough
    capacity left, and while it is being installed. With `dryRun` it is answered as it would be.
    """
    change = partial(
        instance_changes.edit,
        reference=instance_id,
        order=edit,
        allow_any_image=app_context().config.allow_any_image,
        may_edit_all=not is_owner(),
        only_if=read_precondition(),
        origin=origin(),
    )
    if current_call().is_dry:
        return show_plan(foresee(*try_out(store(), change)))
    return answer_change(*change(store()), wish)


@blueprint.post("/instances/<instance_id>/reinstall")
@blueprint.needs("instances:write", changes="instance")
@blueprint.arguments(Reinstall, required=False)
@blueprint.arguments(ReadyQuery, location="query")
@blueprint.answers(
    200,
    InstanceAnswer,
    *WITH_BODY,
    *ALWAYS,
    404,
    409,
    412,
    accepted=InstanceAnswer,
    example={"operationId": OPERATION_ID},
    description="The instance, reinstalled.",
)
def reinstall_instance(
    order: Reinstallation, wish: ReadyWish, instance_id: str
) -> InstanceOnNode | Accepted:
    """Install an instance's image as at its deploy, in a new container.

    The files stay unless `keepVolume` is false: then they are all deleted before, for good.
    """
    return answer_change(
        *instance_changes.reinstall(
            store(),
            instance_id,
            keep_volume=order["keep_volume"],
            only_if=read_precondition(),
            origin=origin(),
        ),
        wish,
    )


def answer_change(
    instance: Instance, operation: Operation | None, wish: ReadyWish
) -> InstanceOnNode | Accepted:
    """Answer the instance when all is done, else with 202. What failed is an error."""
    record_change(expect(store(), instance))  # what is wanted, until it is known what became of it
    if operation is None:
        return add_node(instance, None)
    ended = wait_for(operation, wish["wait"] or 0)
    if ended["status"] not in ENDED:
        return Accepted(operation["_id"], add_node(instance, operation["_id"]))
    latest = record_latest(instance, wish)
    operations.require_success(ended)
    return add_node(latest, operation["_id"])
