"""What is counted of users: nobody passes a quota, and every path counts what it changes."""

import pytest

from service import adoption, deletions, instance_changes, instances, nodes, users
from service.errors import NotFound, QuotaExceeded
from service.model.documents import new_amounts
from service.model.ports import parse
from service.model.quotas import used_of
from service.store.quotas import find_refusal, leaves_room
from tests.store.test_races import kinds, race
from tests.support import AT_NOON, NOON, a_node, a_user, an_image, an_order, free_port, run_due


@pytest.fixture
def place(store, memory_nodes):
    """A user, a node without limits, and an image."""
    return a_user(store), a_node(store, memory_nodes, ram="plenty"), an_image(store)


@pytest.fixture
def deploy(store, place):
    """Deploy an instance on a port of its own."""

    def deploy(**over):
        port = free_port()
        order = an_order(*place, ports=parse(f"80:{port}"), primary=str(port), **over)
        return instances.deploy(store, order, origin=AT_NOON)[0]

    return deploy


@pytest.fixture
def used(store, place):
    """Read what is counted of the user, who has nothing counted that is not there."""

    def used(user_id=place[0]["_id"]):
        miscounted = store.transaction(
            lambda session: store.quotas.list_miscounted(session=session)
        )
        assert [] == miscounted
        return used_of(store.users.get(user_id))

    return used


@pytest.fixture
def limit(store, place):
    """Give the user a quota."""
    return lambda **quota: users.edit(store, place[0]["_id"], {"quota": quota}, now=NOON)


def an_amount(**over):
    """Make what one instance of an order is promised."""
    return {**new_amounts(), "instances": 1, "memory_mib": 128, "cpu_milli": 1000, "ports": 1,
            **over}  # fmt: skip


def test_a_deploy_and_a_deletion_are_counted(store, memory_nodes, deploy, used):
    """
    What is promised is counted at once, and given back when the instance is gone.
    """
    instance = deploy(disk_gb=1.1)
    promised = used()
    instances.delete(store, instance["_id"], origin=AT_NOON)
    going = used()
    run_due(store, memory_nodes)

    assert (an_amount(disk_mb=1100), promised) == (promised, going)
    assert new_amounts() == used()


@pytest.mark.heavy
def test_what_is_kept_is_counted_but_for_its_ports(store, memory_nodes, deploy, used):
    """
    And with them again once it is restored; nothing is left of it when it is purged.
    """
    instance_id = deploy(disk_gb=1.1)["_id"]
    run_due(store, memory_nodes)

    instances.delete(store, instance_id, keep_s=60, origin=AT_NOON)
    kept = used()
    deletions.restore(store, instance_id, {}, origin=AT_NOON)
    restored = used()
    instances.delete(store, instance_id, keep_s=60, origin=AT_NOON)
    instances.delete(store, instance_id, purges=True, origin=AT_NOON)
    purging = used()
    run_due(store, memory_nodes)

    whole = an_amount(disk_mb=1100)
    assert ({**whole, "ports": 0}, whole, {**whole, "ports": 0}) == (kept, restored, purging)
    assert new_amounts() == used()


def test_what_is_kept_during_a_change_is_counted_as_it_was(store, memory_nodes, deploy, used):
    """
    The change is given up with what it held.
    """
    instance_id = deploy()["_id"]
    run_due(store, memory_nodes)
    instance_changes.edit(store, instance_id, {"memory_mib": 512}, origin=AT_NOON)

    instances.delete(store, instance_id, keep_s=60, origin=AT_NOON)

    assert an_amount(ports=0) == used()


@pytest.mark.parametrize("goes_with", ["itself", "its node"])
def test_what_is_kept_is_given_back_once_by_force(store, place, deploy, used, goes_with):
    """
    Its ports were given back before.
    """
    instance_id = deploy()["_id"]
    instances.delete(store, instance_id, keep_s=60, origin=AT_NOON)

    if goes_with == "itself":
        instances.delete_by_force(store, instance_id, purges=True, origin=AT_NOON)
    else:
        nodes.delete(store, place[1]["_id"], force=True, now=NOON)

    assert new_amounts() == used()


