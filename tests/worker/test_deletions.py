"""Deletions that are undone, on nodes in memory and a real database."""

from datetime import UTC, datetime, timedelta

import pytest

from service import (
    deletions,
    drift,
    instance_changes,
    instances,
    nodes,
    operations,
    suspensions,
    transfers,
    users,
)
from service.errors import (
    Conflict,
    ImageInUse,
    InstanceNotReady,
    InvalidInput,
    NodeNotEmpty,
    NodeUnreachable,
    NoFreePorts,
    NotFound,
    NotRestorable,
    PortTaken,
    PreconditionFailed,
    UserNotEmpty,
    UserSuspended,
    WrongStatus,
)
from service.images import delete as delete_image
from service.model.lifecycle import InstanceState, OperationKind, OperationStatus, Power
from service.model.ports import parse
from service.model.precondition import Precondition
from service.worker.purges import purge_due
from service.worker.reconcile import reconcile
from tests.support import AT_NOON, NOON, a_node, a_user, an_image, an_order, run_due
from tests.worker.test_replacements import Dying, end_of, forget_leases

DAY_S = 86400


@pytest.fixture
def node(store, memory_nodes):
    """A node with memory for a few instances."""
    return a_node(store, memory_nodes, ram="1024M", port_range="20000-20003")


@pytest.fixture
def here(memory_nodes, node):
    """What the node runs."""
    return memory_nodes[node["_id"]]


@pytest.fixture
def make(store, memory_nodes, here, node):
    """Deploy an instance that runs, with a file."""

    def deploy(**over):
        order = an_order(a_user(store), node, an_image(store), **over)
        instance_id = instances.deploy(store, order, origin=AT_NOON)[0]["_id"]
        run_due(store, memory_nodes)
        here.volumes[instance_id].append("world")
        return instance_id

    return deploy


@pytest.fixture
def running(make):
    """An instance that runs, with a file."""
    return make()


def keep(store, instance_id, keep_s=DAY_S):
    """Delete the instance so that it can be restored; answer the operation."""
    return instances.delete(store, instance_id, keep_s=keep_s, origin=AT_NOON)


def restore(store, instance_id, **order):
    """Undo the deletion; answer the instance and the operation."""
    return deletions.restore(store, instance_id, order, origin=AT_NOON)


def promised(store, node):
    """Return what the node has promised."""
    return store.nodes.get(node["_id"])["allocated"]


def test_what_is_kept_is_stopped_and_hidden(store, memory_nodes, here, running):
    """It is found by nothing that looks for instances, and its container and files stay."""
    operation = keep(store, running)

    run_due(store, memory_nodes)

    container = here.containers[running]
    assert (OperationStatus.SUCCEEDED, None) == end_of(store, operation)
    assert (Power.STOPPED, ["world"]) == (container.power, here.volumes[running])
    assert [] == store.instances.all()
    assert None is store.instances.find_by_reference(running)
    kept = store.deleted.get(running)
    assert (InstanceState.DELETED, Power.STOPPED) == (kept["state"], kept["power"])
    assert (NOON, NOON + timedelta(days=1)) == (kept["deleted_at"], kept["purge_at"])


def test_its_capacity_is_kept_and_its_ports_are_not(store, memory_nodes, node, running, make):
    """Others get its host ports at once, and not its memory."""
    before = promised(store, node)

    keep(store, running)

    assert before == promised(store, node)
    assert "world" in memory_nodes[node["_id"]].volumes[make()]


@pytest.mark.heavy
def test_nobody_gets_a_port_that_is_still_listened_on(store, memory_nodes, here, node, running):
    """A deploy waits until the program is stopped that had its port."""
    keep(store, running)
    order = an_order(a_user(store), node, an_image(store))
    _, deploy = instances.deploy(store, order, origin=AT_NOON)
    stop = store.operations.find_open(running, OperationKind.KEEP)
    here.faults.fail_times(1)

    run_due(store, memory_nodes)
    waits = store.operations.get(deploy["_id"])
    store.operations.retry_now(stop["_id"])
    run_due(store, memory_nodes)
    store.operations.retry_now(deploy["_id"])
    run_due(store, memory_nodes)

    assert (OperationStatus.PENDING, "A deleted instance that had one of its ports is being "
            "stopped.") == (waits["status"], waits["error"])  # fmt: skip
    assert OperationStatus.SUCCEEDED == end_of(store, deploy)[0]


