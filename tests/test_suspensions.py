"""Suspended users: all that is theirs stops, and afterwards what ran before runs again."""

import pytest

from service import adoption, instance_changes, instances, operations, suspensions, users
from service.errors import NotFound, StoreUnavailable, UserSuspended
from service.model.lifecycle import OperationKind, Power
from service.model.ports import parse
from service.worker.carry_out import carry_out
from service.worker.job import claim
from service.worker.suspensions import align_users
from tests.store.test_races import kinds, race
from tests.support import (
    AT_NOON,
    NOON,
    a_node,
    a_user,
    an_image,
    an_order,
    eventually,
    free_port,
    run_due,
)


@pytest.fixture
def place(store, memory_nodes):
    """A user, a node and an image."""
    return a_user(store), a_node(store, memory_nodes, ram="plenty"), an_image(store)


@pytest.fixture
def deploy(store, place):
    """Deploy an instance on a port of its own."""

    def deploy(**over):
        port = free_port()
        order = an_order(*place, ports=parse(f"80:{port}"), primary=str(port), **over)
        return instances.deploy(store, order, origin=AT_NOON)[0]["_id"]

    return deploy


@pytest.fixture
def change(store, place):
    """Suspend the user, or let the user run again; no worker sees it."""
    return lambda *, suspended: suspensions.change_user(
        store, place[0]["_id"], suspended=suspended, origin=AT_NOON
    )


@pytest.fixture
def settle(store, memory_nodes):
    """Do what a worker does, until there is nothing more to do."""

    def settle():
        while align_users(store, "t", now=lambda: NOON) or run_due(store, memory_nodes):
            pass
        assert [] == store.suspensions.list_users()

    return settle


@pytest.fixture
def powers(store, memory_nodes, place):
    """Read what instances' containers do, and whether that is known."""

    def powers(*instance_ids):
        here = memory_nodes[place[1]["_id"]].containers
        assert [here[each].power for each in instance_ids] == [
            store.instances.get(each)["power"] for each in instance_ids
        ]
        return [here[each].power for each in instance_ids]

    return powers


@pytest.mark.heavy
def test_all_that_is_a_users_stops_and_runs_again(store, deploy, change, settle, powers):
    """
    And nothing of anybody else's.
    """
    mine, other = [deploy(), deploy()], deploy(user_id=a_user(store)["_id"])
    settle()
    change(suspended=True)
    settle()
    stopped = powers(*mine, other)
    change(suspended=False)
    settle()

    assert [Power.STOPPED, Power.STOPPED, Power.RUNNING] == stopped
    assert [Power.RUNNING] * 3 == powers(*mine, other)
    assert not any("before_suspension" in store.instances.get(each) for each in mine)


@pytest.mark.heavy
def test_what_was_suspended_or_stopped_on_its_own_stays_so(store, deploy, change, settle, powers):
    """
    Only what ran is started.
    """
    suspended, stopped, runs = deploy(), deploy(), deploy()
    settle()
    instances.suspend(store, suspended, origin=AT_NOON)
    instances.change_power(store, stopped, OperationKind.STOP, origin=AT_NOON)
    settle()
    for each in (True, False):
        change(suspended=each)
        settle()

    assert [Power.STOPPED, Power.STOPPED, Power.RUNNING] == powers(suspended, stopped, runs)
    assert [True, False, False] == [
        store.instances.get(each)["suspended"] for each in (suspended, stopped, runs)
    ]