def test_what_is_kept_is_counted_anew(store, place, deploy, used):
    """
    By the same rule: without its ports.
    """
    user_id = place[0]["_id"]
    instances.delete(store, deploy()["_id"], keep_s=60, origin=AT_NOON)
    amounts = an_amount()
    store.transaction(lambda session: store.users.adjust(user_id, amounts, session=session))

    store.transaction(lambda session: store.quotas.recount(user_id, session=session))

    assert an_amount(ports=0) == used()


def test_a_restoration_passes_no_quota(store, memory_nodes, deploy, limit, used):
    """
    Of ports, which others of the user's may have by then. It stays as it was.
    """
    limit(ports=1)
    instance_id = deploy()["_id"]
    run_due(store, memory_nodes)
    instances.delete(store, instance_id, keep_s=60, origin=AT_NOON)
    deploy()

    with pytest.raises(QuotaExceeded):
        deletions.restore(store, instance_id, {}, origin=AT_NOON)

    assert store.deleted.find(instance_id) is not None
    assert an_amount(instances=2, memory_mib=256, cpu_milli=2000) == used()


def test_what_is_deleted_by_force_is_given_back(store, deploy, used):
    """
    Without waiting for its node.
    """
    instance = deploy()

    instances.delete_by_force(store, instance["_id"], origin=AT_NOON)

    assert new_amounts() == used()


def test_what_goes_with_its_node_is_given_back(store, place, deploy, used):
    """
    Of all users whose instances were on it.
    """
    other = a_user(store)
    deploy(user_id=other["_id"]), deploy(), deploy()

    nodes.delete(store, place[1]["_id"], force=True, now=NOON)

    assert [new_amounts()] * 2 == [used(), used(other["_id"])]


def test_a_change_is_counted_as_both_until_it_has_ended(store, memory_nodes, deploy, used):
    """
    What suffices for before and for after; then what it became.
    """
    instance = deploy()
    run_due(store, memory_nodes)
    ports = parse(f"80:{free_port()},81:{free_port()}")

    order = {"memory_mib": 64, "cpu_milli": 1500, "ports": ports, "primary": str(ports[0].host)}
    instance_changes.edit(store, instance["_id"], order, origin=AT_NOON)
    meanwhile = used()
    run_due(store, memory_nodes)

    assert an_amount(cpu_milli=1500, ports=3) == meanwhile
    assert an_amount(memory_mib=64, cpu_milli=1500, ports=2) == used()


@pytest.mark.heavy
def test_a_change_that_fails_gives_back_what_it_held(store, memory_nodes, place, deploy, used):
    """
    What was there before is counted again.
    """
    instance = deploy()
    run_due(store, memory_nodes)
    image = an_image(store)
    memory_nodes[place[1]["_id"]].broken_images.add(image["image"])

    order = {"memory_mib": 256, "image": image["_id"]}
    instance_changes.edit(store, instance["_id"], order, origin=AT_NOON)
    held = used()
    run_due(store, memory_nodes)

    assert (256, 128) == (
        held["memory_mib"],
        store.instances.get(instance["_id"])["memory_mib"],
    )
    assert an_amount() == used()


def test_another_owner_has_it_counted(store, deploy, used):
    """
    With what is changed in the same request; the one of before has nothing.
    """
    instance, other = deploy(), a_user(store)
    store.instances.change(instance["_id"], {"state": "READY"})

    order = {"user_id": other["_id"], "memory_mib": 256}
    instance_changes.edit(store, instance["_id"], order, origin=AT_NOON)

    assert new_amounts() == used()
    assert an_amount(memory_mib=256) == used(other["_id"])


def test_the_same_owner_again_counts_nothing_twice(store, place, deploy, used, limit):
    """
    Also with a quota that is used up.
    """
    instance = deploy()
    limit(instances=1)

    order = {"user_id": place[0]["_id"]}
    instance_changes.edit(store, instance["_id"], order, origin=AT_NOON)

    assert an_amount() == used()


