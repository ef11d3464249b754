"""How changes of instances are carried out, and undone, on nodes in memory and a real database."""

from datetime import timedelta

import pytest

from service import instance_changes, instances, operations, transfers
from service.errors import Conflict, InstanceNotReady, NotFound
from service.model.lifecycle import InstanceState, OperationKind, OperationStatus, Power
from service.model.ports import parse
from service.worker.carry_out import MAX_ATTEMPTS, carry_out
from service.worker.job import claim
from tests.support import AT_NOON, NOON, a_node, a_user, an_image, an_order, run_due


@pytest.fixture
def node(store, memory_nodes):
    """A node with memory for a few instances."""
    return a_node(store, memory_nodes, ram="1024M")


@pytest.fixture
def here(memory_nodes, node):
    """What the node runs."""
    return memory_nodes[node["_id"]]


@pytest.fixture
def waiting(store, node):
    """An instance that is not yet deployed."""
    order = an_order(a_user(store), node, an_image(store))
    return instances.deploy(store, order, origin=AT_NOON)[0]["_id"]


@pytest.fixture
def running(store, memory_nodes, waiting):
    """An instance that runs, with a file."""
    run_due(store, memory_nodes)
    node_id = store.instances.get(waiting)["node_id"]
    memory_nodes[node_id].volumes[waiting].append("world")
    return waiting


def edit(store, instance_id, **order):
    """Change the instance; answer the operation."""
    return instance_changes.edit(store, instance_id, order, origin=AT_NOON)[1]


def held(store, instance_id):
    """Return what the instance holds on its node: ports, memory, and the node's count of that."""
    instance = store.instances.get(instance_id)
    node = store.nodes.get(instance["node_id"])
    return instance["ports"], instance.get("reserved"), node["allocated"]["memory_mib"]


def end_of(store, operation):
    """Return how an operation ended."""
    latest = store.operations.get(operation["_id"])
    return latest["status"], latest["error"]


def test_the_new_container_has_the_new_size(store, memory_nodes, here, running):
    """What was asked for is what runs, and what the document says, with the files of before."""
    operation = edit(store, running, memory_mib=256, cpu_milli=2000)

    run_due(store, memory_nodes)

    container, instance = here.containers[running], store.instances.get(running)
    assert (OperationStatus.SUCCEEDED, None) == end_of(store, operation)
    assert (256, 2000, Power.RUNNING) == (
        container.spec.memory_mib,
        container.spec.cpu_milli,
        container.power,
    )
    assert (256, 2000, ["world"]) == (
        instance["memory_mib"],
        instance["cpu_milli"],
        here.volumes[running],
    )


def test_both_sizes_and_all_ports_are_held_meanwhile(store, memory_nodes, running):
    """Until it is known what becomes of a change, what either outcome needs is held."""
    edit(store, running, memory_mib=256, ports=parse("80:9090"), primary="9090")
    meanwhile = held(store, running)

    run_due(store, memory_nodes)

    assert ([8080, 9090], {"memory_mib": 256, "cpu_milli": 1000, "disk_mib": 0}, 256) == meanwhile
    assert ([9090], None, 256) == held(store, running)


def test_what_becomes_smaller_is_given_back_at_the_end(store, memory_nodes, running):
    """A smaller size is free for others only when the change has succeeded."""
    edit(store, running, memory_mib=64)
    meanwhile = held(store, running)

    run_due(store, memory_nodes)

    assert (128, 64) == (meanwhile[2], held(store, running)[2])


def spoil(here, image, how):
    """Have the node fail with an image."""
    {"broken": here.broken_images, "short-lived": here.short_lived_images}[how].add(image["image"])