@pytest.mark.heavy
def test_an_unsuspension_waits_for_its_port_as_well(store, memory_nodes, here, running, make):
    """It starts what was restored suspended, with a port that another one had meanwhile."""
    instances.suspend(store, running, origin=AT_NOON)
    run_due(store, memory_nodes)
    keep(store, running)
    run_due(store, memory_nodes)
    stop = keep(store, make())
    later = {"next_attempt_at": datetime(2100, 1, 1, tzinfo=UTC)}
    store.transaction(
        lambda session: store.operations.change_open(stop["_id"], later, session=session)
    )
    restore(store, running)
    run_due(store, memory_nodes)
    _, start = instances.unsuspend(store, running, origin=AT_NOON)

    run_due(store, memory_nodes)
    waits = store.operations.get(start["_id"])["status"]
    store.operations.retry_now(stop["_id"])
    run_due(store, memory_nodes)
    store.operations.retry_now(start["_id"])
    run_due(store, memory_nodes)

    assert OperationStatus.PENDING == waits
    assert Power.RUNNING == here.containers[running].power


@pytest.mark.parametrize(
    ("wish", "power"),
    [
        (None, Power.RUNNING),
        (OperationKind.STOP, Power.STOPPED),
        (OperationKind.SUSPEND, Power.STOPPED),
    ],
)
def test_it_runs_as_it_did(store, memory_nodes, here, running, wish, power):
    """What ran runs, what was stopped or suspended does not; no other container is made."""
    if wish == OperationKind.SUSPEND:
        instances.suspend(store, running, origin=AT_NOON)
    elif wish is not None:
        instances.change_power(store, running, wish, origin=AT_NOON)
    run_due(store, memory_nodes)
    keep(store, running)
    run_due(store, memory_nodes)

    _, operation = restore(store, running)
    run_due(store, memory_nodes)

    instance = store.instances.get(running)
    assert (OperationStatus.SUCCEEDED, None) == end_of(store, operation)
    assert (InstanceState.READY, power, wish == OperationKind.SUSPEND) == (
        instance["state"],
        instance["power"],
        instance["suspended"],
    )
    assert (power, ["world"], 1) == (
        here.containers[running].power,
        here.volumes[running],
        here.created,
    )
    assert [] == store.deleted.all()


@pytest.mark.heavy
def test_a_wish_that_waited_when_it_was_deleted_counts(store, memory_nodes, here, running):
    """What was to be started, and was not by then, is started."""
    instances.change_power(store, running, OperationKind.STOP, origin=AT_NOON)
    run_due(store, memory_nodes)
    instances.change_power(store, running, OperationKind.START, origin=AT_NOON)
    keep(store, running)
    run_due(store, memory_nodes)

    restore(store, running)
    run_due(store, memory_nodes)

    assert Power.RUNNING == here.containers[running].power


def test_restored_before_it_was_stopped(store, memory_nodes, here, running):
    """What waits to be stopped is not."""
    stop = keep(store, running)

    restore(store, running)
    run_due(store, memory_nodes)

    assert OperationStatus.SUPERSEDED == end_of(store, stop)[0]
    assert Power.RUNNING == here.containers[running].power


@pytest.mark.parametrize("how", ["waiting", "running", "failed"])
def test_what_was_not_installed_is_installed_anew(store, memory_nodes, here, node, how):
    """A deployment that was given up, or failed, is done after all."""
    order = an_order(a_user(store), node, an_image(store))
    instance_id = instances.deploy(store, order, origin=AT_NOON)[0]["_id"]
    if how == "running":
        Dying(memory_nodes, 6).carry_out(store)
        forget_leases(store)
    if how == "failed":
        here.faults.refuse()
        run_due(store, memory_nodes)
        here.faults.behave()
    keep(store, instance_id)
    run_due(store, memory_nodes)

    restored, operation = restore(store, instance_id)
    run_due(store, memory_nodes)

    instance = store.instances.get(instance_id)
    assert InstanceState.FAILED == restored["state"]
    assert (OperationKind.REINSTALL, OperationStatus.SUCCEEDED) == (
        operation["kind"],
        end_of(store, operation)[0],
    )
    assert (InstanceState.READY, Power.RUNNING) == (instance["state"], instance["power"])
    assert (Power.RUNNING, 128) == (
        here.containers[instance_id].power,
        promised(store, node)["memory_mib"],
    )


