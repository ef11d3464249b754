"""The driver of skyportd against a double of the daemon, quirk by quirk."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from service import instances
from service.app import make_drivers
from service.drivers import ContainerSpec, Delivery
from service.drivers.skyportd import creation
from service.drivers.skyportd.inspection import parse_size
from service.errors import NodeFailure, NodeRefused, NodeUnreachable
from service.instances import make_id
from service.model.lifecycle import InstanceState, OperationStatus, Power, PowerAction
from service.model.ports import parse
from service.security.vault import Vault
from service.store.due import Limits
from service.worker.interruptions import OperationSuperseded
from service.worker.loop import Worker
from tests.fake_skyportd import MANIFEST, Container
from tests.support import AT_NOON, NOON, a_node, a_user, an_image, an_order, eventually, run_due

SECRET_KEY = "a secret key of the tests"

pytestmark = pytest.mark.usefixtures("retry_now")


@pytest.fixture
def spec():
    """What should run."""
    ports = parse("80:21001,443:21002")
    return ContainerSpec(
        instance_id=make_id(),
        image="registry.example.org/java:21",
        cmd=None,
        env={"START": "java -jar server.jar", "Version": "1.21"},
        memory_mib=512,
        cpu_milli=1500,
        ports=ports,
        primary=ports[1],
        variables={"Version": "1.21"},
        install=(("https://files.example.org/{{Version}}.jar", "server.jar"),),
    )


def create(driver, spec, checkpoint=lambda: None):
    """Create the instance."""
    return driver.create(spec, checkpoint=checkpoint)


# Creating


def test_a_creation_says_what_should_run(daemon, driver, spec):
    """The body has what the daemon reads, in its types, with the primary port first."""
    create(driver, spec)

    [body] = daemon.creations
    assert {
        "Name": spec.instance_id,
        "Id": spec.instance_id,
        "Image": spec.image,
        "Env": ["START=java -jar server.jar"],
        "variables": {"Version": "1.21"},
        "Memory": 512,
        "Cpu": 2,
        "Scripts": {
            "Install": [{"Uri": "https://files.example.org/{{Version}}.jar", "Path": "server.jar"}]
        },
    }.items() <= body.items()
    assert ["443/tcp", "443/udp", "80/tcp", "80/udp"] == list(body["PortBindings"])
    assert [{"HostPort": "21002"}] == body["PortBindings"]["443/tcp"]


def test_the_environment_that_the_node_made_is_kept(driver, spec):
    """What the daemon answers is what later calls need."""
    created = create(driver, spec)

    assert (
        Power.RUNNING,
        ("START=java -jar server.jar", "Version=1.21", "PRIMARY_PORT=21002"),
    ) == (created.power, created.env)


@pytest.mark.parametrize(("cmd", "sent"), [("run -x", ["sh", "-c", "run -x"]), (("a",), ["a"])])
def test_a_command_is_a_list_of_words(daemon, driver, spec, cmd, sent):
    """A line goes through a shell: the daemon takes a text for one program's name."""
    create(driver, replace(spec, cmd=cmd))

    assert sent == daemon.creations[0]["Cmd"]


def test_no_command_and_no_scripts_are_not_sent(daemon, driver, spec):
    """An empty list of scripts would have the daemon rewrite the volume's files."""
    create(driver, replace(spec, install=()))

    assert {"Cmd", "Scripts"}.isdisjoint(daemon.creations[0])


@pytest.mark.parametrize(
    "script",
    [("http://files.example.org/x", "x"), ("https://e.org/x", "a/b"), ("https://e.org/x", "..")],
)
def test_a_script_that_would_end_the_daemon_is_refused(daemon, driver, spec, script):
    """A path with a folder ends the process, and only https is fetched: nothing is sent."""
    with pytest.raises(NodeRefused):
        create(driver, replace(spec, install=(script,)))

    assert [] == daemon.creations


