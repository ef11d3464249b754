"""The life of an instance, with the client that openapi-python-client makes. Takes URL and key."""

import sys
from typing import TypeVar

from httpx import Timeout
from skyquay_client import AuthenticatedClient
from skyquay_client.api.instances import (
    delete_instance,
    deploy_instance,
    list_user_instances,
    look_up_instance,
    suspend_instance,
    unsuspend_instance,
)
from skyquay_client.api.nodes import list_nodes
from skyquay_client.api.users import create_user, look_up_user
from skyquay_client.models import (
    CreateUser,
    Delete,
    Deploy,
    DeployVariablesType0,
    ErrorAnswer,
    ErrorCode,
    InstanceAnswer,
    InstanceRef,
    InstanceState,
    LookUpUser,
    LookUpUserType,
    Power,
    UserRef,
)

Answer = TypeVar("Answer")


def good(answer: Answer | ErrorAnswer | None) -> Answer:
    """Take an answer that is no error."""
    if answer is None or isinstance(answer, ErrorAnswer):
        raise SystemExit(f"This is no success: {answer}")
    return answer


def check(instance: InstanceAnswer, *, suspended: bool, power: Power) -> None:
    """Stop unless the instance is so."""
    found = (instance.internal_state, instance.suspended, instance.power)
    if found != (InstanceState.READY, suspended, power):
        raise SystemExit(f"The instance is {found}.")


def main(url: str, key: str, port: int) -> None:
    """Live through everything once."""
    client = AuthenticatedClient(
        base_url=url, token=key, prefix="", auth_header_name="x-api-key", timeout=Timeout(70)
    )
    sent = CreateUser(username="py", email="py@example.org", password="correct horse")
    user = good(create_user.sync(client=client, body=sent))
    wanted = LookUpUser(type_=LookUpUserType.EMAIL, value=user.email)
    if good(look_up_user.sync(client=client, body=wanted)).user_id != user.user_id:
        raise SystemExit("The user is another.")

    order = Deploy(
        image="Static web server",
        memory=64,
        cpu="0.1",
        ports=f"{port}:{port}",
        primary=port,
        node_id=good(list_nodes.sync(client=client))[0].id,
        name="from Python",
        user=user.user_id,
        variables=DeployVariablesType0(),
    )
    plan = good(deploy_instance.sync(client=client, body=order, dry_run=True)).plan
    if not plan or plan.node.id != order.node_id:
        raise SystemExit(f"It would be elsewhere: {plan}")
    deployed = good(deploy_instance.sync(client=client, body=order, wait=60))
    if deployed.state != InstanceState.READY:
        raise SystemExit(f"It is not READY: {deployed.error}")
    again = deploy_instance.sync(client=client, body=order)
    if not isinstance(again, ErrorAnswer) or again.code != ErrorCode.PORT_TAKEN:
        raise SystemExit(f"The port is taken, but the answer is {again}")

    ref = InstanceRef(id=deployed.id)
    check(
        good(look_up_instance.sync(client=client, body=ref)), suspended=False, power=Power.RUNNING
    )
    mine = good(list_user_instances.sync(client=client, body=UserRef(user_id=user.user_id)))
    if [instance.id for instance in mine] != [deployed.id]:
        raise SystemExit(f"The user has {mine}.")
    stopped = good(suspend_instance.sync(deployed.id, client=client, wait=30))
    check(stopped, suspended=True, power=Power.STOPPED)
    running = good(unsuspend_instance.sync(deployed.id, client=client, wait=30))
    check(running, suspended=False, power=Power.RUNNING)
    gone = good(delete_instance.sync(client=client, body=Delete(id=deployed.id), wait=30))
    print(gone.state)


main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