@pytest.mark.heavy
def test_a_change_that_was_under_way_is_given_up(store, memory_nodes, here, node, running):
    """Its ports and its size are given back, and the container is made as it was before."""
    order = {"memory_mib": 512, "ports": parse("80:9090"), "primary": "9090"}
    instance_changes.edit(store, running, order, origin=AT_NOON)
    Dying(memory_nodes, 14).carry_out(store)
    forget_leases(store)

    keep(store, running)
    meanwhile = promised(store, node)["memory_mib"]
    run_due(store, memory_nodes)
    _, operation = restore(store, running)
    run_due(store, memory_nodes)

    instance, spec = store.instances.get(running), here.containers[running].spec
    assert (128, [8080], 128) == (meanwhile, instance["ports"], promised(store, node)["memory_mib"])
    assert (OperationKind.UPDATE, 128, [8080]) == (
        operation["kind"],
        spec.memory_mib,
        [mapping.host for mapping in spec.ports],
    )
    assert (Power.RUNNING, ["world"]) == (here.containers[running].power, here.volumes[running])


@pytest.mark.heavy
def test_ports_that_are_taken_are_named(store, memory_nodes, here, running, make):
    """Then nothing is changed, and with others it is restored in a container that has these."""
    other = make(ports=parse("80:9090,81:9091"), primary="9090")
    keep(store, other)
    keep(store, running)
    make(ports=parse("1:8080,2:9090,3:9091"), primary="8080")

    with pytest.raises(PortTaken) as one:
        restore(store, running)
    with pytest.raises(PortTaken) as both:
        restore(store, other)
    still = store.deleted.get(running)["state"]
    restore(store, running, ports=parse("80:7070"))
    run_due(store, memory_nodes)

    assert {"ports": ["8080 is taken."]} == one.value.details
    assert {"ports": ["9090 is taken.", "9091 is taken."]} == both.value.details
    assert "Give others in `ports`." in one.value.message
    instance, container = store.instances.get(running), here.containers[running]
    assert (InstanceState.DELETED, [7070], "7070") == (
        still,
        instance["ports"],
        str(instance["primary_port"]),
    )
    assert ([7070], Power.RUNNING, ["world"]) == (
        [mapping.host for mapping in container.spec.ports],
        container.power,
        here.volumes[running],
    )


@pytest.mark.heavy
def test_ports_that_were_auto_are_found_anew(store, memory_nodes, here, make):
    """Those that are taken, with those that they follow; what is free stays."""
    ports = parse("80:auto,100-101:auto", may_be_auto=True)
    instance_id = make(ports=ports, primary=None)
    before = [pair["host"] for pair in store.instances.get(instance_id)["port_map"]]
    keep(store, instance_id)
    run_due(store, memory_nodes)
    make(ports=parse(f"1:{before[0]}"), primary=str(before[0]))

    restored, _ = restore(store, instance_id)
    run_due(store, memory_nodes)

    after = [pair["host"] for pair in restored["port_map"]]
    assert before[1:] == after[1:]
    assert (after[0], str(after[0])) == (restored["primary_port"], restored["primary"])
    assert after[0] not in before
    assert after == [mapping.host for mapping in here.containers[instance_id].spec.ports]


@pytest.mark.heavy
def test_too_few_free_ports(store, make, running):
    """It stays deleted where the node has none left."""
    instance_id = make(ports=parse("80:auto", may_be_auto=True), primary=None)
    keep(store, instance_id)
    make(ports=parse("1:20000,2:20001,3:20002,4:20003"), primary="20000")

    with pytest.raises(NoFreePorts):
        restore(store, instance_id)

    assert InstanceState.DELETED == store.deleted.get(instance_id)["state"]