def test_what_is_adopted_is_let_in_and_counted(store, deploy, used, limit):
    """
    It runs already, so the quota refuses it not.
    """
    instance = deploy()
    limit(instances=0)

    adoption.add(store, {**instance, "_id": "i" + "a" * 11, "ports": []})

    assert an_amount(instances=2, memory_mib=256, cpu_milli=2000) == used()


def test_nothing_is_adopted_for_who_is_gone(store, deploy):
    """
    A user who was deleted meanwhile gets no instance.
    """
    instance = deploy()

    with pytest.raises(NotFound):
        adoption.add(store, {**instance, "_id": "i" + "a" * 11, "ports": [], "user_id": "gone"})

    assert 1 == len(store.instances.all())


@pytest.mark.heavy
@pytest.mark.parametrize(
    "quota",
    [
        {"instances": 7},
        # One document counts all of it, in one write: the others are shown where there is time.
        pytest.param({"memory_mib": 7 * 128 + 127}, marks=pytest.mark.slow),
        pytest.param({"cpu_milli": 7000, "ports": 100}, marks=pytest.mark.slow),
        pytest.param({"disk_mb": 10_500}, marks=pytest.mark.slow),
        pytest.param({"ports": 7, "instances": None}, marks=pytest.mark.slow),
    ],
)
def test_fifty_deploys_at_once_never_pass_a_quota(store, place, deploy, used, limit, quota):
    """
    They stop exactly at it, on several nodes.
    """
    limit(**quota)

    outcomes = race(lambda _: deploy(disk_gb=1.5))

    assert {"done": 7, "QuotaExceeded": 43} == kinds(outcomes)
    assert 7 == used()["instances"] == len(store.instances.list_owned(place[0]["_id"]))


@pytest.mark.heavy
def test_changes_at_once_never_pass_a_quota(store, memory_nodes, deploy, used, limit):
    """
    Of many that grow, as many do as the quota allows.
    """
    made = [deploy() for _ in range(10)]
    run_due(store, memory_nodes)
    limit(memory_mib=10 * 128 + 3 * 128)

    outcomes = race(
        lambda n: instance_changes.edit(store, made[n]["_id"], {"memory_mib": 256}, origin=AT_NOON),
        racers=10,
    )

    assert {"done": 3, "QuotaExceeded": 7} == kinds(outcomes)
    assert 13 * 128 == used()["memory_mib"]


@pytest.mark.heavy
def test_new_owners_at_once_never_pass_a_quota(store, memory_nodes, deploy, used):
    """
    Instances of one user that are given to another, who may have some of them.
    """
    made, other = [deploy() for _ in range(10)], a_user(store)
    run_due(store, memory_nodes)
    users.edit(store, other["_id"], {"quota": {"ports": 4}}, now=NOON)

    outcomes = race(
        lambda n: instance_changes.edit(
            store, made[n]["_id"], {"user_id": other["_id"]}, origin=AT_NOON
        ),
        racers=10,
    )

    assert {"done": 4, "QuotaExceeded": 6} == kinds(outcomes)
    assert (6, 4) == (used()["instances"], used(other["_id"])["instances"])


def test_what_is_refused_leaves_nothing(store, place, deploy, limit):
    """
    Neither an instance nor an operation, and the numbers say why.
    """
    limit(memory_mib=100, cpu_milli=500, ports=5)

    with pytest.raises(QuotaExceeded) as raised:
        deploy()

    assert {
        "memory": {"requested": 128, "used": 0, "limit": 100},
        "cpu": {"requested": 1, "used": 0, "limit": 0.5},
    } == raised.value.details
    assert ([], 0) == (
        store.instances.all(),
        store.nodes.get(place[1]["_id"])["allocated"]["instances"],
    )


@pytest.mark.heavy
def test_what_becomes_less_is_allowed_beyond_a_quota(store, memory_nodes, deploy, used, limit):
    """
    A quota that is exceeded refuses only what is more.
    """
    instance = deploy()
    run_due(store, memory_nodes)
    limit(memory_mib=32, cpu_milli=10)

    instance_changes.edit(store, instance["_id"], {"memory_mib": 64}, origin=AT_NOON)
    with pytest.raises(QuotaExceeded):
        instance_changes.edit(store, instance["_id"], {"cpu_milli": 1100}, origin=AT_NOON)
    run_due(store, memory_nodes)

    assert an_amount(memory_mib=64) == used()