def test_a_stop_that_lasts_too_long_is_a_kill(daemon, driver, spec, monkeypatch):
    """Docker waits for a program longer than we may, and the daemon cannot be told otherwise."""
    create(driver, spec)
    change, killed = daemon._change_power, threading.Event()

    def wait_for_the_program(name, verb):
        if verb == "stop":
            killed.wait(20)
        return change(name, verb)

    monkeypatch.setattr(daemon, "_change_power", wait_for_the_program)

    stopped = driver.power(spec.instance_id, PowerAction.STOP, stop_timeout_s=1)
    killed.set()

    assert (Power.STOPPED, 137) == (stopped.power, stopped.exit_code)


def test_what_exists_is_adopted(daemon, driver, spec):
    """A second creation is not even sent: the daemon would call the healthy instance FAILED."""
    create(driver, spec)

    again = create(driver, spec)

    assert (Power.RUNNING, 1) == (again.power, len(daemon.creations))


def test_an_image_that_does_not_exist_is_final(daemon, driver, spec):
    """The daemon answers 500 and says INSTALLING for ever: the answer counts."""
    daemon.pull_error = f"(HTTP code 404) unexpected - {MANIFEST.format(spec.image)} "

    with pytest.raises(NodeRefused, match="not found on the registry"):
        create(driver, spec)

    assert "INSTALLING" == daemon.states[spec.instance_id]["state"]


def test_a_registry_that_is_down_may_come_back(daemon, driver, spec):
    """What Docker calls its own error is tried again."""
    daemon.pull_error = '(HTTP code 500) server error - Get "http://r/v2/": connection refused '
    with pytest.raises(NodeFailure) as first:
        create(driver, spec)
    daemon.pull_error = None

    again = create(driver, spec)

    assert (NodeFailure, Power.RUNNING) == (type(first.value), again.power)


def test_a_pull_that_breaks_midway_is_tried_again(daemon, driver, spec):
    """The daemon answers 202, and then FAILED without a container or a reason."""
    daemon.pull_stream_error = True

    with pytest.raises(NodeFailure, match="its own log says why"):
        create(driver, spec)


def test_a_start_that_fails_tells_docker_s_reason(daemon, driver, spec):
    """The reason is in the container that stays behind, which is removed."""
    daemon.start_error = 'exec: "/nosuch": no such file or directory: unknown'

    with pytest.raises(NodeRefused, match="/nosuch"):
        create(driver, spec)

    assert {} == daemon.containers


class LateContainer:
    """A client that first looks before the container is made, whose start then fails."""

    node_id = "node"

    def __init__(self):
        self.looks = 0
        self.deleted = []

    def inspect(self, instance_id):
        """Look at the container."""
        self.looks += 1
        failed = {"State": {"Status": "created", "Error": "/nosuch: no such file"}}
        return failed if self.looks > 1 else None

    def read_state(self, instance_id):
        """Read the state as it is after the start."""
        return "FAILED"

    def ask_to_delete(self, instance_id):
        """Remove the container."""
        self.deleted.append(instance_id)


def test_a_container_that_is_made_while_it_is_looked_for_is_removed():
    """It was not there, and its start has failed since: Docker's reason is told all the same."""
    client = LateContainer()

    with pytest.raises(NodeRefused, match="/nosuch"):
        creation.await_outcome(client, "i1", None, lambda: None)

    assert ["i1"] == client.deleted


def test_a_program_that_ends_at_once_is_there(daemon, driver, spec):
    """READY, and stopped with its exit code: deployed, but its program ended."""
    daemon.exit_after_start = 3

    created = create(driver, spec)

    assert (Power.STOPPED, 3) == (created.power, created.exit_code)


def test_a_lost_update_is_no_failure(daemon, driver, spec):
    """INSTALLING for ever, and it runs: Docker's word counts."""
    daemon.lose_update = True

    assert Power.RUNNING == create(driver, spec).power


def test_a_lost_update_of_a_program_that_ended_is_no_failure(daemon, driver, spec):
    """INSTALLING for ever, and it ran and ended: it is deployed, and stopped."""
    daemon.lose_update = True
    daemon.exit_after_start = 0

    assert Power.STOPPED == create(driver, spec).power


