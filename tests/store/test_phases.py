"""The phase follows the power, in whichever write says what was seen of a container."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from service import instances
from service.model.lifecycle import InstanceState, NotReady, Phase, Power
from service.model.ports import parse
from service.store.duties import Duty
from tests.support import AT_NOON, NOON, an_image, an_order, eventually, run_due

LOG = {"kind": "log", "value": "Done (", "timeout_s": 300}
LATER = NOON + timedelta(seconds=1)


@pytest.fixture
def instance(store, place):
    """Take on an instance of an image that says when it is ready."""
    user, node, _ = place
    image = an_image(store, ready=LOG)
    return instances.deploy(store, an_order(user, node, image), origin=AT_NOON)[0]["_id"]


@pytest.fixture
def plain(store, place):
    """Take on an instance of an image that does not say so."""
    order = an_order(*place, ports=parse("80:8081"), primary="8081")
    return instances.deploy(store, order, origin=AT_NOON)[0]["_id"]


def see(store, instance_id, power, *, started_at=None, **more):
    """Write down what was seen, and return the phase then, and why it is not ready."""
    seen = {"power": power, "started_at": started_at, **more}
    assert store.instances.update(instance_id, seen)
    return phase(store, instance_id)


def phase(store, instance_id):
    """Return the phase, and why it is not ready."""
    instance = store.instances.get(instance_id)
    return instance["phase"], instance["not_ready"]


def awaited(store):
    """List the ids of what is to be looked at."""
    return [each["_id"] for each in store.phases.list_starting()]


def test_what_says_nothing_is_ready_at_once(store, plain):
    """As soon as it runs."""
    assert (Phase.READY, None) == see(store, plain, Power.RUNNING)
    assert store.instances.get(plain)["ready_at"] is not None
    assert [] == awaited(store)


def test_what_says_something_is_awaited(store, instance):
    """For as long as its image says."""
    assert (Phase.STARTING, None) == see(store, instance, Power.RUNNING)

    [found] = store.phases.list_starting()
    left = found["ready_by"] - store.server_time()
    assert timedelta(seconds=290) < left <= timedelta(seconds=300)


def test_what_its_node_cannot_see_is_not_awaited(store, instance):
    """It is ready at once, which its answer warns of."""
    store.instances.update(instance, {"ready": {**LOG, "unseen": True}})

    assert (Phase.READY, None) == see(store, instance, Power.RUNNING)


def test_it_is_marked_ready(store, instance):
    """And no longer awaited."""
    see(store, instance, Power.RUNNING, started_at=NOON)
    [found] = store.phases.list_starting()

    assert store.phases.mark_ready(found, now=LATER)
    assert (Phase.READY, None) == phase(store, instance)
    assert LATER == store.instances.get(instance)["ready_at"]
    assert [] == awaited(store)


@pytest.mark.parametrize("started_at", [NOON, None])
def test_what_is_seen_again_stays(store, instance, started_at):
    """A later look at the same start begins nothing anew, also one that knows no time of it."""
    see(store, instance, Power.RUNNING, started_at=NOON)
    [found] = store.phases.list_starting()
    store.phases.mark_ready(found, now=LATER)

    assert (Phase.READY, None) == see(store, instance, Power.RUNNING, started_at=started_at)


@pytest.mark.parametrize("ready_before", [True, False])
def test_another_start_begins_anew(store, instance, ready_before):
    """Although nobody saw it stop: the engine started it again at once."""
    see(store, instance, Power.RUNNING, started_at=NOON)
    [found] = store.phases.list_starting()
    if ready_before:
        store.phases.mark_ready(found, now=LATER)

    assert (Phase.STARTING, None) == see(store, instance, Power.RUNNING, started_at=LATER)
    assert not store.phases.mark_ready(found, now=LATER)
    assert (Phase.STARTING, None) == phase(store, instance)


def test_what_was_seen_to_stop_begins_anew(store, instance):
    """Also where nobody knows when it was started."""
    see(store, instance, Power.RUNNING)
    [found] = store.phases.list_starting()
    see(store, instance, Power.STOPPED)

    assert (Phase.STARTING, None) == see(store, instance, Power.RUNNING)
    assert not store.phases.mark_ready(found, now=LATER)


@pytest.mark.parametrize(
    ("error", "why"), [("It ended by itself.", NotReady.EXITED), (None, NotReady.STOPPED)]
)
def test_what_ends_before_it_is_ready_says_so(store, instance, error, why):
    """By itself, or because somebody stopped it."""
    see(store, instance, Power.RUNNING)

    assert (None, why) == see(store, instance, Power.STOPPED, error=error)
    assert [] == awaited(store)


def test_what_ends_when_it_was_ready_is_no_failure(store, instance):
    """It was ready, and now it does not run."""
    see(store, instance, Power.RUNNING)
    [found] = store.phases.list_starting()
    store.phases.mark_ready(found, now=LATER)

    assert (None, None) == see(store, instance, Power.STOPPED, error="It ended by itself.")


def test_why_it_never_came_stays_until_the_next_start(store, instance):
    """What was seen again, stopped, changes nothing; a start does."""
    see(store, instance, Power.RUNNING, started_at=NOON)
    see(store, instance, Power.STOPPED, error="It ended by itself.")

    assert (None, NotReady.EXITED) == see(store, instance, Power.STOPPED)
    assert (Phase.STARTING, None) == see(store, instance, Power.RUNNING, started_at=LATER)


def pass_time(store, instance):
    """Have the time of an instance be over."""
    store.instances.update(instance, {"ready_by": NOON})


def test_the_time_passes(store, instance, plain):
    """What is not ready by then is not looked at any more, and says why."""
    see(store, instance, Power.RUNNING)
    see(store, plain, Power.RUNNING)
    assert 0 == store.phases.give_up()
    [found] = store.phases.list_starting()
    pass_time(store, instance)

    assert 1 == store.phases.give_up()
    assert (Phase.STARTING, NotReady.TIMEOUT) == phase(store, instance)
    assert (Phase.READY, None) == phase(store, plain)
    assert [] == awaited(store)
    assert not store.phases.mark_ready(found, now=LATER)


def test_what_ends_after_its_time_keeps_the_first_reason(store, instance):
    """It had its time before it ended."""
    see(store, instance, Power.RUNNING)
    pass_time(store, instance)
    store.phases.give_up()

    assert (None, NotReady.TIMEOUT) == see(store, instance, Power.STOPPED, error="It ended.")


def test_another_image_begins_anew(store, instance):
    """The same start, and another thing to look for: of a change that has just succeeded."""
    see(store, instance, Power.RUNNING, started_at=NOON)
    [found] = store.phases.list_starting()
    store.phases.mark_ready(found, now=LATER)
    seen = {"power": Power.RUNNING, "started_at": NOON}

    store.instances.change(instance, {**seen, "ready": {**LOG, "value": "Up"}})
    assert (Phase.STARTING, None) == phase(store, instance)
    store.instances.change(instance, {**seen, "ready": None}, remove=["labels"])
    assert (Phase.READY, None) == phase(store, instance)


def test_a_move_tells_the_phase_too(store, instance):
    """A deploy ends with one."""
    store.instances.move(instance, InstanceState.READY, now=NOON, changes={"power": Power.RUNNING})

    assert (Phase.STARTING, None) == phase(store, instance)


def test_what_is_not_about_the_power_changes_no_phase(store, instance):
    """Whatever else is written."""
    see(store, instance, Power.RUNNING)

    store.instances.update(instance, {"error": "x"})
    store.instances.change(instance, {"name": "$power"})

    assert (Phase.STARTING, None) == phase(store, instance)
    assert "$power" == store.instances.get(instance)["name"]


def test_what_is_seen_is_written_as_it_is(store, instance):
    """Also where it looks like a path of a document."""
    see(store, instance, Power.RUNNING, error="$name", node_env=["A=$name"])

    found = store.instances.get(instance)
    assert ("$name", ["A=$name"]) == (found["error"], found["node_env"])


def test_what_ran_before_phases_were_kept_stays_ready(store, database, place, memory_nodes):
    """Its first observation by a newer version begins nothing."""
    instance, _ = instances.deploy(store, an_order(*place), origin=AT_NOON)
    run_due(store, memory_nodes)
    gone = dict.fromkeys(("phase", "ready", "ready_at", "ready_by", "not_ready", "started_at"), "")
    database["instances"].update_one({"_id": instance["_id"]}, {"$unset": gone})

    assert (Phase.READY, None) == see(store, instance["_id"], Power.RUNNING, started_at=NOON)
    assert store.instances.get(instance["_id"])["ready_at"] is None


@pytest.fixture
def duty(database):
    """A duty that nobody had ever."""
    yield Duty(database, "a duty")
    database["meta"].delete_one({"_id": "a duty"})


def test_a_duty_is_one_workers(duty):
    """Until that lets go of it."""
    assert duty.take("a", lease_s=30)
    assert duty.take("a", lease_s=30)
    assert not duty.take("b", lease_s=30)

    duty.release("b")
    assert not duty.take("b", lease_s=30)
    duty.release("a")
    assert duty.take("b", lease_s=30)


def test_a_new_duty_is_one_workers(duty):
    """Of those that ask for it at once, as nobody had it ever."""
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda n: duty.take(f"t{n}", lease_s=30), range(8)))

    assert 1 == sum(taken)


def test_a_duty_passes_on_from_who_is_silent(duty):
    """When its lease has run out."""
    duty.take("a", lease_s=0)

    assert eventually(lambda: duty.take("b", lease_s=30))
