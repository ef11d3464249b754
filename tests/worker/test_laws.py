"""Laws: whatever happens in whatever order, documents and containers agree in the end."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service import deletions, instance_changes, instances, operations, suspensions
from service.drivers.memory import MemoryNodes
from service.errors import Conflict, NodeFailure, NotFound
from service.model.lifecycle import InstanceState, NodeStatus, OperationKind, Power
from service.model.ports import parse
from service.worker.reconcile import PURSUE_AGAIN_AFTER, reconcile
from service.worker.suspensions import align_users
from tests.support import AT_NOON, NOON, a_node, a_user, an_image, an_order, run_due

ACTS = st.lists(
    st.sampled_from(
        ["deploy", "delete", "forget", "keep", "restore", "purge",
         "suspend", "unsuspend", "start", "stop", "restart", "kill",
         "update", "spoil", "reinstall", "cancel update", "retry update",
         "cancel", "retry", "work", "die", "fail", "refuse", "silence", "return",
         "suspend user", "unsuspend user", "align"]
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
    agree_after(store, acts)


CHANGES = st.lists(
    st.sampled_from(
        ["update", "update", "spoil", "reinstall", "cancel update", "retry update", "suspend",
         "unsuspend", "stop", "start", "delete", "keep", "restore", "restore", "purge",
         "work", "work", "die", "die", "fail", "silence", "refuse", "return",
         "suspend user", "unsuspend user", "align"]
    ),
    max_size=16,
)  # fmt: skip


@pytest.mark.slow
@given(acts=CHANGES)
@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_documents_and_containers_agree_after_changes(store, acts):
    """
    The same of an instance that runs, and is changed again and again.
    """
    agree_after(store, ["deploy", "work", *acts], pulls=True)


def agree_after(store, acts, *, pulls=False):
    """Do the acts, one after the other, and find documents and containers in agreement."""
    nodes = MemoryNodes()
    node = a_node(store, nodes)
    nodes[node["_id"]].pulls = pulls
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
    kept = {i["_id"]: i for i in store.deleted.list_on(node["_id"])}
    powers = {name: container.power for name, container in here.containers.items()}
    assert powers.keys() <= documents.keys() | kept.keys()
    assert {InstanceState.DELETED} >= {i["state"] for i in kept.values()}
    assert not {n for n in kept if runs(powers, n)}
    assert {Power.STOPPED} >= {i["power"] for i in kept.values()}
    assert {name: i["power"] for name, i in made.items()} == {n: powers[n] for n in made}
    assert not {n for n, i in documents.items() if i["suspended"] and runs(powers, n)}
    assert {n for n in failed if runs(powers, n)} == {
        n for n, i in failed.items() if i["power"] == Power.RUNNING
    }
    assert {InstanceState.READY, InstanceState.FAILED} >= {i["state"] for i in documents.values()}
    assert {n: i["memory_mib"] for n, i in made.items()} == {
        n: here.containers[n].spec.memory_mib for n in made
    }
    everything = [*documents.values(), *kept.values()]
    assert {
        "instances": len(everything),
        "memory_mib": sum(i["memory_mib"] for i in everything),
        "cpu_milli": sum(i["cpu_milli"] for i in everything),
        "disk_mib": 0,
    } == store.nodes.get(node["_id"])["allocated"]
    assert all(i["ports"] == [pair["host"] for pair in i["port_map"]] for i in documents.values())
    assert not any(i["ports"] for i in kept.values())
    assert not any(i.get("reserved") or i.get("arrival") for i in everything)
    assert here.volumes.keys() == here.containers.keys()
    assert [] == store.transaction(lambda session: store.quotas.list_miscounted(session=session))
    user = store.users.get(order["user_id"])
    assert {user.get("suspended", False)} >= {"before_suspension" in i for i in documents.values()}
    assert all(i["suspended"] for i in documents.values() if "before_suspension" in i)


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
            here.faults.fail_times(1)
        case "refuse":
            here.faults.refuse()
        case "silence":
            here.faults.silence()
        case "return":
            here.faults.behave()
        case "suspend user" | "unsuspend user":
            suspensions.change_user(
                store, order["user_id"], suspended=act == "suspend user", origin=AT_NOON
            )
        case "align":
            align_users(store, "t", now=lambda: NOON)
        case _ if known:
            instance, operation = known[-1]
            if "update" in act or act in ("spoil", "reinstall"):
                change(store, here, instance["_id"], act)
            else:
                do_to(store, instance["_id"], operation["_id"], act)


def do_to(store, instance_id, operation_id, act):
    """Do one act to this instance, or to the operation that deploys it."""
    match act:
        case "delete":
            instances.delete(store, instance_id, origin=AT_NOON)
        case "forget":
            instances.delete_by_force(store, instance_id, origin=AT_NOON)
        case "keep":
            instances.delete(store, instance_id, keep_s=60, origin=AT_NOON)
        case "restore":
            deletions.restore(store, instance_id, {}, origin=AT_NOON)
        case "purge":
            instances.delete(store, instance_id, purges=True, origin=AT_NOON)
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


def change(store, here, instance_id, act):
    """Change this instance, or do something about the last change of it."""
    match act:
        case "update":
            size = store.instances.get(instance_id)["memory_mib"] % 640 + 64
            order = {
                "memory_mib": size,
                "ports": parse(f"80:{9000 + size}"),
                "primary": 9000 + size,
            }
            instance_changes.edit(store, instance_id, order, origin=AT_NOON)
        case "spoil":
            image = an_image(store)
            here.short_lived_images.add(image["image"])
            order = {"image": image["_id"], "memory_mib": 1024}
            instance_changes.edit(store, instance_id, order, origin=AT_NOON)
        case "reinstall":
            instance_changes.reinstall(store, instance_id, keep_volume=False, origin=AT_NOON)
        case _:
            done = store.operations.list_newest(
                {"instance_id": instance_id, "kind": OperationKind.UPDATE}, limit=1
            )
            for operation in done:
                if act == "cancel update":
                    operations.cancel(store, operation["_id"], now=NOON)
                else:
                    operations.retry(store, operation["_id"], origin=AT_NOON)


def settle(store, nodes, here):
    """Let the node behave and time pass, and work until nothing is left to do."""
    here.faults.behave()
    for _ in range(3):
        node = store.nodes.get(here.node_id)
        store.nodes.update(node["_id"], {"status": NodeStatus.ONLINE})
        store.operations.retry_now_on_node(node["_id"])
        while align_users(store, "t", now=lambda: NOON):
            pass
        run_due(store, nodes)
        reconcile(store, nodes, node, now=NOON + 2 * PURSUE_AGAIN_AFTER)