def test_a_healthy_instance_that_is_called_failed_is_up(daemon, driver, spec):
    """What a duplicate creation did to the state file changes nothing."""
    create(driver, spec)
    daemon.states[spec.instance_id] = {"state": "FAILED", "containerId": None}

    assert Power.RUNNING == create(driver, spec).power


def test_an_answer_that_never_comes_is_not_waited_for(daemon, driver, spec):
    """The creation is carried out, and found out about."""
    daemon.swallow_creations = True

    created = create(driver, spec)

    assert (Power.RUNNING, 1) == (created.power, len(daemon.creations))


def test_a_creation_that_was_never_answered_is_not_sent_twice(daemon, driver, spec):
    """A later attempt finds the daemon INSTALLING, and waits for what appears."""
    daemon.pull_s = 0.2
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(create, driver, spec)
        assert eventually(lambda: spec.instance_id in daemon.states)
        second = create(driver, spec)
        assert first.result().container_id == second.container_id

    assert 1 == len(daemon.creations)


def test_a_state_file_that_is_rubbish_is_not_touched(daemon, driver, spec):
    """A creation would end the daemon: it is not sent, and the error says what to do."""
    daemon.corrupt_states = True

    with pytest.raises(NodeFailure, match=r"storage/states\.json"):
        create(driver, spec)

    assert ([], True) == (daemon.creations, daemon.is_alive)


def test_a_state_file_that_is_being_written_is_read_again(daemon, driver, spec):
    """A moment's 500 is no reason to give up."""
    daemon.state_glitches = 2

    assert Power.RUNNING == create(driver, spec).power


def test_a_daemon_that_dies_under_a_creation_is_unreachable(daemon, driver, spec):
    """What became of it is unknown; asking again is safe."""
    daemon.crash_on_parallel = 1

    with pytest.raises(NodeUnreachable):
        create(driver, spec)


def test_what_a_checkpoint_raises_ends_the_waiting(daemon, driver, spec):
    """A worker that lost its lease does not wait for a long pull."""
    daemon.pull_s = 60
    calls = []

    def lost():
        calls.append(1)
        if len(calls) > 2:
            raise OperationSuperseded("The lease was lost.")

    began = time.monotonic()
    with pytest.raises(OperationSuperseded):
        create(driver, spec, lost)

    assert time.monotonic() - began < 30


# Looking


def test_a_404_counts_only_while_docker_is_up(daemon, driver, spec):
    """With Docker down the daemon knows no container: no verdict."""
    create(driver, spec)
    daemon.docker_down = True

    with pytest.raises(NodeFailure):
        driver.status(spec.instance_id)


def test_what_is_not_there_has_no_status(driver):
    """A 404 while Docker can list its containers is certain."""
    assert driver.status("inothing") is None


def test_only_what_has_a_volume_of_the_daemon_s_is_listed(daemon, driver, spec):
    """Other containers of the host are nobody's affair."""
    create(driver, spec)
    daemon.containers["postgres"] = Container("postgres", {"Id": "elsewhere"}, status="running")

    assert [spec.instance_id] == list(driver.list())


def test_the_report_has_no_password(driver):
    """`GET /` shows the node's MySQL password: the report has four facts only."""
    report = driver.probe()

    assert ("0.3.0", "docker 20.10.24+dfsg1", 24105, 2000) == (
        report.version,
        report.engine,
        report.memory_mib,
        report.cpu_milli,
    )


def test_docker_down_is_no_health(daemon, driver):
    """The daemon answers, and the node is not well."""
    daemon.docker_down = True

    with pytest.raises(NodeFailure, match="Docker is not running"):
        driver.probe()


def test_a_broken_state_file_is_no_health(daemon, driver):
    """Nothing may be deployed on it."""
    daemon.corrupt_states = True

    with pytest.raises(NodeFailure, match="state file is broken"):
        driver.probe()