@pytest.mark.heavy
def test_a_suspension_under_way_starts_nothing_when_it_is_taken_back(
    store, memory_nodes, deploy, change, settle, powers
):
    """
    What was stopped before stays so, however far the worker is.
    """
    instance_id = deploy()
    settle()
    instances.change_power(store, instance_id, OperationKind.STOP, origin=AT_NOON)
    settle()
    change(suspended=True)
    align_users(store, "t", now=lambda: NOON)
    under_way = claim(store, store.claims.look(), node_operations=4, lease_s=30.0, now=lambda: NOON)
    change(suspended=False)
    align_users(store, "t", now=lambda: NOON)

    carry_out(under_way, memory_nodes)
    settle()

    assert OperationKind.SUSPEND == under_way.operation["kind"]
    assert [Power.STOPPED] == powers(instance_id)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("wish", "power"),
    [
        (OperationKind.START, Power.RUNNING),
        (OperationKind.STOP, Power.STOPPED),
        (None, Power.RUNNING),
    ],
)
def test_what_was_wanted_when_its_user_was_suspended_counts(
    store, place, deploy, change, settle, powers, wish, power
):
    """
    Also where its node was down, so that nothing of it was done: a start, a stop, or the end of an
    earlier suspension.
    """
    instance_id, node_id = deploy(), place[1]["_id"]
    settle()
    if wish == OperationKind.START:
        instances.change_power(store, instance_id, OperationKind.STOP, origin=AT_NOON)
    if wish is None:
        change(suspended=True)
    settle()
    if wish is None:
        change(suspended=False)
    else:
        instances.change_power(store, instance_id, wish, origin=AT_NOON)
    store.nodes.update(node_id, {"status": "Offline"})
    for suspended in (True, False):
        settle()
        change(suspended=suspended)
    settle()
    store.nodes.update(node_id, {"status": "Online"})
    settle()

    assert [power] == powers(instance_id)


@pytest.mark.heavy
def test_what_is_suspended_alone_meanwhile_stays_so(store, deploy, change, settle, powers):
    """
    Somebody wanted that, whatever becomes of the user.
    """
    instance_id = deploy()
    settle()
    change(suspended=True)
    settle()
    instances.suspend(store, instance_id, origin=AT_NOON)
    change(suspended=False)
    settle()
    kept = store.instances.get(instance_id)["suspended"]
    instances.unsuspend(store, instance_id, origin=AT_NOON)
    settle()

    assert (True, [Power.RUNNING]) == (kept, powers(instance_id))


@pytest.mark.parametrize("seen", [False, True], ids=["before a worker saw it", "after"])
def test_nothing_of_a_suspended_user_is_started(
    store, memory_nodes, place, deploy, change, settle, seen
):
    """
    Neither anew nor again, nor is anything given to the user.
    """
    mine, other = deploy(), deploy(user_id=a_user(store)["_id"])
    settle()
    change(suspended=True)
    if seen:
        settle()

    for refused in (
        deploy,
        lambda: instances.unsuspend(store, mine, origin=AT_NOON),
        lambda: instances.change_power(store, mine, OperationKind.START, origin=AT_NOON),
        lambda: instances.change_power(store, mine, OperationKind.RESTART, origin=AT_NOON),
        lambda: instance_changes.edit(store, other, {"user_id": place[0]["_id"]}, origin=AT_NOON),
    ):
        with pytest.raises(UserSuspended):
            refused()


@pytest.mark.heavy
def test_what_is_being_installed_does_not_run(store, deploy, change, settle, powers):
    """
    Its deployment comes to its end, and leaves it stopped; it is started later.
    """
    instance_id = deploy()
    change(suspended=True)
    settle()
    stopped = powers(instance_id)
    change(suspended=False)
    settle()

    assert ([Power.STOPPED], [Power.RUNNING]) == (stopped, powers(instance_id))


def test_it_reaches_a_node_that_was_down(store, memory_nodes, place, deploy, change, settle):
    """
    What is wanted waits for it.
    """
    instance_id, node_id = deploy(), place[1]["_id"]
    settle()
    store.nodes.update(node_id, {"status": "Offline"})
    change(suspended=True)
    settle()
    meanwhile = store.instances.get(instance_id)
    store.nodes.update(node_id, {"status": "Online"})
    settle()

    assert (True, Power.RUNNING) == (meanwhile["suspended"], meanwhile["power"])
    assert Power.STOPPED == memory_nodes[node_id].containers[instance_id].power