@pytest.mark.heavy
@pytest.mark.parametrize("how", ["broken", "short-lived"])
def test_a_container_that_does_not_start_is_undone(store, memory_nodes, here, running, how):
    """The instance runs as before, and gives back what it held for the change."""
    before, image = store.instances.get(running), an_image(store)
    spoil(here, image, how)

    operation = edit(
        store, running, image=image["_id"], memory_mib=512, ports=parse("80:9,81:8080")
    )
    run_due(store, memory_nodes)

    after, container = store.instances.get(running), here.containers[running]
    status, error = end_of(store, operation)
    assert OperationStatus.FAILED == status
    assert "not found" in error or "ended as soon" in error
    counts = {name: after[name] for name in ("revision", "observations", "ready_at")}
    same = {**before, "reserved": None, "updated_at": NOON, **counts}
    assert same == after
    assert (before["image"], 128, Power.RUNNING) == (
        container.spec.image,
        container.spec.memory_mib,
        container.power,
    )
    assert (128, ["world"]) == (held(store, running)[2], here.volumes[running])


def test_a_pull_that_fails_stops_nothing(store, memory_nodes, here, running):
    """An image that cannot be fetched costs the running program not a moment."""
    here.pulls = True
    here.refused_pull = "no such image"
    operation = edit(store, running, memory_mib=256)

    run_due(store, memory_nodes)

    assert (OperationStatus.FAILED, "no such image") == end_of(store, operation)
    assert (1, Power.RUNNING) == (here.created, here.containers[running].power)
    assert ([8080], None, 128) == held(store, running)
    assert store.instances.get(running)["error"] is None


def test_errors_of_the_node_are_tried_again_before_the_undo(store, memory_nodes, here, running):
    """A node's own error is no verdict on the container, until it has come too often."""
    operation = edit(store, running, memory_mib=256)
    here.faults.fail_times(1)
    run_due(store, memory_nodes)
    assert OperationStatus.PENDING == store.operations.get(operation["_id"])["status"]

    store.operations.retry_now(operation["_id"])
    run_due(store, memory_nodes)

    assert (OperationStatus.SUCCEEDED, None) == (end_of(store, operation)[0], None)
    assert 256 == here.containers[running].spec.memory_mib


@pytest.mark.heavy
def test_an_undo_that_fails_is_tried_again(store, memory_nodes, here, running):
    """The undo has as many attempts as the change had."""
    image = an_image(store)
    spoil(here, image, "broken")
    operation = edit(store, running, image=image["_id"])
    run_one(store, memory_nodes)  # the change, which fails
    for _ in range(MAX_ATTEMPTS - 1):
        here.faults.fail_times(1)
        run_one(store, memory_nodes)
        store.operations.retry_now(operation["_id"])

    run_due(store, memory_nodes)

    assert OperationStatus.FAILED == end_of(store, operation)[0]
    assert Power.RUNNING == here.containers[running].power


@pytest.mark.heavy
def test_an_undo_that_is_impossible_says_both_reasons(store, memory_nodes, here, running):
    """Where what was there before cannot be made again, the instance says why it does not run."""
    image = an_image(store)
    spoil(here, image, "broken")
    operation = edit(store, running, image=image["_id"], memory_mib=512)
    run_one(store, memory_nodes)
    here.broken_images.add(store.instances.get(running)["image"])

    run_due(store, memory_nodes)

    status, error = end_of(store, operation)
    assert (OperationStatus.FAILED, 2) == (status, error.count("not found on the registry"))
    assert error == store.instances.get(running)["error"]
    assert (None, 128) == held(store, running)[1:]


def test_a_port_that_is_in_use_for_a_moment_delays_the_change(store, memory_nodes, here, running):
    """A connection may have taken it while the program was stopped: its end is waited for."""
    here.held_ports = {8080}
    operation = edit(store, running, memory_mib=256)
    run_due(store, memory_nodes)
    latest = store.operations.get(operation["_id"])
    assert OperationStatus.PENDING == latest["status"]
    assert "Host port 8080 is in use" in latest["error"]

    here.held_ports = set()
    store.operations.retry_now(operation["_id"])
    run_due(store, memory_nodes)

    assert OperationStatus.SUCCEEDED == end_of(store, operation)[0]
    container = here.containers[running]
    assert (256, Power.RUNNING) == (container.spec.memory_mib, container.power)