def test_a_wrong_key_is_said(daemon, driver):
    """401 has no body at all."""
    daemon.key = "another"

    with pytest.raises(NodeRefused, match="does not accept the node's key"):
        driver.probe()


@pytest.mark.parametrize(
    "rubbish",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n7",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
    ],
)
@pytest.mark.parametrize("call", ["probe", "status", "list", "power", "remove"])
def test_rubbish_is_an_error_of_ours(daemon, driver, rubbish, call):
    """Whatever answers there, nothing but our own errors comes out, and nobody is redirected."""
    daemon.rubbish = rubbish
    arguments = {"status": ["ix"], "power": ["ix", PowerAction.STOP], "remove": ["ix"]}

    with pytest.raises(NodeFailure):
        getattr(driver, call)(*arguments.get(call, []))


@pytest.mark.heavy
def test_silence_ends(daemon, driver):
    """A daemon that accepts and says nothing is waited for as long as the settings say."""
    daemon.silent = True

    with pytest.raises(NodeUnreachable):
        driver.status("ix")


# Power


@pytest.mark.parametrize(
    ("before", "action", "after"),
    [
        ("running", PowerAction.START, Power.RUNNING),
        ("paused", PowerAction.START, Power.RUNNING),
        ("exited", PowerAction.START, Power.RUNNING),
        ("running", PowerAction.STOP, Power.STOPPED),
        ("paused", PowerAction.STOP, Power.STOPPED),
        ("exited", PowerAction.STOP, Power.STOPPED),
        ("running", PowerAction.KILL, Power.STOPPED),
        ("paused", PowerAction.KILL, Power.STOPPED),
        ("exited", PowerAction.KILL, Power.STOPPED),
    ],
)
def test_power_ends_where_it_should(daemon, driver, spec, before, action, after):
    """304 without a body, 409 for what is not running: whatever the daemon says, it is so."""
    create(driver, spec)
    daemon.containers[spec.instance_id].status = before

    assert after == driver.power(spec.instance_id, action).power


def test_power_of_what_is_gone_is_refused(daemon, driver):
    """The daemon says 500 with Docker's 404 inside."""
    with pytest.raises(NodeRefused, match="There is no container"):
        driver.power("inothing", PowerAction.STOP)


# The console


def test_the_last_lines_are_read(daemon, driver, spec):
    """What the daemon shows when somebody connects, without its greeting."""
    create(driver, spec)
    daemon.containers[spec.instance_id].log = ["one", "two", "three"]

    assert "two\nthree\n" == driver.logs(spec.instance_id, tail=2)


def test_the_rest_of_a_line_is_not_read(daemon, driver, spec):
    """Of the 25 lines that the daemon shows, the first may be the last piece of a long one."""
    create(driver, spec)
    daemon.containers[spec.instance_id].log = ["x" * 20_000, *["whole"] * 24]

    assert ["whole"] * 24 == driver.logs(spec.instance_id, tail=100).splitlines()


def test_a_stop_command_is_written_to_the_console(daemon, driver, spec):
    """The program ends at its own command, and is not asked in any other way."""
    create(driver, spec)
    container = daemon.containers[spec.instance_id]
    container.ends_at = "save and stop"

    stopped = driver.power(spec.instance_id, PowerAction.STOP, stop_command="save and stop")

    assert (Power.STOPPED, 0, ["save and stop"]) == (
        stopped.power,
        stopped.exit_code,
        container.read,
    )


def test_an_interrupt_goes_through_the_terminal(daemon, driver, spec):
    """The container has a terminal, which makes a signal of this character."""
    create(driver, spec)
    container = daemon.containers[spec.instance_id]
    container.ends_at = "\x03"

    driver.power(spec.instance_id, PowerAction.STOP, stop_command="^C")

    assert ["\x03"] == container.read


def test_a_command_that_is_not_heard_stops_all_the_same(daemon, driver, spec):
    """After a while the program is stopped as any other."""
    create(driver, spec)

    stopped = driver.power(
        spec.instance_id, PowerAction.STOP, stop_command="stop", stop_timeout_s=0
    )

    assert (Power.STOPPED, 143) == (stopped.power, stopped.exit_code)


