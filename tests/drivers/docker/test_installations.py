"""Several installations of Skyquay on one Docker Engine: each sees and touches only its own."""

from contextlib import closing
from dataclasses import replace

import pytest
from docker.errors import NotFound

from service import drift, instances, nodes
from service.app import make_drivers, make_store
from service.drivers import Owner
from service.drivers.docker.engine import DockerEngine
from service.drivers.docker.labels import INSTALLATION_LABEL, LABEL
from service.errors import InvalidInput, NodeRefused, StoreFailure
from service.installation import make_owner
from service.model.documents import new_operation
from service.model.lifecycle import InstanceState, OperationKind, Power, PowerAction
from service.model.node_policy import NodePolicy
from service.store.settings import INSTALLATION
from tests.docker_images import SOCKET
from tests.support import AT_NOON, NOON, an_image, an_order, run_due

pytestmark = [pytest.mark.docker, pytest.mark.fresh_database]


@pytest.fixture
def engines():
    """Make drivers, each of an installation of its own unless that is said; closed afterwards."""
    made = []

    def make(installation_id, claims=()):
        owner = Owner(
            lambda: installation_id,
            lambda ids: {name: found for name, found in dict(claims).items() if name in ids},
        )
        made.append(
            DockerEngine(
                "node",
                base_url=f"unix://{SOCKET}",
                connect_timeout_s=10,
                read_timeout_s=60,
                owner=owner,
            )
        )
        return made[-1]

    yield make
    for engine in made:
        engine.close()


@pytest.fixture
def old(client, spec):
    """A container and a volume as they were made before installations had ids."""
    client.volumes.create(spec.instance_id, labels={LABEL: spec.instance_id})
    return client.containers.create(
        spec.image,
        ["sleep", "300"],
        name=spec.instance_id,
        labels={LABEL: spec.instance_id},
        volumes=[f"{spec.instance_id}:/app/data"],
    )


def create(engine, spec):
    """Create the instance's container."""
    return engine.create(spec, checkpoint=lambda: None)


docker = pytest.mark.docker


# Two that share an engine


@docker
def test_what_is_made_bears_the_installation_s_id(client, engines, spec):
    """Container and volume do."""
    create(engines("one"), spec)

    container = client.containers.get(spec.instance_id)
    volume = client.volumes.get(spec.instance_id)
    assert ["one"] * 2 == [
        labels[INSTALLATION_LABEL] for labels in (container.labels, volume.attrs["Labels"])
    ]


@docker
def test_another_installation_s_container_is_not_listed(engines, spec):
    """Its maker sees it, the other does not."""
    ours, theirs = engines("one"), engines("two")
    create(ours, spec)

    assert (True, False) == tuple(spec.instance_id in each.list() for each in (ours, theirs))


@docker
@pytest.mark.parametrize("claims", [{}, "equal id"])
def test_another_installation_s_container_is_never_touched(client, engines, spec, claims):
    """Neither adopted, changed nor removed, even where both know an instance of this id."""
    made = create(engines("one"), spec)
    theirs = engines("two", {spec.instance_id: made.container_id} if claims else {})

    for call in (
        lambda: create(theirs, spec),
        lambda: theirs.status(spec.instance_id),
        lambda: theirs.power(spec.instance_id, PowerAction.START),
        lambda: theirs.logs(spec.instance_id, tail=1),
        lambda: theirs.remove(spec.instance_id),
    ):
        with pytest.raises(NodeRefused, match="not this Skyquay's"):
            call()
    assert theirs.describe(spec.instance_id) is None
    assert made.container_id == client.containers.get(spec.instance_id).id


@docker
def test_another_installation_s_volume_is_never_removed(client, engines, spec):
    """Its container may be gone while it is made anew; the files stay."""
    ours, theirs = engines("one"), engines("two", {spec.instance_id: None})
    create(ours, spec)
    client.containers.get(spec.instance_id).remove()

    with pytest.raises(NodeRefused, match="not this Skyquay's"):
        theirs.remove(spec.instance_id)
    with pytest.raises(NodeRefused, match="not this Skyquay's"):
        create(theirs, spec)

    assert client.volumes.get(spec.instance_id)


# What was made before


@docker
@pytest.mark.parametrize("installed", [True, False])
def test_what_our_documents_know_is_ours(client, engines, spec, old, installed):
    """Also while it is being installed, when the documents may not have its container's id."""
    engine = engines("one", {spec.instance_id: old.id if installed else None})

    listed = engine.list()[spec.instance_id]
    adopted = create(engine, spec)
    engine.remove(spec.instance_id)

    assert (old.id, old.id, True) == (listed.container_id, adopted.container_id, listed.is_ours)
    for kind in (client.containers, client.volumes):
        with pytest.raises(NotFound):
            kind.get(spec.instance_id)