@pytest.mark.heavy
def test_a_port_that_is_in_use_for_a_moment_delays_the_undo(store, memory_nodes, here, running):
    """What was there before runs again as soon as its port is free."""
    image = an_image(store)
    spoil(here, image, "broken")
    operation = edit(store, running, image=image["_id"])
    run_one(store, memory_nodes)  # the change, which fails
    here.held_ports = {8080}
    run_due(store, memory_nodes)
    assert Power.STOPPED == here.containers[running].power

    here.held_ports = set()
    store.operations.retry_now(operation["_id"])
    run_due(store, memory_nodes)

    assert OperationStatus.FAILED == end_of(store, operation)[0]
    assert Power.RUNNING == here.containers[running].power


@pytest.mark.heavy
def test_a_port_that_stays_in_use_is_not_waited_for_for_ever(store, memory_nodes, here, running):
    """The change is undone after as many attempts as an error of the node has."""
    here.held_ports = {9090}
    operation = edit(store, running, ports=parse("80:9090"), primary="9090")
    for _ in range(MAX_ATTEMPTS):
        run_one(store, memory_nodes)
        store.operations.retry_now(operation["_id"])

    run_due(store, memory_nodes)

    status, error = end_of(store, operation)
    assert (OperationStatus.FAILED, True) == (status, "Host port 9090 is in use" in error)
    assert Power.RUNNING == here.containers[running].power
    assert [8080] == held(store, running)[0]


def run_one(store, memory_nodes):
    """Carry out the operation that is due."""
    job = claim(store, store.claims.look(), node_operations=4, lease_s=30.0, now=lambda: NOON)
    carry_out(job, memory_nodes)


@pytest.mark.heavy
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("stop", ["suspend", "stop"])
def test_what_is_stopped_stays_stopped(store, memory_nodes, here, running, stop, fails):
    """A change starts nothing, neither when it succeeds nor when it is undone."""
    if stop == "suspend":
        instances.suspend(store, running, origin=AT_NOON)
    else:
        instances.change_power(store, running, OperationKind.STOP, origin=AT_NOON)
    run_due(store, memory_nodes)
    image = an_image(store)
    if fails:
        spoil(here, image, "broken")

    operation = edit(store, running, image=image["_id"])
    run_due(store, memory_nodes)

    wanted = OperationStatus.FAILED if fails else OperationStatus.SUCCEEDED
    assert (wanted, Power.STOPPED) == (
        end_of(store, operation)[0],
        here.containers[running].power,
    )
    assert Power.STOPPED == store.instances.get(running)["power"]


WISHES = {
    "suspend": (instances.suspend, Power.STOPPED),
    "stop": (OperationKind.STOP, Power.STOPPED),
    "kill": (OperationKind.KILL, Power.STOPPED),
    "restart": (OperationKind.RESTART, Power.RUNNING),
}


def ask(store, instance_id, name):
    """Ask for another power."""
    what, power = WISHES[name]
    if callable(what) and not isinstance(what, OperationKind):
        what(store, instance_id, origin=AT_NOON)
    else:
        instances.change_power(store, instance_id, what, origin=AT_NOON)
    return power


@pytest.mark.parametrize("name", WISHES)
def test_wishes_for_the_power_are_granted_by_the_change(store, memory_nodes, here, running, name):
    """Whoever stops an instance that waits for its change finds it changed, and stopped."""
    edit(store, running, memory_mib=256)
    power = ask(store, running, name)

    run_due(store, memory_nodes)

    container = here.containers[running]
    assert (256, power) == (container.spec.memory_mib, container.power)
    done = store.operations.list_newest({"instance_id": running}, limit=9)
    assert {OperationKind.UPDATE, OperationKind.DEPLOY} == {each["kind"] for each in done}


@pytest.mark.parametrize("name", WISHES)
def test_a_change_that_is_cancelled_leaves_the_wishes(store, memory_nodes, here, running, name):
    """What was wished of a change that never began is done all the same."""
    operation = edit(store, running, memory_mib=256)
    power = ask(store, running, name)
    operations.cancel(store, operation["_id"], now=NOON)

    run_due(store, memory_nodes)

    container = here.containers[running]
    assert (128, power) == (container.spec.memory_mib, container.power)
    assert ([8080], None, 128) == held(store, running)