def test_on_a_node_that_stays_down_the_last_wish_counts(store, place, deploy, change, settle):
    """
    The suspension that waits for the node is not done any more.
    """
    instance_id = deploy()
    settle()
    store.nodes.update(place[1]["_id"], {"status": "Offline"})
    for suspended in (True, False):
        change(suspended=suspended)
        settle()

    waiting = store.transaction(
        lambda session: store.operations.find_waiting(instance_id, session=session)
    )
    assert (False, "unsuspend") == (
        store.instances.get(instance_id)["suspended"],
        waiting["kind"],
    )


@pytest.mark.heavy
def test_a_change_that_is_under_way_leaves_it_stopped(store, deploy, change, settle, powers):
    """
    It brings the power in line at its end.
    """
    instance_id = deploy()
    settle()
    instance_changes.edit(store, instance_id, {"memory_mib": 256}, origin=AT_NOON)
    change(suspended=True)
    settle()

    assert ([Power.STOPPED], 256) == (
        powers(instance_id),
        store.instances.get(instance_id)["memory_mib"],
    )


@pytest.mark.heavy
def test_what_is_given_away_goes_by_its_new_user(store, deploy, change, settle, powers):
    """
    It runs again, and is not touched when the old user is let run.
    """
    instance_id, other = deploy(), a_user(store)
    settle()
    change(suspended=True)
    settle()

    instance_changes.edit(store, instance_id, {"user_id": other["_id"]}, origin=AT_NOON)
    settle()

    assert [Power.RUNNING] == powers(instance_id)


@pytest.mark.heavy
def test_what_is_adopted_for_a_suspended_user_is_suspended(store, deploy, change, settle):
    """
    It is let in, as it runs already.
    """
    instance = store.instances.get(deploy())
    settle()
    change(suspended=True)
    settle()

    adopted = {**instance, "_id": "i" + "a" * 11, "ports": [], "state": "READY"}
    adoption.add(store, adopted)
    settle()

    assert store.instances.get(adopted["_id"])["suspended"]


@pytest.mark.heavy
def test_repeating_it_is_harmless(store, deploy, change, settle, powers):
    """
    What it was before is not forgotten.
    """
    instance_id = deploy()
    settle()
    for suspended in (True, True, False, False):
        change(suspended=suspended)
        settle()

    assert [Power.RUNNING] == powers(instance_id)


def test_what_goes_is_left_alone(store, deploy, change, settle):
    """
    A deletion goes on.
    """
    instance_id = deploy()
    settle()
    instances.delete(store, instance_id, origin=AT_NOON)
    change(suspended=True)
    settle()

    assert store.instances.find(instance_id) is None


@pytest.mark.heavy
def test_whatever_cuts_it_off_it_is_done(store, deploy, change, settle, powers, monkeypatch):
    """
    A worker that dies after any instance leaves the rest to the next one.
    """
    mine = [deploy() for _ in range(3)]
    settle()
    change(suspended=True)
    work, left = store.suspensions.mark, [2]

    def die_later(user_id, *, session):
        left[0] -= 1
        if left[0] < 0:
            raise StoreUnavailable("It died.")
        work(user_id, session=session)

    monkeypatch.setattr(store.suspensions, "mark", die_later)
    align_users(store, "dies", now=lambda: NOON)
    monkeypatch.setattr(store.suspensions, "mark", work)
    half = sum(store.instances.get(each)["suspended"] for each in mine)
    settle()

    assert (2, [Power.STOPPED] * 3) == (half, powers(*mine))


