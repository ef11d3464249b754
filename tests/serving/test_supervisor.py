"""`skyquay serve` with several processes: what dies is replaced, what is replaced drops nothing."""

import http.client
import itertools
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from service import nodes
from service.config import Config
from service.drivers.memory import MemoryNodes
from service.model.orders import NodeOrder
from service.security.vault import Vault
from service.serving.supervisor import MAX_DELAY_S, Supervisor, count_cores, restart_delay_s
from tests.support import DEPLOY, NOON, a_deploy, a_node, a_user, an_image, eventually, free_port

pytestmark = pytest.mark.spawns

KEY = "a-key-of-the-tests-own"
SKYQUAY = Path(sys.executable).with_name("skyquay")
PROCESSES = 2
THREADS = Config().threads


class Served:
    """A `skyquay serve` with its children."""

    def __init__(self, config, folder, *words, **env):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "serve.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [SKYQUAY, "serve", *words],
                env={
                    **os.environ,
                    "SKYQUAY_MONGODB_URI": config.mongodb_uri,
                    "SKYQUAY_DATABASE": config.database,
                    "SKYQUAY_LISTEN": f"127.0.0.1:{self.port}",
                    "SKYQUAY_API_KEY": KEY,
                    "SKYQUAY_SECRET_KEY": "a secret key of the tests",
                    "SKYQUAY_PROCESSES": str(PROCESSES),
                    **env,
                },
                stdout=log,
                stderr=log,
            )
        self.seen = set()

    def list_children(self, role="serve"):
        """List the children that do this, and note that they were there."""
        found = set()
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children():
                with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                    if role in child.cmdline() and "--lifeline" in child.cmdline():
                        found.add(child)
        self.seen |= found
        return found

    def is_ready(self):
        """Ask whether somebody answers."""
        with suppress(requests.RequestException):
            return requests.get(f"{self.url}/readyz", timeout=10).status_code == 200
        return False

    def end(self):
        """Whatever the test did, leave nothing behind."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(60)
        for child in self.seen:
            with suppress(psutil.NoSuchProcess):
                child.kill()


@pytest.fixture
def serve(config, store, tmp_path):
    """Start a `skyquay serve` on the test's database, and wait until all of it is there."""
    started = []

    def start(*words, **env):
        served = Served(config, tmp_path, *words, **env)
        started.append(served)
        assert eventually(served.is_ready, timeout_s=60), served.log.read_text()
        return served

    yield start
    for served in started:
        served.end()


@pytest.fixture(scope="module")
def kept(mongod_uri, mongo_client, tmp_path_factory):
    """A `skyquay serve` on a database of its own, which tests hand on with all its processes."""
    config = Config(mongodb_uri=mongod_uri, database="supervised")
    served = Served(config, tmp_path_factory.mktemp("serve"))
    try:
        assert eventually(served.is_ready, timeout_s=60), served.log.read_text()
        yield served
    finally:
        served.end()
        mongo_client.drop_database(config.database)


def has_ended(process):
    """Return whether a process has ended; whoever inherits it may leave it a zombie."""
    with suppress(psutil.NoSuchProcess):
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    return True


def wait_for_all(served):
    """Wait until each of the serving children answers; list them."""
    assert eventually(lambda: len(served.list_children()) == PROCESSES)
    children = served.list_children()
    # A child has its threads when it serves, and not before it has looked at the database.
    assert eventually(
        lambda: all(child.num_threads() > THREADS for child in children), timeout_s=60
    )
    return children


def ask(served):
    """Ask once, on a connection of its own; return the status."""
    return requests.get(
        f"{served.url}/api/users", headers={"x-api-key": KEY}, timeout=20
    ).status_code


def test_a_process_that_dies_is_replaced(kept):
    """
    Who is left answers, and soon there are as many as before.
    """
    before = wait_for_all(kept)
    victim = next(iter(before))

    victim.kill()

    assert {200} == {ask(kept) for _ in range(20)}
    after = eventually(lambda: len(now := kept.list_children() - {victim}) == PROCESSES and now)
    assert PROCESSES - 1 == len(before & after)