def test_a_wish_that_waited_is_kept(store, memory_nodes, here, running):
    """A change takes the place of a stop that waits, and ends with a stopped container."""
    instances.change_power(store, running, OperationKind.STOP, origin=AT_NOON)
    edit(store, running, memory_mib=256)

    run_due(store, memory_nodes)

    container = here.containers[running]
    assert (256, Power.STOPPED) == (container.spec.memory_mib, container.power)


@pytest.mark.heavy
@pytest.mark.parametrize("by", ["change", "transfer"])
@pytest.mark.parametrize(
    ("kind", "power"),
    [
        (OperationKind.START, Power.RUNNING),
        (OperationKind.RESTART, Power.RUNNING),
        (OperationKind.STOP, Power.STOPPED),
    ],
)
def test_a_wish_that_was_to_be_tried_again_is_kept(
    store, memory_nodes, here, running, by, kind, power
):
    """What was added while it was tried takes its place."""
    target = a_node(store, memory_nodes, ram="1024M")["_id"]
    if kind == OperationKind.START:
        instances.change_power(store, running, OperationKind.STOP, origin=AT_NOON)
        run_due(store, memory_nodes)
    wish = instances.change_power(store, running, kind, origin=AT_NOON)[1]
    job = claim(store, store.claims.look(), node_operations=4, lease_s=30, now=lambda: NOON)
    if by == "change":
        edit(store, running, memory_mib=256)
    else:
        transfers.begin(store, running, node_id=target, origin=AT_NOON)
    if kind == OperationKind.RESTART:  # it fails between the two
        here.containers[running].power = Power.STOPPED
    here.faults.fail_times(1)
    carry_out(job, memory_nodes)

    run_due(store, memory_nodes)

    instance = store.instances.get(running)
    assert OperationStatus.SUPERSEDED == end_of(store, wish)[0]
    assert power == instance["power"]
    assert (256 if by == "change" else 128, target if by == "transfer" else here.node_id) == (
        instance["memory_mib"],
        instance["node_id"],
    )


@pytest.mark.heavy
def test_a_later_wish_counts_for_one_that_was_to_be_tried_again(store, memory_nodes, here, running):
    """The change was told to stop it since."""
    instances.change_power(store, running, OperationKind.RESTART, origin=AT_NOON)
    job = claim(store, store.claims.look(), node_operations=4, lease_s=30, now=lambda: NOON)
    edit(store, running, memory_mib=256)
    instances.change_power(store, running, OperationKind.STOP, origin=AT_NOON)
    here.faults.fail_times(1)
    carry_out(job, memory_nodes)

    run_due(store, memory_nodes)

    assert Power.STOPPED == store.instances.get(running)["power"]


def test_what_crashed_is_started_by_a_change(store, memory_nodes, here, running):
    """A program that ended by itself was to run: the change that mends it starts it."""
    here.containers[running].reason = "It ended with exit code 1."
    here.containers[running].power = Power.STOPPED
    edit(store, running, memory_mib=256)

    run_due(store, memory_nodes)

    assert Power.RUNNING == here.containers[running].power


@pytest.mark.heavy
def test_a_later_change_makes_both(store, memory_nodes, here, running):
    """Two changes that wait are made at once, by the later operation."""
    first = edit(store, running, memory_mib=256, ports=parse("80:9090"), primary="9090")
    second = edit(store, running, cpu_milli=2000)

    run_due(store, memory_nodes)

    spec = here.containers[running].spec
    assert (256, 2000, 9090) == (spec.memory_mib, spec.cpu_milli, spec.primary.host)
    assert [OperationStatus.SUPERSEDED, OperationStatus.SUCCEEDED] == [
        end_of(store, each)[0] for each in (first, second)
    ]
    assert ([9090], None, 256) == held(store, running)


