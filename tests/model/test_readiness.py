"""When a program is ready: pure rules."""

import pytest

from service.model.documents import new_image, new_instance
from service.model.driver_traits import OFFERED
from service.model.lifecycle import Phase, Power
from service.model.ports import parse
from service.model.readiness import check_on, list_warnings, phase_of
from tests.support import NOON

LOG = {"kind": "log", "value": "Done (", "timeout_s": 300}


def an_instance(**over):
    """Make an instance."""
    fields = {
        "name": "a", "user_id": "u", "node_id": "n", "image": "i", "image_id": None,
        "image_name": "i", "memory_mib": 1, "cpu_milli": 1, "ports": parse("80:8080"),
        "primary": 8080, "primary_port": 8080, "now": NOON,
    }  # fmt: skip
    return new_instance("i1", **{**fields, **over})


def an_image(kind):
    """Make an image that says when it is ready."""
    return new_image("i", name="i", image="i", ready={**LOG, "kind": kind}, now=NOON)


@pytest.mark.parametrize("driver", OFFERED)
@pytest.mark.parametrize("kind", ["log", "pattern", "port", "http"])
def test_every_driver_sees_all_but_the_output_of_skyportd(driver, kind):
    """Whose daemon does not say of which start a line is."""
    unseen = driver == "skyportd" and kind in ("log", "pattern")

    assert unseen == check_on(an_image(kind), driver).get("unseen", False)


def test_what_cannot_be_seen_is_warned_of():
    """And nothing else is."""
    assert [1, 0, 0] == [
        len(list_warnings(an_instance(ready=check)))
        for check in ({**LOG, "unseen": True}, LOG, None)
    ]


@pytest.mark.parametrize(
    ("power", "phase"),
    [(Power.RUNNING, Phase.READY), (Power.STOPPED, None), (Power.UNKNOWN, None)],
)
def test_what_ran_before_phases_were_kept_is_ready(power, phase):
    """Nobody looks at it any more."""
    instance = an_instance(power=power)
    del instance["phase"]

    assert phase == phase_of(instance)


@pytest.mark.parametrize("phase", [Phase.STARTING, None])
def test_the_phase_that_is_kept_counts(phase):
    """Whatever the power is."""
    assert phase == phase_of({**an_instance(power=Power.RUNNING), "phase": phase})
