"""The database fails over under load: three real mongods, whose primary is killed."""

import itertools
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests

from service import images, nodes
from service.app import make_drivers, utc_now
from service.config import Config
from service.drivers.process.runner import ProcessRunner
from service.model.node_policy import NodePolicy
from service.store import Store
from tests.replica_set import run_replica_set
from tests.support import DEPLOY, SKYQUAY, eventually, free_port

pytestmark = [pytest.mark.spawns, pytest.mark.alone]

KEY = "failover-key-0123456789"
BOUND_S = 15.0
"""How long any answer may take: ten seconds of the database, and what the machine adds."""

FAILOVERS = 2
WRITERS = 4


@dataclass
class Seen:
    """What clients saw while the primary was killed under their hands."""

    acknowledged: set[str] = field(default_factory=set)
    deployed: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    answers: Counter[str] = field(default_factory=Counter)
    longest_s: float = 0.0
    without_retry_after: int = 0
    resumed_s: list[float] = field(default_factory=list)
    alive: set[int] = field(default_factory=set)
    woken: bool = False
    ready: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    users: set[str] = field(default_factory=set)
    instances: dict[str, str] = field(default_factory=dict)
    node: dict[str, Any] = field(default_factory=dict)
    containers: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Client:
    """A client of the service, which writes down what it is told."""

    def __init__(self, url: str, seen: Seen) -> None:
        self.url = url
        self.seen = seen
        self._session = requests.Session()
        self._session.headers["x-api-key"] = KEY

    def send(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send a request, and note its answer and how long it took."""
        began = time.monotonic()
        answer = self._session.request(method, f"{self.url}{path}", timeout=60, **options)
        took_s = time.monotonic() - began
        with self.seen.lock:
            code = "" if answer.ok else f" {answer.json()['code']}"
            self.seen.answers[f"{answer.status_code}{code}"] += 1
            self.seen.longest_s = max(self.seen.longest_s, took_s)
            if answer.status_code == 503 and "Retry-After" not in answer.headers:
                self.seen.without_retry_after += 1
        return answer


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What clients saw of two failovers and one outage. All tests look at this one run."""
    folder = tmp_path_factory.mktemp("replicas")
    with run_replica_set(folder) as replicas:
        config = Config(
            mongodb_uri=replicas.uri, database="failover", data_dir=folder, allow_process=True
        )
        node_id = prepare(config)
        port = free_port()
        environ = {
            **os.environ,
            "SKYQUAY_MONGODB_URI": config.mongodb_uri,
            "SKYQUAY_DATABASE": config.database,
            "SKYQUAY_DATA_DIR": str(folder),
            "SKYQUAY_LISTEN": f"127.0.0.1:{port}",
            "SKYQUAY_API_KEY": KEY,
            "SKYQUAY_SECRET_KEY": "a secret key of the tests",
            "SKYQUAY_ALLOW_PROCESS": "1",
            "SKYQUAY_PROBE_INTERVAL_S": "2",
            "SKYQUAY_LOG_LEVEL": "ERROR",
        }
        serve = [SKYQUAY, "serve", "--no-worker"]
        work = [sys.executable, "-m", "tests.brief_worker", "5"]
        processes = [
            subprocess.Popen(words, env=environ, stdout=subprocess.DEVNULL)
            for words in (serve, work)
        ]
        runner = ProcessRunner(node_id, root=folder / "instances")
        try:
            yield watch(replicas, f"http://127.0.0.1:{port}", node_id, runner)
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(timeout=60)
            for name in runner.list():
                runner.remove(name)


def prepare(config):
    """Add a node of this machine, and an image for it."""
    store = Store(config.mongodb_uri, config.database)
    store.prepare()
    order = {"name": "here", "driver": "process", "ram": "64"}
    node = nodes.create(
        store, make_drivers(config), order, policy=NodePolicy(allow_process=True), now=utc_now()
    )
    image = {"name": "sleeper", "image": "sleeper:1", "cmd": "exec sleep 1000000", "process": True}
    images.put(store, image, now=utc_now())
    store.close()
    return node["_id"]


def watch(replicas, url, node_id, runner):
    """Put load on the service, kill primaries, take the majority away, and look at the end."""
    seen = Seen()
    store = Store(replicas.uri, "failover")
    woken = threading.Event()
    store.changes.subscribe(woken.set)
    assert woken.wait(BOUND_S)
    client = Client(url, seen)
    assert eventually(lambda: is_ready(url) == 200, timeout_s=30)
    seen.ready["before"] = is_ready(url)
    begin = client.send("GET", "/api/events").json()["next"]
    client.send("POST", "/api/auth/create-user", json=a_user("owner"))
    over = threading.Event()
    with ThreadPoolExecutor(WRITERS + 2) as threads:
        work = [threads.submit(create_users, Client(url, seen), n, over) for n in range(WRITERS)]
        work.append(threads.submit(deploy_and_delete, Client(url, seen), node_id, over))
        work.append(threads.submit(watch_health, url, seen, over))
        try:
            for _ in range(FAILOVERS):
                fail_over(replicas, seen)
            take_majority_away(replicas, url, seen)
        finally:
            over.set()
        for one in work:
            one.result()
    look(client, node_id, runner)
    read_events(client, begin)
    woken.clear()
    deploy(client, node_id, port=19_999)
    seen.woken = woken.wait(60)  # a stream that was lost is opened again after half that at most
    store.close()
    return seen


def fail_over(replicas, seen):
    """Kill the primary under load, and wait until something is written again."""
    await_writes(seen)
    dead = replicas.kill_primary()
    began = time.monotonic()
    await_writes(seen)
    seen.resumed_s.append(time.monotonic() - began)
    replicas.launch(dead)
    assert eventually(lambda: replicas._count_secondaries() == 2, timeout_s=60)


def take_majority_away(replicas, url, seen):
    """Kill two of three members, look, and let them come back."""
    dead = [replicas.kill_primary()]
    dead.append(next(port for port in replicas.ports if port not in dead))
    replicas.kill(dead[1])
    seen.ready["without a majority"] = eventually(lambda: is_ready(url) == 503 and 503)
    assert eventually(lambda: seen.answers["503 database_unavailable"] >= WRITERS, timeout_s=60)
    for port in dead:
        replicas.launch(port)
    seen.ready["after"] = eventually(lambda: is_ready(url) == 200 and 200, timeout_s=60)
    await_writes(seen)


def await_writes(seen, *, more=20):
    """Wait until some more writes are acknowledged."""
    enough = len(seen.acknowledged) + more
    assert eventually(lambda: len(seen.acknowledged) >= enough, timeout_s=60)


def is_ready(url):
    """Return the status of /readyz; 0 while nobody listens."""
    with suppress(requests.ConnectionError):
        return requests.get(f"{url}/readyz", timeout=BOUND_S).status_code
    return 0


def watch_health(url, seen, over):
    """Ask all the time whether the process lives."""
    while not over.wait(0.2):
        seen.alive.add(requests.get(f"{url}/healthz", timeout=BOUND_S).status_code)


def a_user(name):
    """Make a user whose id is its name."""
    return {
        "userId": name,
        "username": name,
        "email": f"{name}@example.org",
        "password": "long enough",
    }


def create_users(client, number, over):
    """Create users one after the other, each until it is there."""
    made = 0
    while not over.is_set():
        name = f"user-{number}-{made}"
        answer = client.send("POST", "/api/auth/create-user", json=a_user(name))
        # A 409 after a 503 of our own: it was made, and the acknowledgement was lost.
        if answer.status_code in (201, 409):
            client.seen.acknowledged.add(name)
            made += 1


def deploy(client, node_id, *, port):
    """Ask for an instance."""
    body = {
        "name": "i", "user": "owner", "nodeId": node_id, "image": "sleeper", "memory": 64,
        "cpu": 1, "ports": f"80:{port}", "primary": port,
    }  # fmt: skip
    return client.send("POST", DEPLOY, json=body)


def deploy_and_delete(client, node_id, over):
    """Deploy instances, and delete every other one."""
    kept = True
    ports = itertools.count(20_000)  # nobody listens there
    while not over.is_set():
        answer = deploy(client, node_id, port=next(ports))
        if answer.status_code != 201:
            continue
        instance_id = answer.json()["Id"]
        client.seen.deployed.add(instance_id)
        kept = not kept
        if kept:
            continue
        gone = {"id": instance_id}
        while client.send("DELETE", "/api/instance/delete", json=gone).status_code == 503:
            pass
        client.seen.deleted.add(instance_id)


def look(client, node_id, runner):
    """Wait until no operation is open, and look at everything."""
    seen = client.seen

    def is_settled():
        with suppress(requests.RequestException):
            return not any(
                client.send("GET", f"/api/operations?status={status}").json()
                for status in ("pending", "running")
            )

    assert eventually(is_settled, timeout_s=60)
    seen.users = {user["userId"] for user in client.send("GET", "/api/users").json()}
    seen.instances = {
        instance["Id"]: instance["InternalState"]
        for instance in client.send("GET", "/api/instances").json()
    }
    [seen.node] = client.send("GET", "/api/nodes").json()
    seen.containers = set(runner.list())


def read_events(client, after):
    """Read all events, until one of a user that is made last."""
    answer = client.send("POST", "/api/auth/create-user", json=a_user("the-last-one"))
    assert answer.status_code == 201
    given_up_at = time.monotonic() + 120
    while time.monotonic() < given_up_at:
        page = client.send("GET", f"/api/events?after={after}&limit=1000&wait=5").json()
        client.seen.events += page["events"]
        after = page["next"]
        if "the-last-one" in {event["resourceId"] for event in page["events"]}:
            break


def test_no_acknowledged_write_is_lost(seen):
    """Every user whose creation was acknowledged is there after two failovers."""
    assert set() == seen.acknowledged - seen.users


def test_every_other_answer_is_a_clear_503(seen):
    """Clients see success, or 503 with the time to come back, or that it is there already."""
    expected = {"200", "201", "503 database_unavailable", "409 conflict", "400 instance_not_found"}

    assert set() == seen.answers.keys() - expected
    assert (0, True) == (seen.without_retry_after, seen.answers["503 database_unavailable"] > 0)


def test_every_request_is_answered_in_time(seen):
    """Nobody hangs, whatever the database does."""
    assert seen.longest_s < BOUND_S


def test_the_service_resumes_by_itself(seen):
    """After each failover writes go on without a restart."""
    assert FAILOVERS == len(seen.resumed_s)


def test_readyz_tells_the_truth(seen):
    """Ready with a primary, and not without."""
    assert {"before": 200, "without a majority": 503, "after": 200} == seen.ready


def test_the_process_lives_all_the_time(seen):
    """Health is about the process, not about its database."""
    assert {200} == seen.alive


def test_every_acknowledged_deploy_is_there(seen):
    """As READY, unless it was deleted."""
    kept = seen.deployed - seen.deleted

    assert {"READY"} == {seen.instances.get(name) for name in kept}


def test_every_acknowledged_delete_is_gone(seen):
    """Document and container."""
    assert set() == seen.deleted & (seen.instances.keys() | seen.containers)


def test_containers_and_counters_agree(seen):
    """Every container has its document, and the node has promised what is there."""
    assert seen.instances.keys() == seen.containers
    assert (len(seen.instances), 64 * len(seen.instances)) == (
        seen.node["instances"],
        seen.node["allocatedMemoryMib"],
    )


def test_who_waits_is_woken_again(seen):
    """The change stream goes on after failovers and an outage, without a restart."""
    assert seen.woken


def count_events(seen, name):
    """Count the events of this type for each thing."""
    return Counter(event["resourceId"] for event in seen.events if event["type"] == name)


@pytest.mark.parametrize(
    ("name", "which"),
    [
        ("user.created", "acknowledged"),
        ("instance.created", "deployed"),
        ("instance.deleted", "deleted"),
    ],
)
def test_every_acknowledged_change_is_told_once(seen, name, which):
    """Whatever was killed meanwhile: the database, and the workers that write events."""
    told = count_events(seen, name)

    assert dict.fromkeys(getattr(seen, which), 1) == {
        each: told[each] for each in getattr(seen, which)
    }


def test_events_come_in_one_order(seen):
    """Ids grow from page to page, and an instance is told of before it goes."""
    ids = [int(event["id"]) for event in seen.events]
    told = [(event["type"], event["resourceId"]) for event in seen.events]

    assert sorted(set(ids)) == ids
    assert all(
        told.index(("instance.created", each)) < told.index(("instance.deleted", each))
        for each in seen.deleted
    )