def test_ports_that_are_none(store, running):
    """A primary port that is none of the ports is wrong, and nothing is changed."""
    keep(store, running)

    with pytest.raises(InvalidInput) as wrong:
        restore(store, running, primary="1")

    assert ["primary"] == [*wrong.value.details]
    assert InstanceState.DELETED == store.deleted.get(running)["state"]


@pytest.mark.heavy
def test_an_external_id_is_free_meanwhile(store, running, make):
    """Another instance may get it; then the first is not restored."""
    instance_changes.edit(store, running, {"external_id": "shop-1"}, origin=AT_NOON)
    keep(store, running)
    make(ports=parse("80:9090"), primary="9090", external_id="shop-1")

    with pytest.raises(Conflict) as taken:
        restore(store, running)

    assert ["externalId"] == [*taken.value.details]
    assert InstanceState.DELETED == store.deleted.get(running)["state"]


def test_what_is_not_deleted_is_not_restored(store, memory_nodes, running):
    """Neither what lives, nor what is being deleted or purged, nor what is gone."""
    with pytest.raises(NotRestorable):
        restore(store, running)
    keep(store, running)
    instances.delete(store, running, purges=True, origin=AT_NOON)
    with pytest.raises(NotRestorable) as purged:
        restore(store, running)
    run_due(store, memory_nodes)
    with pytest.raises(NotFound):
        restore(store, running)

    assert {"state": InstanceState.DELETING} == purged.value.details


def test_only_the_version_that_was_read_is_restored(store, running):
    """If-Match of another one changes nothing."""
    keep(store, running)

    with pytest.raises(PreconditionFailed):
        deletions.restore(
            store, running, {}, only_if=Precondition(frozenset({"1"})), origin=AT_NOON
        )

    assert InstanceState.DELETED == store.deleted.get(running)["state"]


def test_it_is_purged_in_time(store, memory_nodes, here, node, running):
    """Not before; then with container and files, and its place on the node is free."""
    keep(store, running)
    run_due(store, memory_nodes)

    early = purge_due(store, lambda: NOON + timedelta(hours=23))
    late = purge_due(store, lambda: NOON + timedelta(hours=24))
    again = purge_due(store, lambda: NOON + timedelta(hours=24))
    run_due(store, memory_nodes)

    assert (False, True, False) == (early, late, again)
    assert ({}, {}, []) == (here.containers, here.volumes, store.deleted.all())
    assert 0 == promised(store, node)["instances"] == promised(store, node)["memory_mib"]


@pytest.mark.heavy
def test_a_purge_that_fails_is_tried_again(store, memory_nodes, here, node, running):
    """As any deletion is, when its node is looked at."""
    keep(store, running)
    run_due(store, memory_nodes)
    here.faults.refuse()
    instances.delete(store, running, purges=True, origin=AT_NOON)
    run_due(store, memory_nodes)
    here.faults.behave()

    reconcile(store, memory_nodes, node, now=NOON + timedelta(hours=1))
    run_due(store, memory_nodes)

    assert ({}, []) == (here.containers, store.deleted.all())


def test_a_purge_by_force(store, memory_nodes, here, node, running):
    """It is forgotten at once, and removed when its node answers."""
    keep(store, running)

    instances.delete_by_force(store, running, purges=True, origin=AT_NOON)
    at_once = promised(store, node)["instances"], store.deleted.all()
    run_due(store, memory_nodes)

    assert (0, []) == at_once
    assert {} == here.containers


def test_a_deletion_without_a_time_does_not_find_it(store, running):
    """Unless it purges, it is unknown, as it is to all that changes instances."""
    keep(store, running)

    for change in (
        lambda: instances.delete(store, running, origin=AT_NOON),
        lambda: keep(store, running),
        lambda: instances.delete_by_force(store, running, origin=AT_NOON),
        lambda: instances.suspend(store, running, origin=AT_NOON),
        lambda: instances.unsuspend(store, running, origin=AT_NOON),
        lambda: instances.change_power(store, running, OperationKind.START, origin=AT_NOON),
        lambda: instance_changes.edit(store, running, {"name": "x"}, origin=AT_NOON),
        lambda: instance_changes.reinstall(store, running, keep_volume=True, origin=AT_NOON),
    ):
        with pytest.raises(NotFound):
            change()


