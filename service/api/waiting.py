"""Requests that wait for a node: how long, and how many of them at once."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from service import keys, operations, phases
from service.api.call import caller, current_call, store
from service.api.context import app_context
from service.drivers import DriverFactory
from service.model.documents import Instance, Operation
from service.model.lifecycle import ENDED, InstanceState, NodeStatus
from service.model.orders import ReadyWish, StateWish

_UNDER_WAY = (InstanceState.INSTALLING, InstanceState.DELETING)


def wait_for(operation: Operation, wait_s: float | None) -> Operation:
    """Wait for the operation's end, and answer it as it is then.

    `wait_s` is what the client asked for; None is the app's own, and nothing when the node is known
    to be down. What the request took until now counts, so that its answer comes in time also when
    it waited for the database. When too many others wait, or the process is to end, it answers at
    once.
    """
    ctx = app_context()
    if wait_s is None:
        node = store().nodes.find(operation["node_id"])
        offline = node is not None and node["status"] == NodeStatus.OFFLINE
        wait_s = 0 if offline else ctx.wait_s
    current_call().end_bound()
    wait_s = max(0.0, wait_s - current_call().spent_s)
    with ctx.wait_slots.try_slot(keys.family_of(caller())) as may_wait:
        ended = operations.wait(
            store(),
            operation,
            timeout_s=wait_s if may_wait else 0,
            stopping=ctx.stopping,
        )
    current_call().bound_rest()
    return ended


def wait_for_state(instance: Instance, wish: StateWish) -> Instance:
    """Wait while something is under way, or until the state that is wished for; read it then.

    It waits only for an operation that is open: after a deletion that failed, none is. Raises
    NotFound when it is gone by then.
    """
    ended = wish["wait"] > 0
    while ended and instance["state"] in _UNDER_WAY and instance["state"] != wish["until"]:
        operation = store().operations.find_latest(instance["_id"])
        if operation is None or operation["status"] in ENDED:
            ended = False
        else:
            ended = wait_for(operation, wish["wait"])["status"] in ENDED
        instance = store().instances.get(instance["_id"])
    return instance


def wait_for_phase(instance: Instance, wish: ReadyWish | StateWish) -> Instance:
    """Wait until the program is ready, if that is wished for; read the instance as it is then.

    Raises NotFound when it is gone. It waits like `wait_for`, for what is left of the time.
    """
    if wish["until_phase"] is None or not wish["wait"]:
        return instance
    ctx = app_context()
    current_call().end_bound()
    wait_s = max(0.0, wish["wait"] - current_call().spent_s)
    with ctx.wait_slots.try_slot(keys.family_of(caller())) as may_wait:
        instance = phases.wait(
            store(), instance, timeout_s=wait_s if may_wait else 0, stopping=ctx.stopping
        )
    current_call().bound_rest()
    return instance


@contextmanager
def changing_keys() -> Iterator[None]:
    """Let a request revoke or rotate keys, which waits until every process knows of it.

    Who has a limited key takes a slot for that, so that nobody can hold all threads. Raises Busy;
    whoever has all rights can revoke a key whatever others wait for.
    """
    slots = app_context().wait_slots
    limited = keys.access_of(caller()).is_limited
    with slots.slot(keys.family_of(caller())) if limited else nullcontext():
        yield
    current_call().end_bound()
    current_call().bound_rest()


@contextmanager
def calling_a_node() -> Iterator[DriverFactory]:
    """Hand out the drivers to a request that calls a node itself. Raises Busy."""
    ctx = app_context()
    current_call().end_bound()
    with ctx.wait_slots.slot(keys.family_of(caller())):
        yield ctx.open_driver
