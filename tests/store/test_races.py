"""What many do at once, on the real database."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from service import images, instance_changes, instances, nodes, users
from service.errors import (
    CapacityExceeded,
    Conflict,
    ImageInUse,
    NodeNotEmpty,
    NotFound,
    PortTaken,
)
from service.model.lifecycle import OperationKind, Power
from service.model.ports import parse
from service.store import transactions
from tests.support import AT_NOON, NOON, a_node, a_user, an_image, an_order, eventually, run_due

pytestmark = pytest.mark.heavy

RACERS = 50
NEVER = NOON.replace(year=2999)
SUSPENSIONS = (instances.unsuspend, instances.suspend)


def race(work, *, racers=RACERS):
    """Do `work(number)` in as many threads at once; list what came out, exceptions included.

    No transaction is given up, on a machine that does more: how long one takes is no fact of these.
    """
    start = Barrier(racers)

    def run(number):
        start.wait()
        try:
            return work(number)
        except Exception as exc:  # noqa: BLE001 - what came out is the result
            return exc

    with (
        pytest.MonkeyPatch.context() as patch,
        ThreadPoolExecutor(racers) as threads,
    ):
        patch.setattr(transactions, "TIMEOUT_S", 120.0)
        return list(threads.map(run, range(racers)))


def kinds(outcomes):
    """Count the outcomes: done, or the name of the error."""
    names = [type(o).__name__ if isinstance(o, Exception) else "done" for o in outcomes]
    return {name: names.count(name) for name in names}


@pytest.fixture
def order(store, memory_nodes):
    """An order for an instance on a node that has room for ten of it."""
    node = a_node(store, memory_nodes, ram=f"{10 * 128}M")
    return an_order(a_user(store), node, an_image(store))


def test_different_users_are_all_added(store):
    """Nobody is lost when many are added at once."""
    outcomes = race(lambda n: a_user(store, username=f"user{n}"))

    assert ({"done": RACERS}, RACERS) == (kinds(outcomes), len(store.users.all()))


def test_one_email_is_added_once(store):
    """Of many with one e-mail address, in different letter cases, one is added."""
    outcomes = race(
        lambda n: users.create(
            store,
            username=f"user{n}",
            email="Ada@example.org" if n % 2 else "ada@example.org",
            password="secret",
            now=NOON,
        )
    )

    assert {"done": 1, "Conflict": RACERS - 1} == kinds(outcomes)


def test_one_port_is_given_once(store, memory_nodes, order):
    """Of many deploys for one host port one wins, and one container runs."""
    outcomes = race(lambda _: instances.deploy(store, order, origin=AT_NOON))
    run_due(store, memory_nodes)

    assert {"done": 1, PortTaken.__name__: RACERS - 1} == kinds(outcomes)
    assert 1 == len(memory_nodes[order["node_id"]].containers)


def test_whoever_lost_a_port_finds_its_holder(store, order):
    """Each that lost knows node and port, by which the one that won is found."""
    outcomes = race(lambda _: instances.deploy(store, order, origin=AT_NOON))

    [winner] = [done[0]["_id"] for done in outcomes if isinstance(done, tuple)]
    lost = [error for error in outcomes if isinstance(error, PortTaken)]
    holders = {store.instances.find_by_port(each.node_id, each.port)["_id"] for each in lost}
    assert (RACERS - 1, {winner}) == (len(lost), holders)


def test_memory_is_not_given_twice(store, order):
    """Deploys that together pass a node's memory stop exactly at it."""
    outcomes = race(
        lambda n: instances.deploy(
            store,
            {**order, "ports": parse(f"80:{9000 + n}"), "primary": 9000 + n},
            origin=AT_NOON,
        )
    )

    assert {"done": 10, CapacityExceeded.__name__: RACERS - 10} == kinds(outcomes)
    assert (1280, 10) == (
        store.nodes.get(order["node_id"])["allocated"]["memory_mib"],
        len(store.instances.all()),
    )