def test_what_is_being_deleted_is_not_kept(store, running):
    """It goes on to be deleted."""
    first = instances.delete(store, running, origin=AT_NOON)

    assert first["_id"] == keep(store, running)["_id"]


def test_its_container_is_no_orphan(store, memory_nodes, here, node, running):
    """It is no difference of the node at all."""
    keep(store, running)
    run_due(store, memory_nodes)

    found = drift.find(store, memory_nodes, node["_id"])

    assert ([], [], [], []) == (found.orphans, found.missing, found.changed, found.deleting)


def test_what_runs_all_the_same_is_stopped(store, memory_nodes, here, node, running):
    """Somebody started its container on the node, or the node was started anew."""
    keep(store, running)
    run_due(store, memory_nodes)
    here.containers[running].start()

    reconcile(store, memory_nodes, node, now=NOON)
    run_due(store, memory_nodes)

    assert Power.STOPPED == here.containers[running].power


@pytest.mark.heavy
def test_a_container_that_is_gone_is_made_anew(store, memory_nodes, here, node, running):
    """Its files are still there."""
    keep(store, running)
    del here.containers[running]
    run_due(store, memory_nodes)

    _, operation = restore(store, running)
    run_due(store, memory_nodes)

    assert (OperationKind.UPDATE, Power.RUNNING) == (
        operation["kind"],
        here.containers[running].power,
    )


def test_its_operations_are_not_cancelled(store, running):
    """Restoring it is the way."""
    operation = keep(store, running)

    with pytest.raises(WrongStatus, match="Restore"):
        operations.cancel(store, operation["_id"], now=NOON)


@pytest.mark.heavy
def test_a_failed_stop_is_done_again(store, memory_nodes, here, running):
    """As long as it is deleted; not once it is restored."""
    operation = keep(store, running)
    here.faults.refuse()
    run_due(store, memory_nodes)
    here.faults.behave()

    again = operations.retry(store, operation["_id"], origin=AT_NOON)
    run_due(store, memory_nodes)
    stopped = here.containers[running].power
    restore(store, running)

    assert (OperationKind.KEEP, Power.STOPPED) == (again["kind"], stopped)
    with pytest.raises(WrongStatus):
        operations.retry(store, operation["_id"], origin=AT_NOON)


def test_its_node_its_image_and_its_owner_stay(store, memory_nodes, node, running):
    """Until it is purged, so that it can be restored; a node goes by force, and it with it."""
    instance = store.instances.get(running)
    keep(store, running)

    with pytest.raises(NodeNotEmpty):
        nodes.delete(store, node["_id"], now=NOON)
    with pytest.raises(ImageInUse):
        delete_image(store, instance["image_id"], now=NOON)
    with pytest.raises(UserNotEmpty) as owner:
        users.delete(store, instance["user_id"])

    assert "1 that are deleted" in str(owner.value.details)
    assert 1 == nodes.delete(store, node["_id"], force=True, now=NOON)
    assert [] == store.deleted.all()


def test_a_restored_instance_goes_on_from_its_revision(store, running):
    """So that no answer of before is taken for one of now."""
    before = store.instances.get(running)["revision"]
    keep(store, running)
    deleted = store.deleted.get(running)["revision"]

    restored, _ = restore(store, running)

    assert before < deleted < restored["revision"]
    assert not {"deleted_at", "purge_at", "kept"} & restored.keys()


@pytest.fixture
def elsewhere(store, memory_nodes):
    """Another node."""
    return a_node(store, memory_nodes, ram="1024M")["_id"]


def move(store, instance_id, node_id):
    """Take on its transfer to a node; answer the operation."""
    return transfers.begin(store, instance_id, node_id=node_id, origin=AT_NOON)[1]