@pytest.mark.heavy
def test_counts_agree_whatever_is_done_at_once(store, memory_nodes, deploy, used):
    """
    Deploys, changes, gifts and deletions of one user, by many threads.
    """
    made, other = [deploy() for _ in range(6)], a_user(store)
    run_due(store, memory_nodes)

    def act(number):
        instance_id, origin = made[number % 6]["_id"], AT_NOON
        match number % 5:
            case 0:
                return deploy()
            case 1:
                return instance_changes.edit(
                    store, instance_id, {"memory_mib": 64 + number}, origin=origin
                )
            case 2:
                return instance_changes.edit(
                    store, instance_id, {"user_id": other["_id"]}, origin=origin
                )
            case 3:
                return instances.delete(store, instance_id, origin=origin)
            case _:
                return instances.delete_by_force(store, instance_id, origin=origin)

    outcomes = race(act, racers=30)
    run_due(store, memory_nodes)

    assert {"done", "NotFound"} >= kinds(outcomes).keys()
    owned = store.instances.list_owned(other["_id"])
    assert len(owned) == used(other["_id"])["instances"]


def test_what_failed_is_counted_until_it_is_deleted(store, memory_nodes, place, deploy, used):
    """
    Like its memory on its node.
    """
    memory_nodes[place[1]["_id"]].faults.refuse()
    instance = deploy()
    run_due(store, memory_nodes)

    failed = store.instances.get(instance["_id"])["state"]

    assert ("FAILED", an_amount()) == (failed, used())


def test_counts_of_earlier_versions_are_no_limit(store, database, place, deploy):
    """
    A user of before has no quota, and is counted from the first change on.
    """
    database["users"].update_one({"_id": place[0]["_id"]}, {"$unset": {"used": "", "quota": ""}})

    deploy()

    assert an_amount() == used_of(store.users.get(place[0]["_id"]))


@pytest.mark.parametrize("suspended", [False, True])
@pytest.mark.parametrize("amounts", [an_amount(), an_amount(disk_mb=10), an_amount(instances=0)])
@pytest.mark.parametrize(
    "quota",
    [{}, {"instances": 1}, {"instances": 2}, {"memory_mib": 255}, {"memory_mib": 256},
     {"cpu_milli": 1999}, {"disk_mb": 9}, {"disk_mb": 10}, {"ports": 1}, {"ports": None}],
)  # fmt: skip
def test_a_user_is_judged_as_the_database_judges_it(
    store, database, place, deploy, limit, quota, amounts, suspended
):
    """
    Who was read is refused what the database would refuse.
    """
    deploy()
    limit(**quota)
    database["users"].update_one({"_id": place[0]["_id"]}, {"$set": {"suspended": suspended}})

    read = store.users.get(place[0]["_id"])
    found = database["users"].find_one({"_id": read["_id"], **leaves_room(amounts)})

    assert (found is None) == (find_refusal(read, amounts) is not None)


def test_a_wrong_count_is_found_and_counted_anew(store, place, deploy, used):
    """
    Of that user alone.
    """
    user_id, other = place[0]["_id"], a_user(store)
    deploy(), deploy(user_id=other["_id"])
    store.users.change(user_id, {"used": {**new_amounts(), "instances": 9}})

    found = store.transaction(lambda session: store.quotas.list_miscounted(session=session))
    store.transaction(lambda session: store.quotas.recount(user_id, session=session))

    assert [user_id] == found
    assert [an_amount()] * 2 == [used(), used(other["_id"])]


@pytest.mark.heavy
def test_a_recount_misses_no_deploy(store, place, deploy, used):
    """
    They cannot pass each other.
    """
    user_id = place[0]["_id"]

    def act(number):
        if number % 2:
            return deploy()
        return store.transaction(lambda session: store.quotas.recount(user_id, session=session))

    outcomes = race(act, racers=20)

    assert ({"done": 20}, 10) == (kinds(outcomes), used()["instances"])