@pytest.mark.heavy
def test_a_later_change_waits_for_one_that_runs(store, memory_nodes, here, running):
    """A change behind one that runs is made on what that leaves, and both are held for."""
    first = edit(store, running, memory_mib=256)
    taken = store.claims.take("a worker", lease_s=-1)
    second = edit(store, running, memory_mib=64, ports=parse("80:9090"), primary="9090")
    meanwhile = held(store, running)

    run_due(store, memory_nodes)  # the first one's worker is gone by now

    assert first["_id"] == taken["_id"]
    assert ([8080, 9090], {"memory_mib": 256, "cpu_milli": 1000, "disk_mib": 0}, 256) == meanwhile
    assert [OperationStatus.SUCCEEDED] * 2 == [end_of(store, each)[0] for each in (first, second)]
    assert 64 == here.containers[running].spec.memory_mib
    assert ([9090], None, 64) == held(store, running)


@pytest.mark.heavy
def test_a_later_change_outlives_one_that_fails(store, memory_nodes, here, running):
    """What is wrong with one change is not wrong with the next."""
    image = an_image(store)
    spoil(here, image, "broken")
    first = edit(store, running, image=image["_id"])
    store.claims.take("a worker", lease_s=-1)
    second = edit(store, running, memory_mib=256)

    run_due(store, memory_nodes)

    spec, before = here.containers[running].spec, store.instances.get(running)
    assert OperationStatus.SUCCEEDED == end_of(store, second)[0]
    assert OperationStatus.SUPERSEDED == end_of(store, first)[0]
    assert (256, before["image"]) == (spec.memory_mib, spec.image)
    assert image["image"] != spec.image


@pytest.mark.heavy
def test_a_change_in_the_middle_is_taken_over_by_a_later_one(store, memory_nodes, here, running):
    """Where the container of before is gone already, the later change knows that, and undoes."""
    image = an_image(store)
    spoil(here, image, "broken")
    edit(store, running, memory_mib=256)
    take_away(store, memory_nodes, here, running)
    here.faults.fail_times(1)
    second = edit(store, running, image=image["_id"])

    for _ in range(3):
        run_due(store, memory_nodes)
        store.operations.retry_now_on_node(here.node_id)

    assert OperationStatus.FAILED == end_of(store, second)[0]
    assert (128, Power.RUNNING) == (
        here.containers[running].spec.memory_mib,
        here.containers[running].power,
    )


def take_away(store, memory_nodes, here, instance_id):
    """Have a worker die when it has removed the container, and has made no other."""
    dies_at = 0
    while instance_id in here.containers:
        Dying(memory_nodes, dies_at).carry_out(store)
        forget_leases(store)
        dies_at += 1


@pytest.mark.parametrize("claimed", [False, True])
def test_a_deletion_ends_a_change(store, memory_nodes, here, running, claimed):
    """A deletion supersedes a change, whether that waits or runs, and gives everything back."""
    operation = edit(store, running, memory_mib=256, ports=parse("80:9090"), primary="9090")
    if claimed:
        store.claims.take("a worker", lease_s=-1)
    instances.delete(store, running, origin=AT_NOON)

    run_due(store, memory_nodes)

    allocated = store.nodes.get(here.node_id)["allocated"]
    assert OperationStatus.SUPERSEDED == end_of(store, operation)[0]
    assert ({}, {}) == (here.containers, here.volumes)
    assert {"instances": 0, "memory_mib": 0, "cpu_milli": 0, "disk_mib": 0} == allocated


def test_what_is_forgotten_in_the_middle_is_cleaned_up(store, memory_nodes, here, running):
    """A change that runs on for an instance that is gone leaves no container."""
    edit(store, running, memory_mib=256)
    store.claims.take("a worker", lease_s=-1)
    instances.delete_by_force(store, running, origin=AT_NOON)

    run_due(store, memory_nodes)

    assert {} == here.containers


def test_what_is_being_installed_is_not_changed(store, waiting):
    """An instance that has no container yet is not changed, but for its name."""
    with pytest.raises(InstanceNotReady):
        edit(store, waiting, memory_mib=256)

    assert edit(store, waiting, name="another") is None
    assert "another" == store.instances.get(waiting)["name"]


def test_what_is_being_deleted_is_unknown(store, running):
    """An instance on its way out cannot be changed."""
    instances.delete(store, running, origin=AT_NOON)

    with pytest.raises(NotFound):
        edit(store, running, name="another")