def test_a_node_is_not_deleted_under_a_deploy(store, order):
    """Either the deploy is refused, or the node stays: no instance is without its node."""

    def deploy_or_delete(number):
        if number % 2:
            return nodes.delete(store, order["node_id"], now=NOON)
        return instances.deploy(
            store,
            {**order, "ports": parse(f"80:{9000 + number}"), "primary": 9000 + number},
            origin=AT_NOON,
        )

    outcomes = race(deploy_or_delete, racers=10)

    unexpected = [
        o
        for o in outcomes
        if isinstance(o, Exception) and not isinstance(o, (NotFound, NodeNotEmpty))
    ]
    assert [] == unexpected
    assert (store.nodes.find(order["node_id"]) is None) == (store.instances.all() == [])


def test_deletes_of_one_instance_agree(store, memory_nodes, order):
    """Whoever deletes an instance at the same time gets the same operation."""
    instance, _ = instances.deploy(store, order, origin=AT_NOON)
    run_due(store, memory_nodes)

    outcomes = race(lambda _: instances.delete(store, instance["_id"], origin=AT_NOON), racers=10)

    assert 1 == len({operation["_id"] for operation in outcomes})


def test_suspend_unsuspend_and_delete_at_once_agree(store, memory_nodes, order, worker):
    """Whatever order they arrive in, nobody sees an error that is not about the deletion."""
    instance, _ = instances.deploy(store, order, origin=AT_NOON)

    def act(number):
        if number == 7:
            return instances.delete(store, instance["_id"], origin=AT_NOON)
        return SUSPENSIONS[number % 2](store, instance["_id"], origin=AT_NOON)

    outcomes = race(act, racers=12)
    run_due(store, memory_nodes)

    unexpected = [
        o for o in outcomes if isinstance(o, Exception) and not isinstance(o, (NotFound, Conflict))
    ]
    assert [] == unexpected


def test_a_user_is_not_deleted_under_a_deploy(store, order):
    """Either the deploy is refused, or the user stays: no instance is without its owner."""

    def deploy_or_delete(number):
        if number % 2:
            return users.delete(store, order["user_id"])
        return instances.deploy(
            store,
            {**order, "ports": parse(f"80:{9000 + number}"), "primary": 9000 + number},
            origin=AT_NOON,
        )

    outcomes = race(deploy_or_delete, racers=10)

    assert set(kinds(outcomes)) <= {"done", "InvalidInput", "NotFound", "UserNotEmpty"}
    assert (store.users.find(order["user_id"]) is None) == (store.instances.all() == [])


def test_cores_are_not_given_twice(store, memory_nodes):
    """Deploys that together pass a node's cores stop exactly at them."""
    node = a_node(store, memory_nodes, processor="4", cpu_overallocate=25)
    order = an_order(a_user(store), node, an_image(store), cpu_milli=1000)

    outcomes = race(
        lambda n: instances.deploy(
            store, {**order, "ports": parse(f"80:{9000 + n}"), "primary": 9000 + n}, origin=AT_NOON
        ),
        racers=20,
    )

    assert {"done": 5, CapacityExceeded.__name__: 15} == kinds(outcomes)


@pytest.mark.parametrize("acts", [*itertools.permutations(["suspend", "unsuspend", "delete"])])
def test_suspend_unsuspend_and_delete_converge(store, memory_nodes, order, worker, acts):
    """Begun in any order and done at once, they leave neither a document nor a container."""
    instance, _ = instances.deploy(store, order, origin=AT_NOON)
    here = memory_nodes[order["node_id"]]

    def act(number):
        return getattr(instances, acts[number])(store, instance["_id"], origin=AT_NOON)

    outcomes = race(act, racers=3)

    assert {"done", NotFound.__name__} >= kinds(outcomes).keys()
    assert eventually(lambda: store.instances.find(instance["_id"]) is None)
    assert ({}, 0) == (
        here.containers,
        store.nodes.get(order["node_id"])["allocated"]["instances"],
    )


def test_suspensions_at_once_agree_with_the_container(store, memory_nodes, order, worker):
    """Of many who suspend and unsuspend, the last that was written down is what happens."""
    instance, _ = instances.deploy(store, order, origin=AT_NOON)
    container = memory_nodes[order["node_id"]].containers

    race(lambda n: SUSPENSIONS[n % 2](store, instance["_id"], origin=AT_NOON), racers=10)

    assert eventually(lambda: not store.operations.list_touched(order["node_id"], NEVER))
    after = store.instances.get(instance["_id"])
    wanted = Power.STOPPED if after["suspended"] else Power.RUNNING
    assert (wanted, wanted) == (container[instance["_id"]].power, after["power"])