@pytest.mark.heavy
def test_a_deletion_gives_up_a_transfer(store, memory_nodes, running, elsewhere, node):
    """What is held on the other node is free at once, and a restoration finds all as it was."""
    before = promised(store, node)
    transfer = move(store, running, elsewhere)

    keep(store, running)
    run_due(store, memory_nodes)

    assert (OperationStatus.SUPERSEDED, None) == end_of(store, transfer)
    assert {0} == {*store.nodes.get(elsewhere)["allocated"].values()}
    assert set() == store.occupancy.list_taken_ports(elsewhere)
    assert None is store.deleted.get(running)["arrival"]
    restore(store, running)
    run_due(store, memory_nodes)
    assert ["world"] == memory_nodes[node["_id"]].volumes[running]
    assert Power.RUNNING == memory_nodes[node["_id"]].containers[running].power
    assert before == promised(store, node)


@pytest.mark.slow
def test_what_a_transfer_made_is_removed_wherever_its_worker_died(
    store, memory_nodes, make, elsewhere, here
):
    """From the other node alone, where a deletion is kept; what is restored is as it was."""
    dies_at, seen, there = 0, 0, memory_nodes[elsewhere]
    while True:
        instance_id = make()
        move(store, instance_id, elsewhere)
        if not Dying(memory_nodes, dies_at).carry_out(store):
            break
        if store.instances.get(instance_id)["node_id"] != elsewhere:
            seen += len(there.containers)
            keep(store, instance_id)
            forget_leases(store)
            run_due(store, memory_nodes)
            assert ({}, {}) == (there.containers, there.volumes), dies_at
            assert {instance_id: ["world"]} == here.volumes, dies_at
            restore(store, instance_id)
            run_due(store, memory_nodes)
            assert Power.RUNNING == here.containers[instance_id].power, dies_at
        forget_leases(store)
        clear(store, memory_nodes, instance_id)
        dies_at += 1
    assert seen > 3


@pytest.mark.heavy
def test_a_transfer_under_way_ends_before_a_restoration(store, memory_nodes, running, elsewhere):
    """It would go on, with nothing held for it on the other node."""
    move(store, running, elsewhere)
    Dying(memory_nodes, 12).carry_out(store)
    keep(store, running)

    with pytest.raises(InstanceNotReady):
        restore(store, running)

    forget_leases(store)
    run_due(store, memory_nodes)
    restore(store, running)
    run_due(store, memory_nodes)
    assert Power.RUNNING == store.instances.get(running)["power"]


@pytest.mark.heavy
def test_what_a_transfer_started_ends_before_a_restoration(
    store, memory_nodes, running, elsewhere, node
):
    """Where its node does not answer, or refuses, the program may still run there."""
    there = memory_nodes[elsewhere]
    move(store, running, elsewhere)

    class Dropping:
        """The other node, which falls silent when the program is started, and then is deleted."""

        def __init__(self, opened):
            self._opened = opened

        def __getattr__(self, name):
            return getattr(self._opened, name)

        def power(self, *args, **options):
            self._opened.power(*args, **options)
            there.faults.silence()
            keep(store, running)
            raise NodeUnreachable(elsewhere, "silent")

    def open_driver(found, *, authorize):
        opened = memory_nodes(found, authorize=authorize)
        return Dropping(opened) if found["_id"] == elsewhere else opened

    run_due(store, open_driver)
    assert Power.RUNNING == there.containers[running].power
    with pytest.raises(InstanceNotReady):
        restore(store, running)

    there.faults.behave()
    there.faults.refuse()
    store.operations.retry_now_on_node(elsewhere)
    run_due(store, memory_nodes)
    assert Power.RUNNING == there.containers[running].power
    with pytest.raises(InstanceNotReady) as refusal:
        restore(store, running)

    there.faults.behave()
    removals = refusal.value.details["operations"]
    assert {OperationStatus.FAILED} == {store.operations.get(each)["status"] for each in removals}
    operations.retry(store, removals[0], origin=AT_NOON)
    run_due(store, memory_nodes)
    restore(store, running)
    run_due(store, memory_nodes)
    assert {} == there.containers
    assert Power.RUNNING == memory_nodes[node["_id"]].containers[running].power