@pytest.mark.heavy
def test_what_failed_is_ready_after_a_change(store, memory_nodes, here, waiting):
    """A deployment that failed for its image succeeds with another one, without a new order."""
    here.broken_images.add(store.instances.get(waiting)["image"])
    run_due_again(store, memory_nodes, here)
    failed = store.instances.get(waiting)
    edit(store, waiting, image=an_image(store)["_id"])

    run_due(store, memory_nodes)

    after = store.instances.get(waiting)
    assert (InstanceState.FAILED, InstanceState.READY) == (failed["state"], after["state"])
    assert (None, Power.RUNNING) == (after["error"], here.containers[waiting].power)


@pytest.mark.heavy
def test_what_failed_stays_so_where_the_change_fails(store, memory_nodes, here, waiting):
    """A change that fails leaves what it found: here, nothing."""
    here.broken_images.add(store.instances.get(waiting)["image"])
    run_due_again(store, memory_nodes, here)
    failed = store.instances.get(waiting)
    edit(store, waiting, memory_mib=256)

    run_due_again(store, memory_nodes, here)

    after = store.instances.get(waiting)
    assert (InstanceState.FAILED, failed["error"]) == (after["state"], after["error"])
    assert ({}, 128) == (here.containers, held(store, waiting)[2])


def run_due_again(store, memory_nodes, here):
    """Work until nothing is left to do, however often something is tried."""
    for _ in range(2 * MAX_ATTEMPTS):
        run_due(store, memory_nodes)
        store.operations.retry_now_on_node(here.node_id)


@pytest.mark.heavy
def test_a_change_in_the_middle_is_cancelled_by_undoing(store, memory_nodes, here, running):
    """A change that has begun ends cancelled when what was there before runs again."""
    operation = edit(store, running, memory_mib=256)
    take_away(store, memory_nodes, here, running)

    operations.cancel(store, operation["_id"], now=NOON)
    run_due(store, memory_nodes)

    assert (OperationStatus.CANCELLED, operations.CANCELLED) == end_of(store, operation)
    assert (128, Power.RUNNING) == (
        here.containers[running].spec.memory_mib,
        here.containers[running].power,
    )


@pytest.mark.heavy
def test_a_failed_change_can_be_tried_again(store, memory_nodes, here, running):
    """The retry of a change reserves anew what it needs."""
    image = an_image(store)
    spoil(here, image, "broken")
    operation = edit(store, running, image=image["_id"], memory_mib=256)
    run_due(store, memory_nodes)
    here.broken_images.clear()

    again = operations.retry(store, operation["_id"], origin=AT_NOON)
    run_due(store, memory_nodes)

    assert OperationStatus.SUCCEEDED == end_of(store, again)[0]
    assert (256, None) == (held(store, running)[2], held(store, running)[1])


def test_a_port_of_an_open_change_is_taken(store, memory_nodes, node, running):
    """Neither the ports of before nor those of after are anybody else's meanwhile."""
    edit(store, running, ports=parse("80:9090"), primary="9090")
    other = an_order(a_user(store), node, an_image(store), ports=parse("80:9090"), primary="9090")

    with pytest.raises(Conflict):
        instances.deploy(store, other, origin=AT_NOON)


def test_more_than_the_node_has_is_refused(store, node, running):
    """Nothing is changed when the node has no room for the difference."""
    before = store.instances.get(running)

    with pytest.raises(Conflict):
        edit(store, running, memory_mib=2048, name="another")

    assert before == store.instances.get(running)
    assert 128 == store.nodes.get(node["_id"])["allocated"]["memory_mib"]


def test_an_owner_takes_the_operations_along(store, memory_nodes, running):
    """Who gets an instance sees what was done with it."""
    owner = a_user(store)

    assert edit(store, running, user_id=owner["_id"]) is None

    latest = store.operations.find_latest(running)
    assert [owner["_id"]] * 2 == [store.instances.get(running)["user_id"], latest["user_id"]]


