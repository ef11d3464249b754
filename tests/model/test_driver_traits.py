"""What is decided by which driver a node has."""

import dataclasses

import pytest

from service.app import make_drivers
from service.config import Config, ConfigError
from service.errors import NodeUnreachable
from service.model.container import ContainerStatus
from service.model.driver_traits import OFFERED, RUN_FACTS, Traits, traits_of
from service.security.vault import Vault
from tests.test_app import a_node_document

SECRET_KEY = "a secret key of the tests"


@pytest.mark.parametrize("driver", OFFERED)
def test_a_driver_that_is_offered_is_served(driver, tmp_path):
    """
    Whatever a node may be added with, there is a row that makes it, of what its traits say.
    """
    config = Config(allow_process=True, data_dir=tmp_path, secret_key=SECRET_KEY)
    node = a_node_document(driver=driver, secret=Vault(SECRET_KEY).seal("the node's key"))

    made = make_drivers(config)(node)

    traits = traits_of(driver)
    assert (traits.exclusive, traits.pulls) == (made.exclusive, made.pulls)


def test_a_driver_of_another_version_is_not_served():
    """
    A node that a later version added waits for a worker of that version.
    """
    with pytest.raises(NodeUnreachable, match="serves no nodes of the driver 'podman'"):
        make_drivers(Config())(a_node_document(driver="podman"))


def test_a_driver_of_another_version_has_the_defaults():
    """
    What is not known of it is not promised.
    """
    assert Traits("podman") == traits_of("podman")


@pytest.mark.parametrize("driver", OFFERED)
def test_the_local_node_may_be_of_the_drivers_of_this_machine(driver):
    """
    SKYQUAY_LOCAL_NODE takes those that need nothing else than this machine.
    """
    traits = traits_of(driver)

    try:
        accepted = driver == Config(local_node=driver).local_node
    except ConfigError:
        accepted = False

    assert accepted == (traits.is_this_machine or bool(traits.local_address))


def test_only_facts_of_runs_are_known():
    """
    A driver knows of runs what a ContainerStatus can say.
    """
    fields = {field.name for field in dataclasses.fields(ContainerStatus)}

    assert RUN_FACTS <= fields
    assert all(traits_of(driver).run_facts <= RUN_FACTS for driver in OFFERED)