@docker
@pytest.mark.parametrize("claims", [{}, {"container": "another one"}])
def test_what_our_documents_do_not_know_is_only_listed(client, engines, spec, old, claims):
    """No document knows the instance, or that of a container which is another one."""
    engine = engines("one", dict.fromkeys([spec.instance_id] * len(claims), "another one"))

    with pytest.raises(NodeRefused, match="not this Skyquay's"):
        engine.remove(spec.instance_id)

    listed = engine.list()[spec.instance_id]
    assert (old.id, False) == (listed.container_id, listed.is_ours)
    assert client.volumes.get(spec.instance_id)


@docker
def test_what_nobody_knows_is_described(client, engines, spec):
    """So that it can be adopted."""
    create(engines(""), spec)  # a version without ids marks nothing
    container = client.containers.get(spec.instance_id)
    unmarked = {name: text for name, text in container.labels.items() if name != INSTALLATION_LABEL}
    container.remove()
    client.containers.create(spec.image, "true", name=spec.instance_id, labels=unmarked)

    assert spec.image == engines("one").describe(spec.instance_id).image


# Containers that somebody renamed


@pytest.fixture
def renamed(client, engines, spec):
    """A container that runs and was renamed by hand, with the driver that made it."""
    engine = engines("one")
    create(engine, spec)
    engine.power(spec.instance_id, PowerAction.START)
    client.containers.get(spec.instance_id).rename(f"renamed-{spec.instance_id}")
    return engine


@docker
def test_a_renamed_container_is_found(renamed, spec):
    """By its label: it is there, running, listed and described."""
    found = (renamed.status(spec.instance_id), renamed.list()[spec.instance_id])

    assert [Power.RUNNING] * 2 == [status.power for status in found]
    assert spec == renamed.describe(spec.instance_id)


@docker
def test_a_renamed_container_is_adopted(renamed, spec):
    """Made anew it is the same one, and its port is not in use by another program."""
    before = renamed.status(spec.instance_id)

    after = create(renamed, spec)

    assert before.container_id == after.container_id
    assert Power.RUNNING == renamed.power(spec.instance_id, PowerAction.START).power


@docker
def test_a_renamed_container_stops(renamed, spec):
    """As any other, and what it printed is read."""
    stopped = renamed.power(spec.instance_id, PowerAction.STOP, stop_timeout_s=1)

    assert (Power.STOPPED, "") == (stopped.power, renamed.logs(spec.instance_id, tail=1))


@docker
def test_a_renamed_container_is_removed(client, renamed, spec):
    """With its volume, although another program's container has its name by now."""
    renamed.remove(spec.instance_id)

    assert renamed.status(spec.instance_id) is None
    with pytest.raises(NotFound):
        client.volumes.get(spec.instance_id)
    with pytest.raises(NotFound):
        client.containers.get(f"renamed-{spec.instance_id}")


@docker
def test_a_renamed_container_is_told_from_a_stranger_of_its_name(client, renamed, spec):
    """What has the name now is neither taken for it nor touched."""
    stranger = client.containers.create(spec.image, ["true"], name=spec.instance_id)
    try:
        renamed.remove(spec.instance_id)

        assert stranger.id == client.containers.get(spec.instance_id).id
    finally:
        stranger.remove()


@docker
def test_a_container_beside_a_renamed_one_goes_with_it(client, renamed, spec):
    """An earlier version made a second one, whose removal left the volume in use."""
    labels = client.containers.get(f"renamed-{spec.instance_id}").labels
    client.containers.create(spec.image, "true", name=spec.instance_id, labels=labels)

    renamed.remove(spec.instance_id)

    there = client.containers.list(all=True, filters={"label": f"{LABEL}={spec.instance_id}"})
    assert [] == there


@docker
def test_what_was_made_from_a_container_s_image_is_no_instance(client, engines, spec):
    """An image that somebody makes of a container of ours hands its labels on."""
    engine = engines("one")
    create(engine, spec)
    reference = f"skyquay-test/{spec.instance_id}:1"
    client.containers.get(spec.instance_id).commit(*reference.split(":"))
    child = client.containers.create(reference, ["true"])
    try:
        engine.remove(spec.instance_id)

        assert engine.status(spec.instance_id) is None
        assert spec.instance_id not in engine.list()
        assert client.containers.get(child.id)
    finally:
        child.remove()
        client.images.remove(reference)


# What the documents say


@pytest.fixture
def another(config, mongo_client):
    """A store on another database, which nothing has made ready."""
    name = f"{config.database}_another"
    with closing(make_store(replace(config, database=name))) as store:
        yield store
    mongo_client.drop_database(name)


def deploy(store, place, **over):
    """Take on an instance at the place."""
    return instances.deploy(store, an_order(*place, **over), origin=AT_NOON)[0]


def test_an_installation_s_id_is_made_once(config, store):
    """However often the database is made ready."""
    before = make_owner(store).find_id()

    store.prepare()

    assert before == store.settings.get(INSTALLATION)["value"]
    assert len(before) == 16