def test_one_operation_has_one_worker(store, order):
    """Of many who claim at the same moment one gets it."""
    instances.deploy(store, order, origin=AT_NOON)

    claimed = race(lambda n: store.claims.take(f"worker-{n}", lease_s=30), racers=20)

    assert 1 == len([operation for operation in claimed if operation])


@pytest.mark.parametrize("attempt", range(5))
def test_an_image_is_deleted_or_deployed(store, memory_nodes, attempt):
    """Never both: no instance is of an image that is gone."""
    image = an_image(store)
    order = an_order(a_user(store), a_node(store, memory_nodes), image)

    def work(number):
        if number == 5:
            return images.delete(store, image["_id"], now=NOON)
        mapping = parse(f"80:{9000 + number}")
        return instances.deploy(
            store, {**order, "ports": mapping, "primary": 9000 + number}, origin=AT_NOON
        )

    *deployed, deleted = race(work, racers=6)

    made = len(store.instances.all())
    assert made == kinds(deployed).get("done", 0)
    if isinstance(deleted, ImageInUse):
        assert made > 0
        assert store.images.find(image["_id"])
    else:
        assert (None, 0, {"NotFound": 5}) == (deleted, made, kinds(deployed))


def test_a_deploy_that_began_before_an_images_deletion_notices(store, memory_nodes, monkeypatch):
    """It read the image; when it writes, the image is gone."""
    image = an_image(store)
    order = an_order(a_user(store), a_node(store, memory_nodes), image)
    charge, deletions = store.users.charge, iter([image["_id"]])

    def delete_first(*args, **kwargs):
        for image_id in deletions:
            images.delete(store, image_id, now=NOON)
        return charge(*args, **kwargs)

    monkeypatch.setattr(store.users, "charge", delete_first)
    with pytest.raises(NotFound):
        instances.deploy(store, order, origin=AT_NOON)

    assert ([], []) == (store.instances.all(), store.images.all())


def test_a_deploy_that_begins_within_an_images_deletion_is_refused(
    store, memory_nodes, monkeypatch
):
    """The instances were counted already, and the image is still there."""
    image = an_image(store)
    order = an_order(a_user(store), a_node(store, memory_nodes), image)
    count, outcomes = store.instances.count_of_image, []

    def deploy_after(image_id, *, session):
        counted = count(image_id, session=session)
        try:
            instances.deploy(store, order, origin=AT_NOON)
        except NotFound as exc:
            outcomes.append(exc.code)
        return counted

    monkeypatch.setattr(store.instances, "count_of_image", deploy_after)
    images.delete(store, image["_id"], now=NOON)

    assert {"image_not_found"} == set(outcomes)
    assert ([], []) == (store.instances.all(), store.images.all())


def deploy_many(store, memory_nodes, order, count):
    """Deploy so many instances, each on a port of its own; answer their ids."""
    made = [
        instances.deploy(
            store,
            {**order, "ports": parse(f"80:{8000 + number}"), "primary": str(8000 + number)},
            origin=AT_NOON,
        )[0]["_id"]
        for number in range(count)
    ]
    run_due(store, memory_nodes)
    return made


@pytest.mark.parametrize("attempt", range(5))
def test_an_image_is_deleted_or_changed_to(store, memory_nodes, order, attempt):
    """Never both: no instance is, or is about to be, of an image that is gone."""
    image = an_image(store)
    made = deploy_many(store, memory_nodes, order, 5)

    def work(number):
        if number == 5:
            return images.delete(store, image["_id"], now=NOON)
        wish = {"image": image["_id"]}
        return instance_changes.edit(store, made[number], wish, origin=AT_NOON)

    *changed, deleted = race(work, racers=6)
    run_due(store, memory_nodes)

    is_there = store.images.find(image["_id"]) is not None
    users = [each for each in store.instances.all() if each["image_id"] == image["_id"]]
    assert (isinstance(deleted, ImageInUse), len(users)) == (
        is_there,
        kinds(changed).get("done", 0),
    )
    assert is_there == bool(users)


