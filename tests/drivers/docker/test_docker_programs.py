"""Lines for the programs of a Docker Engine's containers, and what they use."""

import pytest

from service.drivers import Delivery
from service.drivers.docker import creation
from service.model.lifecycle import PowerAction

pytestmark = pytest.mark.docker


def test_the_network_and_the_limits_are_measured(engine, spec, running):
    """The kernel's limit, and a network of its own."""
    usage = engine.usage(spec.instance_id)

    assert spec.memory_mib * 2**20 == usage.memory_limit_bytes
    assert usage.received_bytes is not None
    assert usage.started_at.isoformat()[:19] == running.attrs["State"]["StartedAt"][:19]


@pytest.mark.parametrize("changes", [{"StdinOnce": True}, {"OpenStdin": False}])
def test_a_container_whose_input_does_not_last_is_sent_no_line(engine, spec, monkeypatch, changes):
    """Earlier versions made such: the engine closes the input after the first line."""
    make_config = creation.make_config
    monkeypatch.setattr(
        "service.drivers.docker.settling.make_config",
        lambda *arguments: {**make_config(*arguments), **changes},
    )
    engine.create(spec, checkpoint=lambda: None)
    engine.power(spec.instance_id, PowerAction.START)

    assert Delivery.NO_INPUT == engine.command(spec.instance_id, "save-all")


def test_a_container_that_is_paused_reads_nothing(engine, spec, running):
    """The engine attaches to none, and a line would wait for who knows how long."""
    running.pause()

    delivery = engine.command(spec.instance_id, "save-all")

    assert Delivery.UNREAD == delivery
