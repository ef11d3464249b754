"""Laws: whatever happens in whatever order, documents and containers agree in the end."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service import instances
from service.drivers.memory import MemoryNodes
from service.errors import NotFound, PortTaken
from service.lifecycle import InstanceState, Power
from service.ports import parse
from tests.support import NOON, a_node, a_user, an_image, an_order, run_due

ACTS = st.lists(
    st.sampled_from(["deploy", "delete", "suspend", "unsuspend", "work", "fail", "silence"]),
    max_size=12,
)


@given(acts=ACTS)
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_documents_and_containers_agree(store, acts):
    """
    After any sequence of requests, failures and work, what runs is what should run.
    """
    nodes = MemoryNodes()
    node = a_node(store, nodes)
    here = nodes[node["_id"]]
    order = an_order(a_user(store), node, an_image(store), ports=parse("80:8080"))
    known = []

    for act in acts:
        try:
            match act:
                case "deploy":
                    known.append(instances.deploy(store, order, now=NOON)[0]["_id"])
                case "delete" if known:
                    instances.delete(store, known[-1], now=NOON)
                case "suspend" | "unsuspend" if known:
                    instances.set_suspended(store, known[-1], act == "suspend", now=NOON)
                case "fail":
                    here.fail_times(1)
                case "silence":
                    here.silence()
                case "work":
                    run_due(store, nodes)
                    here.behave()
        except (NotFound, PortTaken):
            continue

    settle(store, nodes, here)
    wanted = {
        instance["_id"]: Power.STOPPED if instance["suspended"] else Power.RUNNING
        for instance in store.instances.list_on(node["_id"])
    }
    assert wanted == {name: container.power for name, container in here.containers.items()}
    assert {InstanceState.READY} >= {i["state"] for i in store.instances.list_on(node["_id"])}
    assert len(wanted) == store.nodes.get(node["_id"])["allocated"]["instances"]


def settle(store, nodes, here):
    """Let the node behave and all pauses pass, and work until nothing is left to do."""
    here.behave()
    store.operations._collection.update_many(
        {"next_attempt_at": {"$ne": None}}, {"$set": {"next_attempt_at": None}}
    )
    while run_due(store, nodes):
        pass
