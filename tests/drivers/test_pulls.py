"""Pulls of images: a step of their own, which tells how far it is and can be left."""

import pytest

from tests.support import DEPLOY, a_body, eventually, get, run_due


@pytest.fixture
def here(memory_nodes, place):
    """A node that fetches images, and has begun none."""
    here = memory_nodes[place[1]["_id"]]
    here.pulls = True
    here.faults.hold_pulls()
    yield here
    here.faults.release()


@pytest.fixture
def pulling(api, place, here, worker):
    """The answer to a deploy whose image is being fetched."""
    deployed = api.post(DEPLOY, a_body(place)).json
    assert eventually(lambda: steps(api, deployed) and steps(api, deployed)[0]["progress"])
    yield deployed
    here.faults.release()  # before the worker is stopped, which waits for it


def steps(api, deployed):
    """Get the steps of a deploy."""
    return api.get(f"/api/operations/{deployed['operationId']}").json["steps"]


def test_a_pull_is_a_step_of_its_own(api, store, memory_nodes, place, here):
    """It comes before the creation, and keeps what it said last."""
    here.faults.release()
    deployed = api.post(DEPLOY, a_body(place)).json

    run_due(store, memory_nodes)

    assert [("pull", "1 of 1 layers"), ("create", None), ("start", None)] == [
        (step["name"], step["progress"]) for step in steps(api, deployed)
    ]


@pytest.mark.heavy
def test_a_pull_tells_how_far_it_is(api, place, pulling):
    """While it lasts, the operation says so in plain words."""
    [step] = steps(api, pulling)

    assert (f"Waiting for {place[2]['image']}.", None) == (step["progress"], step["endedAt"])


@pytest.mark.heavy
def test_a_pull_can_be_cancelled(api, here, pulling):
    """A cancellation takes effect while the registry says nothing."""
    api.post(f"/api/operations/{pulling['operationId']}/cancel")

    assert eventually(lambda: get(api, pulling["Id"])["InternalState"] == "FAILED")
    assert {} == here.containers


@pytest.mark.heavy
def test_a_pull_gives_way_to_a_deletion(api, store, pulling):
    """Who deletes an instance does not wait for its image."""
    api.delete("/api/instance/delete", {"id": pulling["Id"]})

    assert eventually(lambda: store.instances.find(pulling["Id"]) is None)


@pytest.mark.heavy
def test_an_image_that_came_is_used(api, here, pulling):
    """The deploy goes on after its pull."""
    here.faults.release()

    assert eventually(lambda: get(api, pulling["Id"])["InternalState"] == "READY")