def test_nobody_waits_for_a_process_that_cannot_be_replaced(serve, store):
    """
    While the successors of one that died end as well, the other one gets all connections.
    """
    served = serve()
    victim, *_ = wait_for_all(served)
    keep_from_starting(store)

    victim.kill()

    assert eventually(lambda: served.log.read_text().count("process.exited") >= 2, timeout_s=60)
    assert {200} == {ask(served) for _ in range(20)}


def test_all_processes_have_their_part(serve):
    """
    Of clients that connect at once each process that serves gets some.
    """
    served = serve()
    children = wait_for_all(served)

    def is_shared_out():
        counts = count_of_each(served, children, clients=40)
        return all(counts) and sum(counts) == 40

    assert eventually(is_shared_out, timeout_s=60)
    assert PROCESSES == len(set(map(name_listener, children)))


def name_listener(child):
    """Name the socket at which a process listens, as the system does."""
    [listener] = [each for each in child.net_connections("tcp") if each.status == "LISTEN"]
    return (Path("/proc") / str(child.pid) / "fd" / str(listener.fd)).readlink()


def count_of_each(served, children, *, clients):
    """Connect so many clients at once; count those of each process."""
    with ExitStack() as stack:
        for _ in range(clients):
            stack.enter_context(socket.create_connection(("127.0.0.1", served.port), timeout=10))

        def count(child):
            """Count the connections of a process, but for the socket that listens."""
            found = child.net_connections("tcp")
            return sum(each.laddr.port == served.port and bool(each.raddr) for each in found)

        eventually(lambda: sum(map(count, children)) == clients)
        return [count(child) for child in children]


def test_a_worker_that_dies_is_replaced(kept):
    """
    One process works, and another when it dies.
    """
    [worker] = eventually(lambda: kept.list_children("worker"))

    worker.kill()

    assert eventually(lambda: len(kept.list_children("worker") - {worker}) == 1)


def test_without_worker_no_process_works(serve):
    """
    With `--no-worker` all children serve.
    """
    served = serve("--no-worker")
    wait_for_all(served)

    assert set() == served.list_children("worker")


def test_one_process_has_no_children(serve):
    """
    With one process all is in that one.
    """
    served = serve("--processes", "1")

    assert (200, []) == (ask(served), psutil.Process(served.process.pid).children())


def test_sigterm_answers_what_is_under_way(serve, store):
    """
    A request that waits is answered, what it waited for is kept, and nobody is left.
    """
    served = serve()
    wait_for_all(served)
    served.list_children("worker")
    node = a_node(store, MemoryNodes(), name="away")
    store.nodes.update(node["_id"], {"status": "Offline", "probed_at": NOON.replace(year=2999)})
    order = a_deploy(a_user(store), node, an_image(store), queue=True)

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(
            requests.post,
            f"{served.url}{DEPLOY}?wait=60",
            json=order,
            headers={"x-api-key": KEY},
            timeout=50,
        )
        assert eventually(lambda: store.operations.list_newest({}, limit=1))
        served.process.terminate()
        answer = waiting.result()

    assert (201, "INSTALLING") == (answer.status_code, answer.json()["state"])
    assert "pending" == store.operations.list_newest({}, limit=1)[0]["status"]
    assert 0 == served.process.wait(40)
    assert [] == [child for child in served.seen if not has_ended(child)]