@pytest.mark.parametrize("command", ["null", 'say "hi"', "{", "x\ny"])
def test_no_command_ends_the_daemon(daemon, driver, spec, command):
    """Whatever an image says, every frame that is sent is a JSON object of our own."""
    create(driver, spec)

    driver.power(spec.instance_id, PowerAction.STOP, stop_command=command, stop_timeout_s=0)

    assert (True, [command]) == (daemon.is_alive, daemon.containers[spec.instance_id].read)


# Removing


def test_a_removal_empties_the_volume(daemon, driver, spec):
    """The daemon says that it deletes the volume, and does not."""
    create(driver, spec)
    daemon.volumes[spec.instance_id] = {"world.dat": "x", "a b/ö.txt": "y"}

    driver.remove(spec.instance_id)

    assert ({}, {}) == (daemon.containers, daemon.volumes)


def test_a_removal_goes_on_where_it_broke_off(daemon, driver, spec):
    """Without a container, and even without a volume, removing is a success."""
    driver.remove(spec.instance_id)
    daemon.volumes[spec.instance_id] = {"left": "x"}

    driver.remove(spec.instance_id)

    assert {} == daemon.volumes


def test_nobody_ever_purges(daemon, driver, spec):
    """One GET would remove every container of the host."""
    create(driver, spec)
    driver.power(spec.instance_id, PowerAction.STOP)
    driver.list()
    driver.remove(spec.instance_id)

    assert [] == [path for _, path in daemon.calls if "purge" in path]


# One at a time


@pytest.fixture
def settled(store, config, daemon):
    """A node that is the daemon, with what deploys on it need, and its drivers."""
    with_key = replace(config, secret_key=SECRET_KEY)
    open_driver = make_drivers(with_key)
    node = a_node(
        store,
        open_driver,
        driver="skyportd",
        address="127.0.0.1",
        port=daemon.port,
        api_key=daemon.key,
        vault=Vault(SECRET_KEY),
    )
    return open_driver, (a_user(store), node, an_image(store))


def take_on(store, place, count):
    """Take on some instances."""
    return [
        instances.deploy(
            store, an_order(*place, ports=parse(f"80:{port}"), primary=port), origin=AT_NOON
        )[0]["_id"]
        for port in range(8080, 8080 + count)
    ]


def test_a_node_with_a_key_is_online(settled):
    """A daemon that is enrolled already is probed when it is added."""
    _, (_, node, _) = settled

    assert ("Online", "0.3.0") == (node["status"], node["report"]["version"])


def test_the_key_is_not_stored_in_clear(settled, look, daemon):
    """The database has it encrypted."""
    assert daemon.key not in str(look())


@pytest.mark.heavy
def test_creations_come_one_at_a_time(store, config, settled, daemon):
    """Two at once would end the daemon: whoever works, the second waits for the first's end."""
    open_driver, place = settled
    daemon.crash_on_parallel = 2
    daemon.pull_s = 0.1
    ids = take_on(store, place, 4)
    workers = [
        Worker(
            store, open_driver, threads=4, node_operations=4, lease_s=5, probe_interval_s=60,
            now=lambda: NOON,
        )
        for _ in range(2)
    ]  # fmt: skip
    for worker in workers:
        worker.start()

    done = eventually(
        lambda: all(store.instances.get(i)["state"] == InstanceState.READY for i in ids),
        timeout_s=40,
    )

    for worker in workers:
        worker.stop()
    assert (True, True) == (done, daemon.is_alive)


def test_a_creation_is_not_in_the_way_of_another_s_deletion(store, settled, daemon):
    """While one instance is being made, another goes."""
    _, place = settled
    first, _ = take_on(store, place, 2)
    store.nodes.lock_deploy(
        place[1]["_id"], operation_id="another", instance_id="another", hold_s=60
    )
    instances.delete(store, first, origin=AT_NOON)

    busy = Limits(deploying={place[1]["_id"]: "another"})
    claimed = store.claims.take("t", lease_s=30, limits=busy)

    assert ("delete", first) == (claimed["kind"], claimed["instance_id"])