@pytest.mark.heavy
def test_a_port_that_a_transfer_holds_is_taken(store, memory_nodes, running, elsewhere, node):
    """An instance on its way to the node gets it."""
    keep(store, running)
    run_due(store, memory_nodes)
    order = an_order(a_user(store), store.nodes.get(elsewhere), an_image(store))
    other = instances.deploy(store, order, origin=AT_NOON)[0]["_id"]
    run_due(store, memory_nodes)
    move(store, other, node["_id"])

    with pytest.raises(PortTaken):
        restore(store, running)

    assert store.deleted.find(running) is not None


@pytest.mark.heavy
def test_nothing_is_restored_of_a_suspended_user(store, memory_nodes, running):
    """It is once the user may run it again."""
    user_id = store.instances.get(running)["user_id"]
    keep(store, running)
    run_due(store, memory_nodes)
    suspensions.change_user(store, user_id, suspended=True, origin=AT_NOON)

    with pytest.raises(UserSuspended):
        restore(store, running)

    suspensions.change_user(store, user_id, suspended=False, origin=AT_NOON)
    restore(store, running)
    run_due(store, memory_nodes)
    assert Power.RUNNING == store.instances.get(running)["power"]


@pytest.mark.heavy
def test_what_was_kept_while_its_user_was_suspended_runs_again(store, memory_nodes, running):
    """A worker lets it run as it ran before, like all others of the user's."""
    user_id = store.instances.get(running)["user_id"]
    suspensions.change_user(store, user_id, suspended=True, origin=AT_NOON)
    align(store, user_id)
    run_due(store, memory_nodes)
    keep(store, running)
    run_due(store, memory_nodes)
    suspensions.change_user(store, user_id, suspended=False, origin=AT_NOON)
    align(store, user_id)

    restore(store, running)
    align(store, user_id)
    run_due(store, memory_nodes)

    restored = store.instances.get(running)
    assert (False, Power.RUNNING) == (restored["suspended"], restored["power"])


def align(store, user_id):
    """Bring all instances of the user in line."""
    assert user_id in store.suspensions.list_users()
    while found := suspensions.list_unaligned(store, user_id):
        for each in found:
            suspensions.align(store, each, now=NOON)


@pytest.mark.slow
@pytest.mark.parametrize("act", ["keep", "restore", "restore elsewhere", "purge"])
def test_whoever_takes_over_ends_what_was_begun(store, memory_nodes, here, make, act):
    """A worker may die at any of its calls and writes: another one comes to the same end."""
    dies_at, died = 0, True
    while died:
        instance_id = make()
        if act != "keep":
            keep(store, instance_id)
            run_due(store, memory_nodes)
        begin(store, act, instance_id)

        died = Dying(memory_nodes, dies_at).carry_out(store)
        forget_leases(store)
        run_due(store, memory_nodes)

        expect_after(store, here, instance_id, act, dies_at)
        clear(store, memory_nodes, instance_id)
        dies_at += 1
    assert dies_at > 10


def begin(store, act, instance_id):
    """Ask for it."""
    match act:
        case "keep":
            keep(store, instance_id)
        case "restore":
            restore(store, instance_id)
        case "restore elsewhere":
            restore(store, instance_id, ports=parse("80:9090"))
        case "purge":
            instances.delete(store, instance_id, purges=True, origin=AT_NOON)


def expect_after(store, here, instance_id, act, dies_at):
    """Find what was asked for."""
    if act == "purge":
        assert ({}, {}, []) == (here.containers, here.volumes, store.deleted.all()), dies_at
        return
    container = here.containers[instance_id]
    power = Power.STOPPED if act == "keep" else Power.RUNNING
    port = 9090 if act == "restore elsewhere" else 8080
    home = store.deleted if act == "keep" else store.instances
    assert (power, [port], ["world"]) == (
        container.power,
        [mapping.host for mapping in container.spec.ports],
        here.volumes[instance_id],
    ), dies_at
    held = [] if act == "keep" else [port]
    assert (power, held) == (
        home.get(instance_id)["power"],
        home.get(instance_id)["ports"],
    ), dies_at


def clear(store, memory_nodes, instance_id):
    """Remove what is left."""
    try:
        instances.delete(store, instance_id, purges=True, origin=AT_NOON)
    except NotFound:
        return
    run_due(store, memory_nodes)