class Load:
    """Clients that ask all the time, and take no failure for an answer."""

    def __init__(self, port, threads, *, keep_alive):
        self.port = port
        self.keep_alive = keep_alive
        self.answers = Counter()
        self.over = threading.Event()
        self.running = [threads.submit(self.ask) for _ in range(3)]

    def ask(self):
        """Ask, over one connection as long as the server keeps it, or each time over a new one."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        while not self.over.is_set():
            try:
                connection.request("GET", "/api/users", headers={"x-api-key": KEY})
                answer = connection.getresponse()
                answer.read()
                self.answers[answer.status] += 1
            except (OSError, http.client.HTTPException) as exc:
                self.answers[repr(exc)] += 1
                connection.close()
            if not self.keep_alive:
                connection.close()
        connection.close()

    def has_asked(self, more):
        """Wait until so many more were answered."""
        enough = self.answers.total() + more
        assert eventually(lambda: self.answers.total() >= enough, timeout_s=60)


@pytest.mark.slow
@pytest.mark.parametrize("keep_alive", [True, False])
def test_sighup_drops_no_request(serve, keep_alive):
    """
    While every process is replaced under load, each request is answered as ever.
    """
    served = serve()
    before = wait_for_all(served)

    with ThreadPoolExecutor(3) as threads:
        load = Load(served.port, threads, keep_alive=keep_alive)
        try:
            load.has_asked(100)
            served.process.send_signal(signal.SIGHUP)
            replaced = eventually(lambda: all(map(has_ended, before)), timeout_s=90)
            load.has_asked(200)
        finally:
            load.over.set()

    assert (True, {200}) == (replaced, set(load.answers)), load.answers
    assert PROCESSES == len(served.list_children())


@pytest.fixture(scope="module")
def reloaded(kept):
    """After a SIGHUP: what idle connections were told last, and the worker of before.

    All processes have been replaced.
    """
    before = wait_for_all(kept)
    [worker] = eventually(lambda: kept.list_children("worker"))
    connections = [http.client.HTTPConnection("127.0.0.1", kept.port, timeout=30) for _ in range(8)]
    idle = threading.Event()

    def ask_until_told(connection):
        while True:
            connection.request("GET", "/healthz")
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200 or answer.getheader("Connection"):
                return answer.status, answer.getheader("Connection")
            idle.wait(0.2)

    with ThreadPoolExecutor(len(connections)) as threads:
        told = [threads.submit(ask_until_told, connection) for connection in connections]
        kept.process.send_signal(signal.SIGHUP)
    assert eventually(lambda: all(map(has_ended, before)), timeout_s=60)
    return [each.result() for each in told], worker


def test_an_idle_connection_may_bring_one_more_request(reloaded):
    """
    Connections that are idle when their process is replaced are told to close, not cut.
    """
    told, _ = reloaded

    assert {(200, "close")} == set(told)


def test_a_worker_is_replaced_by_sighup(kept, reloaded):
    """
    SIGHUP brings a new worker too.
    """
    _, worker = reloaded

    assert eventually(lambda: has_ended(worker), timeout_s=60)
    assert eventually(lambda: len(kept.list_children("worker")) == 1)


def keep_from_starting(store):
    """Have each process that is started from now on end at once."""
    node = nodes.draft(NodeOrder(name="n", driver="skyportd"), node_id="n", now=NOON)
    store.nodes.add({**node, "secret": Vault("a key that nobody set").seal("sesame")})


def test_new_processes_that_cannot_start_replace_nobody(serve, store):
    """
    When SIGHUP's first new process ends at once, the old ones serve on.
    """
    served = serve()
    before = wait_for_all(served)
    keep_from_starting(store)

    served.process.send_signal(signal.SIGHUP)

    assert eventually(lambda: "The old ones stay" in served.log.read_text(), timeout_s=60)
    assert (before, 200) == (served.list_children(), ask(served))


def test_children_end_with_their_parent(serve):
    """
    When the parent is killed, nobody serves or works on, and the port is free.
    """
    served = serve()
    wait_for_all(served)
    eventually(lambda: served.list_children("worker"))

    served.process.kill()
    served.process.wait(20)

    assert eventually(lambda: all(map(has_ended, served.seen)), timeout_s=40)
    socket.create_server(("127.0.0.1", served.port)).close()


def count_requests(served):
    """Read from the metrics how many requests all processes have answered."""
    answer = requests.get(f"{served.url}/metrics", headers={"x-api-key": KEY}, timeout=20)
    return sum(
        sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.name == "skyquay_request_duration_seconds_count"
    )


@pytest.mark.slow
def test_what_was_counted_outlives_who_counted(serve, tmp_path):
    """
    After deaths and replacements no count has gone back, and there are no more files for it.
    """
    served = serve(TMPDIR=str(tmp_path))
    wait_for_all(served)
    counts = []

    def note_count(before):
        for _ in range(20):
            ask(served)
        assert eventually(lambda: all(map(has_ended, before)), timeout_s=60)
        wait_for_all(served)
        counts.append(count_requests(served))

    for _ in range(2):
        victim = next(iter(served.list_children()))
        victim.kill()
        note_count({victim})
    before = served.list_children() | served.list_children("worker")
    served.process.send_signal(signal.SIGHUP)
    note_count(before)

    numbers = {path.stem.rpartition("_")[2] for path in tmp_path.glob("skyquay-metrics-*/*.db")}
    assert [True] * 2 == [b - a >= 20 for a, b in itertools.pairwise(counts)]
    assert numbers <= {str(number) for number in range(2 * (PROCESSES + 1))}


@pytest.mark.slow
def test_a_killed_parent_leaves_no_folder_for_long(serve, tmp_path):
    """
    The next start removes what children counted in, once all of them have ended, and no other's.
    """
    alive, killed = serve(TMPDIR=str(tmp_path)), serve(TMPDIR=str(tmp_path))
    wait_for_all(killed)
    killed.process.kill()
    killed.process.wait(20)
    assert eventually(lambda: all(map(has_ended, killed.seen)), timeout_s=40)

    after = serve(TMPDIR=str(tmp_path))

    assert 2 == len(list(tmp_path.glob("skyquay-metrics-*")))
    assert [True, True] == [count_requests(served) > 0 for served in (alive, after)]


@pytest.fixture
def handlers():
    """Have the signals afterwards do what they did before."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class EndAtError(logging.Handler):
    """End this process's supervisor when it tells of an error."""

    def emit(self, record):
        """Note what was told."""
        self.told = record.getMessage()
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_machine_that_starts_no_process_ends_nobody(handlers, monkeypatch):
    """
    Where no child can be started, as while Python is replaced, the parent goes on and says so.
    """
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    log, handler = logging.getLogger("service.serving.supervisor"), EndAtError()
    log.addHandler(handler)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        Supervisor(listener, processes=1, works=False).run()

    log.removeHandler(handler)
    assert "process.start_failed" in handler.told