@pytest.mark.parametrize(("keep", "files"), [(True, ["world"]), (False, [])])
def test_a_reinstallation_keeps_files_or_not(store, memory_nodes, here, running, keep, files):
    """The image's files are fetched again; the others go only when that is asked for."""
    _, operation = instance_changes.reinstall(store, running, keep_volume=keep, origin=AT_NOON)

    run_due(store, memory_nodes)

    assert OperationStatus.SUCCEEDED == end_of(store, operation)[0]
    assert (files, Power.RUNNING) == (here.volumes[running], here.containers[running].power)


@pytest.mark.heavy
def test_only_a_reinstallation_fetches_the_files(store, memory_nodes, here):
    """An update runs no install scripts, which would write over what players built."""
    script = {"Uri": "https://example.org/a.jar", "Path": "a.jar"}
    image = an_image(store, scripts={"Install": [script]})
    order = an_order(a_user(store), store.nodes.get(here.node_id), image)
    instance_id = instances.deploy(store, order, origin=AT_NOON)[0]["_id"]
    run_due(store, memory_nodes)
    edit(store, instance_id, memory_mib=256)
    run_due(store, memory_nodes)
    updated = here.containers[instance_id].spec.install

    instance_changes.reinstall(store, instance_id, keep_volume=True, origin=AT_NOON)
    run_due(store, memory_nodes)

    assert ((), 1) == (updated, len(here.containers[instance_id].spec.install))


class Died(BaseException):
    """A worker is gone, in the middle of a line."""


class Dying:
    """A worker that dies at one of its calls of the node, or before one of its writes."""

    def __init__(self, open_driver, dies_at):
        self._open_driver = open_driver
        self.left = dies_at

    def pass_by(self):
        """Go on, or die here."""
        if self.left == 0:
            raise Died
        self.left -= 1

    def __call__(self, node, /, *, authorize):
        """Open the node; each call of it may be the last, before or after it is done."""
        opened = self._open_driver(node, authorize=authorize)
        for name in ("pull", "create", "status", "power", "discard", "remove", "logs"):
            setattr(opened, name, self._guard(getattr(opened, name)))
        return opened

    def carry_out(self, store):
        """Carry out what is due until it dies. False when nothing is left to do before that."""
        while job := claim(
            store, store.claims.look(), node_operations=4, lease_s=30.0, now=lambda: NOON
        ):
            job.check_lease = self._guard(job.check_lease)
            try:
                carry_out(job, self)
            except Died:
                return True
        return False

    def _guard(self, call):
        def watched(*args, **options):
            self.pass_by()
            done = call(*args, **options)
            self.pass_by()
            return done

        return watched


def forget_leases(store):
    """Let the leases of the dead run out."""
    store.operations._collection.update_many(
        {"status": "running"}, {"$set": {"lease.until": NOON - timedelta(days=1)}}
    )


@pytest.mark.slow
@pytest.mark.parametrize("how", ["good", "broken", "short-lived"])
def test_whoever_takes_over_ends_what_was_begun(store, memory_nodes, here, running, how):
    """A worker may die at any of its calls and writes: another one comes to the same end."""
    before = store.instances.get(running)
    died = True
    dies_at = 0
    while died:
        image = an_image(store)
        if how != "good":
            spoil(here, image, how)
        size = 200 + dies_at
        operation = edit(store, running, image=image["_id"], memory_mib=size)
        died = Dying(memory_nodes, dies_at).carry_out(store)
        forget_leases(store)
        run_due(store, memory_nodes)

        good = how == "good"
        container, instance = here.containers[running], store.instances.get(running)
        wanted = (size, image["image"]) if good else (128, before["image"])
        ended = OperationStatus.SUCCEEDED if good else OperationStatus.FAILED
        assert ended == end_of(store, operation)[0], dies_at
        assert (*wanted, Power.RUNNING) == (
            container.spec.memory_mib,
            container.spec.image,
            container.power,
        ), dies_at
        assert wanted == (instance["memory_mib"], instance["image"]), dies_at
        assert (["world"], [8080], None, wanted[0]) == (
            here.volumes[running],
            *held(store, running),
        ), dies_at
        dies_at += 1
    assert dies_at > 20