def test_an_image_that_a_change_under_way_needs_is_in_use(store, memory_nodes, order):
    """The instance has it when the change has ended."""
    [made] = deploy_many(store, memory_nodes, order, 1)
    image = an_image(store)
    instance_changes.edit(store, made, {"image": image["_id"]}, origin=AT_NOON)

    with pytest.raises(ImageInUse):
        images.delete(store, image["_id"], now=NOON)


def test_one_of_two_changes_gets_a_port(store, memory_nodes, order):
    """Two instances that want the same port: one has it, the other keeps all it had."""
    both = deploy_many(store, memory_nodes, order, 2)
    wish = {"ports": parse("80:9999"), "primary": "9999"}

    outcomes = race(lambda n: instance_changes.edit(store, both[n], wish, origin=AT_NOON), racers=2)
    run_due(store, memory_nodes)

    assert {"done": 1, "PortTaken": 1} == kinds(outcomes)
    held = [store.instances.get(instance_id)["ports"] for instance_id in both]
    loser = isinstance(outcomes[1], PortTaken)
    assert ([[9999], [8001]] if loser else [[8000], [9999]]) == held


def test_many_changes_never_pass_the_capacity(store, memory_nodes, order):
    """Fifty changes at once take no more than the node has, and give back what they do not get."""
    made = deploy_many(store, memory_nodes, order, 5)  # of ten that would fit

    outcomes = race(
        lambda n: instance_changes.edit(
            store, made[n % 5], {"memory_mib": 128 + 64 * (n // 5)}, origin=AT_NOON
        )
    )
    meanwhile = store.nodes.get(order["node_id"])["allocated"]["memory_mib"]
    run_due(store, memory_nodes)

    assert set(kinds(outcomes)) <= {"done", "CapacityExceeded"}
    after = store.nodes.get(order["node_id"])["allocated"]["memory_mib"]
    sizes = [store.instances.get(instance_id)["memory_mib"] for instance_id in made]
    assert sum(sizes) == after <= meanwhile <= 10 * 128
    containers = memory_nodes[order["node_id"]].containers
    assert sizes == [containers[instance_id].spec.memory_mib for instance_id in made]


@pytest.mark.parametrize("first", [0, 1])
def test_a_change_and_a_deletion(store, memory_nodes, order, first):
    """Whoever comes first, nothing is left of the instance, nor held for it."""
    [made] = deploy_many(store, memory_nodes, order, 1)
    wish = {"memory_mib": 256, "ports": parse("80:9999"), "primary": "9999"}
    works = [
        lambda: instance_changes.edit(store, made, wish, origin=AT_NOON),
        lambda: instances.delete(store, made, origin=AT_NOON),
    ]

    outcomes = race(lambda n: works[(n + first) % 2](), racers=2)
    run_due(store, memory_nodes)

    assert set(kinds(outcomes)) <= {"done", "NotFound"}
    assert store.instances.find(made) is None
    node = store.nodes.get(order["node_id"])
    assert {"instances": 0, "memory_mib": 0, "cpu_milli": 0, "disk_mib": 0} == node["allocated"]
    assert {} == memory_nodes[order["node_id"]].containers


def test_changes_and_wishes_at_once(store, memory_nodes, order):
    """Changes, stops and suspensions of one instance at once: documents and container agree."""
    [made] = deploy_many(store, memory_nodes, order, 1)
    works = [
        lambda n: instance_changes.edit(store, made, {"memory_mib": 64 + n}, origin=AT_NOON),
        lambda n: instances.change_power(store, made, OperationKind.STOP, origin=AT_NOON),
        lambda n: instances.suspend(store, made, origin=AT_NOON),
        lambda n: run_due(store, memory_nodes),
    ]

    race(lambda n: works[n % 4](n), racers=16)
    run_due(store, memory_nodes)

    instance = store.instances.get(made)
    container = memory_nodes[order["node_id"]].containers[made]
    node = store.nodes.get(order["node_id"])
    assert (instance["memory_mib"], Power.STOPPED) == (
        container.spec.memory_mib,
        container.power,
    )
    assert instance["memory_mib"] == node["allocated"]["memory_mib"]