def test_a_deletion_waits_for_its_own_creation(store, settled, daemon):
    """What is perhaps being made would appear after its removal."""
    open_driver, place = settled
    [instance_id] = take_on(store, place, 1)
    store.nodes.lock_deploy(
        place[1]["_id"], operation_id="dead", instance_id=instance_id, hold_s=60
    )
    deletion = instances.delete(store, instance_id, origin=AT_NOON)

    run_due(store, open_driver)

    after = store.operations.get(deletion["_id"])
    assert (OperationStatus.PENDING, 0) == (after["status"], after["attempts"])


def test_what_is_no_longer_wanted_is_made_to_its_end(store, settled, daemon):
    """A creation cannot be left half-way; the deletion comes after it, and takes everything."""
    open_driver, place = settled
    [instance_id] = take_on(store, place, 1)
    daemon.pull_s = 1.5
    with ThreadPoolExecutor(1) as threads:
        working = threads.submit(run_due, store, open_driver)
        assert eventually(lambda: daemon.creations)
        instances.delete(store, instance_id, origin=AT_NOON)
        working.result()
    run_due(store, open_driver)

    assert (None, {}) == (store.instances.find(instance_id), daemon.containers)


def test_the_node_is_free_after_a_failure(store, settled, daemon):
    """A creation that came to its end, whatever end, lets the next one in."""
    open_driver, place = settled
    take_on(store, place, 1)
    daemon.pull_error = f"(HTTP code 404) unexpected - {MANIFEST.format('x')} "

    run_due(store, open_driver)

    assert store.nodes.get(place[1]["_id"])["deploying"] is None


def test_the_node_is_held_while_a_creation_s_end_is_unknown(store, settled, daemon):
    """The daemon may be in the middle of it: nobody else is let in."""
    open_driver, place = settled
    [instance_id] = take_on(store, place, 1)
    daemon.crash_on_parallel = 1

    run_due(store, open_driver)

    assert instance_id == store.nodes.get(place[1]["_id"])["deploying"]["instance_id"]


def test_a_daemon_that_died_is_used_again(store, settled, daemon):
    """Once somebody repaired and started it, what waited is done."""
    open_driver, place = settled
    [instance_id] = take_on(store, place, 1)
    daemon.crash_on_parallel = 1
    run_due(store, open_driver)
    daemon.crash_on_parallel = None
    daemon.repair_states()
    daemon.restart()
    store.operations.retry_now_on_node(place[1]["_id"])

    run_due(store, open_driver)

    after = store.instances.get(instance_id)
    assert (InstanceState.READY, f"PRIMARY_PORT={after['primary_port']}") == (
        after["state"],
        after["node_env"][-1],
    )


def test_what_a_container_uses_is_read(daemon, driver, spec):
    """Docker's measurements, without what the kernel would give back, and the volume's size."""
    create(driver, spec)

    usage = driver.usage(spec.instance_id)
    assert (250, 32 * 2**20, 128 * 2**20, 12800) == (
        usage.cpu_milli,
        usage.memory_bytes,
        usage.memory_limit_bytes,
        usage.disk_bytes,
    )
    assert (None, None) == (usage.received_bytes, usage.sent_bytes)


@pytest.mark.parametrize(
    ("text", "size"),
    [("0 Bytes", 0), ("1.5 MB", 1572864), ("Unknown", None), ("-1 KB", None), (7, None)],
)
def test_a_size_is_read_as_the_daemon_prints_it(text, size):
    """Bytes, by its units of 1024."""
    assert size == parse_size(text)


def test_a_line_reaches_the_program(daemon, driver, spec):
    """Over the daemon's console."""
    create(driver, spec)

    delivery = driver.command(spec.instance_id, "save-all")

    assert (Delivery.SENT, ["save-all"]) == (delivery, daemon.containers[spec.instance_id].read)
