"""Laws: whatever happens in whatever order, documents and containers agree in the end."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service import instances, operations
from service.drivers.memory import MemoryNodes
from service.errors import Conflict, NodeFailure, NotFound
from service.model.lifecycle import InstanceState, NodeStatus, OperationKind, Power
from service.model.ports import parse
from service.worker.reconcile import PURSUE_AGAIN_AFTER, reconcile
from tests.support import AT_NOON, NOON, a_node, a_user, an_image, an_order, run_due

ACTS = st.lists(
    st.sampled_from(
        ["deploy", "delete", "forget", "suspend", "unsuspend", "start", "stop", "restart", "kill",
         "cancel", "retry", "work", "die", "fail", "refuse", "silence", "return"]
    ),
    max_size=14,
)  # fmt: skip


@pytest.mark.slow
@given(acts=ACTS)
@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_documents_and_containers_agree(store, acts):
    """
    After any sequence of requests, failures, crashes and work, nothing is lost or left over.
    """
    nodes = MemoryNodes()
    node = a_node(store, nodes)
    here = nodes[node["_id"]]
    order = an_order(a_user(store), node, an_image(store), ports=parse("80:8080"))
    known = []

    for act in acts:
        try:
            do(store, nodes, here, order, known, act)
        except (Conflict, NodeFailure, NotFound):
            continue

    settle(store, nodes, here)
    documents = {i["_id"]: i for i in store.instances.list_on(node["_id"])}
    made = {name: i for name, i in documents.items() if i["state"] == InstanceState.READY}
    failed = {name: i for name, i in documents.items() if i["state"] == InstanceState.FAILED}
    powers = {name: container.power for name, container in here.containers.items()}
    assert powers.keys() <= documents.keys()
    assert {name: i["power"] for name, i in made.items()} == {n: powers[n] for n in made}
    assert not {n for n, i in documents.items() if i["suspended"] and runs(powers, n)}
    assert {n for n in failed if runs(powers, n)} == {
        n for n, i in failed.items() if i["power"] == Power.RUNNING
    }
    assert {InstanceState.READY, InstanceState.FAILED} >= {i["state"] for i in documents.values()}
    assert len(documents) == store.nodes.get(node["_id"])["allocated"]["instances"]


def runs(powers, name):
    """Return whether a container runs."""
    return powers.get(name) == Power.RUNNING


def do(store, nodes, here, order, known, act):
    """Do one act, to the newest instance there is."""
    match act:
        case "deploy":
            known.append(instances.deploy(store, order, origin=AT_NOON))
        case "work":
            run_due(store, nodes)
        case "die":
            # A worker claims something, and is never heard of again.
            store.claims.take("the dead", lease_s=0.001)
        case "fail":
            here.fail_times(1)
        case "refuse":
            here.refuse()
        case "silence":
            here.silence()
        case "return":
            here.behave()
        case _ if known:
            instance, operation = known[-1]
            do_to(store, instance["_id"], operation["_id"], act)


def do_to(store, instance_id, operation_id, act):
    """Do one act to this instance, or to the operation that deploys it."""
    match act:
        case "delete":
            instances.delete(store, instance_id, origin=AT_NOON)
        case "forget":
            instances.delete_by_force(store, instance_id, origin=AT_NOON)
        case "suspend":
            instances.suspend(store, instance_id, origin=AT_NOON)
        case "unsuspend":
            instances.unsuspend(store, instance_id, origin=AT_NOON)
        case "cancel":
            operations.cancel(store, operation_id, now=NOON)
        case "retry":
            operations.retry(store, operation_id, origin=AT_NOON)
        case kind:
            instances.change_power(store, instance_id, OperationKind(kind), origin=AT_NOON)


def settle(store, nodes, here):
    """Let the node behave and time pass, and work until nothing is left to do."""
    here.behave()
    for _ in range(3):
        node = store.nodes.get(here.node_id)
        store.nodes.update(node["_id"], {"status": NodeStatus.ONLINE})
        store.operations.retry_now_on_node(node["_id"])
        run_due(store, nodes)
        reconcile(store, nodes, node, now=NOON + 2 * PURSUE_AGAIN_AFTER)