def test_a_backup_keeps_the_installation_s_id(store, another, tmp_path):
    """What is restored elsewhere is the same installation, which knows its containers."""
    store.back_up(tmp_path / "backup")

    another.restore(tmp_path / "backup")

    assert make_owner(store).find_id() == make_owner(another).find_id()


def test_a_backup_from_before_leaves_the_installation_s_id(store, another, tmp_path):
    """Its containers of since then still are its own."""
    another.prepare()
    another.settings._collection._collection.drop()
    another.back_up(tmp_path / "backup")
    before = make_owner(store).find_id()

    store.restore(tmp_path / "backup", replace=True)

    assert before == store.settings.get(INSTALLATION)["value"]


def test_without_an_installation_s_id_nothing_is_marked(store):
    """A database that was not made ready says so."""
    store.settings._collection._collection.drop()

    with pytest.raises(StoreFailure, match="skyquay migrate"):
        make_owner(store).find_id()


def test_an_instance_claims_its_container(store, place):
    """Once it is installed, the one whose id it has; before, any."""
    instance = deploy(store, place)
    find = lambda: make_owner(store).find_claims([instance["_id"], "iunknown"])  # noqa: E731
    before = find()
    store.instances.move(
        instance["_id"], InstanceState.READY, now=NOON, changes={"container_id": "c1"}
    )

    assert ({instance["_id"]: None}, {instance["_id"]: "c1"}) == (before, find())


def test_what_is_removed_by_force_is_claimed_until_it_is_gone(store, place):
    """The instance is forgotten at once, and its container still ours."""
    instance = deploy(store, place)
    store.instances.move(
        instance["_id"], InstanceState.READY, now=NOON, changes={"container_id": "c1"}
    )

    removal = instances.delete_by_force(store, instance["_id"], origin=AT_NOON)
    before = make_owner(store).find_claims([instance["_id"]])
    store.operations._collection.update_one(
        {"_id": removal["_id"]}, {"$set": {"status": "succeeded"}}
    )

    assert ({instance["_id"]: "c1"}, {}) == (
        before,
        make_owner(store).find_claims([instance["_id"]]),
    )


def test_a_removal_of_an_earlier_version_claims_nothing(store, place):
    """It may be of another installation's container."""
    removal = new_operation(OperationKind.REMOVE, "istray2345ab", place[1]["_id"], origin=AT_NOON)
    store.operations.add(removal)

    assert {} == make_owner(store).find_claims(["istray2345ab"])


# Two databases, one engine


@docker
def test_two_databases_on_one_engine_do_not_see_each_other(
    config, store, another, client, spec, place
):
    """What one deploys is no drift of the other's, and a removal there is not possible."""
    another.prepare()
    mine, other = (
        nodes.create(
            each,
            make_drivers(config, each),
            {"name": "engine", "driver": "docker", "address": f"unix://{SOCKET}"},
            policy=NodePolicy(),
            trusted_address=True,
            now=NOON,
        )
        for each in (store, another)
    )
    image = an_image(store, image=spec.image, cmd=["sleep", "300"])
    order = an_order(place[0], mine, image, ports=spec.ports, primary=str(spec.primary.host))
    instances.deploy(store, order, new_id=lambda: spec.instance_id, origin=AT_NOON)
    run_due(store, make_drivers(config, store))

    seen = drift.find(another, make_drivers(config, another), other["_id"])
    with pytest.raises(InvalidInput):
        drift.resolve(
            another,
            make_drivers(config, another),
            other["_id"],
            {"adopt": [], "remove": [spec.instance_id], "recreate": []},
            origin=AT_NOON,
        )

    ids = {item.instance_id for item in [*seen.orphans, *seen.unclaimed]}
    assert spec.instance_id not in ids
    assert "running" == client.containers.get(spec.instance_id).status
    assert InstanceState.READY == store.instances.get(spec.instance_id)["state"]


@docker
def test_an_instance_of_before_is_deleted_by_force(config, store, client, spec, old, place):
    """Forgotten at once, and then removed from the node, although nothing marks it as ours."""
    open_driver = make_drivers(config, store)
    node = nodes.create(
        store,
        open_driver,
        {"name": "engine", "driver": "docker", "address": f"unix://{SOCKET}"},
        policy=NodePolicy(),
        trusted_address=True,
        now=NOON,
    )
    image = an_image(store, image=spec.image)
    order = an_order(place[0], node, image, ports=spec.ports, primary=str(spec.primary.host))
    instances.deploy(store, order, new_id=lambda: spec.instance_id, origin=AT_NOON)
    store.instances.update(spec.instance_id, {"container_id": old.id})

    instances.delete_by_force(store, spec.instance_id, origin=AT_NOON)
    run_due(store, open_driver)

    with pytest.raises(NotFound):
        client.containers.get(old.id)
    with pytest.raises(NotFound):
        client.volumes.get(spec.instance_id)