@pytest.mark.heavy
def test_what_fails_keeps_no_other_back(store, deploy, change, settle, powers, monkeypatch):
    """
    It is tried again later.
    """
    first, second = deploy(), deploy()
    settle()
    change(suspended=True)
    work = store.instances.set_suspended

    def fail_for_one(instance_id, *args, **options):
        if instance_id == first:
            raise StoreUnavailable("It failed.")
        return work(instance_id, *args, **options)

    monkeypatch.setattr(store.instances, "set_suspended", fail_for_one)
    align_users(store, "t", now=lambda: NOON)
    meanwhile = [store.instances.get(each)["suspended"] for each in (first, second)]
    monkeypatch.setattr(store.instances, "set_suspended", work)
    settle()

    assert ([False, True], [Power.STOPPED] * 2) == (meanwhile, powers(first, second))


@pytest.mark.heavy
def test_more_than_a_batch_is_done(store, deploy, change, settle, powers, monkeypatch):
    """
    In turns, until none is left.
    """
    monkeypatch.setattr(suspensions, "BATCH", 2)
    mine = [deploy() for _ in range(5)]
    settle()
    change(suspended=True)
    settle()

    assert [Power.STOPPED] * 5 == powers(*mine)


def test_one_worker_at_a_time_does_it(store, deploy, change):
    """
    The others leave it to that one.
    """
    instance_id = deploy()
    change(suspended=True)
    store.suspension_duty.take("another", lease_s=30)

    done = align_users(store, "t", now=lambda: NOON)
    store.suspension_duty.release("another")

    assert (False, False) == (done, store.instances.get(instance_id)["suspended"])


@pytest.mark.heavy
def test_a_worker_that_runs_does_it(store, memory_nodes, place, deploy, change, worker):
    """
    A moment after it was asked for.
    """
    instance_id = deploy()
    here = memory_nodes[place[1]["_id"]].containers
    assert eventually(lambda: store.instances.get(instance_id)["power"] == Power.RUNNING)

    change(suspended=True)

    assert eventually(lambda: here[instance_id].power == Power.STOPPED)
    assert eventually(lambda: [] == store.suspensions.list_users())


@pytest.mark.heavy
def test_deploys_at_once_with_a_suspension_do_not_run(store, deploy, change, settle, powers):
    """
    Each is refused, or is suspended with the others.
    """
    outcomes = race(lambda n: change(suspended=True) if n == 5 else deploy(), racers=20)
    settle()

    assert {"done", "UserSuspended"} >= kinds(outcomes).keys()
    made = [each for each in outcomes if isinstance(each, str)]
    assert [Power.STOPPED] * len(made) == powers(*made)


@pytest.mark.heavy
def test_many_wishes_and_workers_at_once_agree(store, deploy, change, settle, powers):
    """
    Whatever comes last is what becomes of all instances.
    """
    mine = [deploy() for _ in range(4)]
    settle()

    def act(number):
        if number % 2:
            return change(suspended=number % 4 == 1)
        return suspensions.align(store, mine[number % 4], now=NOON)

    outcomes = race(act, racers=16)
    settle()

    assert {"done"} == kinds(outcomes).keys()
    suspended = store.users.get(store.instances.get(mine[0])["user_id"])["suspended"]
    assert [Power.STOPPED if suspended else Power.RUNNING] * 4 == powers(*mine)


def test_a_suspended_user_without_instances_is_deleted(store, place, change, settle):
    """
    Nothing is left to be done.
    """
    change(suspended=True)
    users.delete(store, place[0]["_id"])
    settle()

    with pytest.raises(NotFound):
        change(suspended=False)


@pytest.mark.heavy
def test_a_deployment_that_failed_is_not_started_by_a_retry(
    store, memory_nodes, place, deploy, change, settle, powers
):
    """
    It is installed, and stays stopped.
    """
    here = memory_nodes[place[1]["_id"]]
    here.faults.refuse()
    instance_id = deploy()
    deployment = store.operations.find_latest(instance_id)
    settle()
    here.faults.behave()
    change(suspended=True)
    settle()
    assert "FAILED" == store.instances.get(instance_id)["state"]
    operations.retry(store, deployment["_id"], origin=AT_NOON)
    settle()

    assert [Power.STOPPED] == powers(instance_id)