def test_who_ends_early_again_and_again_is_started_later_and_later():
    """
    The first death costs no time, those that follow more and more, up to a bound.
    """
    delays = [restart_delay_s(number) for number in (1, 2, 3, 4, 100, 100_000)]

    assert [0.0, 1.0, 2.0, 4.0, MAX_DELAY_S, MAX_DELAY_S] == delays


@pytest.mark.parametrize(
    ("share", "cores"),
    [("max 100000", None), ("100000 100000", 1), ("5000 100000", 1), ("x", None)],
)
def test_a_container_s_share_counts(tmp_path, share, cores):
    """
    There are no more cores than the container has a share of, rounded up.
    """
    tmp_path.joinpath("cpu.max").write_text(share)

    assert (cores or len(os.sched_getaffinity(0))) == count_cores(tmp_path)


@pytest.mark.parametrize(
    ("quota", "cores"), [("-1", None), ("100000", 1), ("5000", 1), ("x", None), (None, None)]
)
def test_a_container_s_share_counts_on_older_kernels_too(tmp_path, quota, cores):
    """
    Version 1 of cgroups tells it in two files, and -1 for no limit.
    """
    folder = tmp_path / "cpu"
    folder.mkdir()
    if quota is not None:
        folder.joinpath("cpu.cfs_quota_us").write_text(f"{quota}\n")
    folder.joinpath("cpu.cfs_period_us").write_text("100000\n")

    assert (cores or len(os.sched_getaffinity(0))) == count_cores(tmp_path)
