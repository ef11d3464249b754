"""The stack of docker-compose.yml, whose processes are killed while clients use it.

The images are those of the engine, or stand-ins. Everything has names of its own, and is gone
afterwards but for the images.
"""

import os
import random
import secrets
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.compose.stand_ins import INSTANCE, ensure_instance_image, ensure_stand_ins
from tests.docker_images import SOCKET, require_engine
from tests.support import DEPLOY, eventually, free_port, need

pytestmark = pytest.mark.spawns

ROOT = Path(__file__).resolve().parent.parent.parent
IMAGE = "skyquay-test:compose"
BUILD_TIMEOUT_S = 900
UP_TIMEOUT_S = 300
REQUEST_TIMEOUT_S = 30
READERS = 4
FIND_PRIMARY = """
import os, pymongo
uri = open(os.environ["SKYQUAY_MONGODB_URI_FILE"]).read().strip()
with pymongo.MongoClient(uri) as client:
    client.admin.command("ping")
    print(client.primary[0])
"""


@dataclass
class Stack:
    """The services of one project."""

    client: Any
    project: str
    url: str
    environ: dict[str, str]
    api: requests.Session = field(default_factory=requests.Session)

    def compose(self, *words: str, timeout_s: float = UP_TIMEOUT_S) -> str:
        """Run Compose, and give what it prints."""
        files = ["-f", "docker-compose.yml", "-f", "tests/compose/override.yml"]
        result = subprocess.run(
            [need("docker-compose"), *files, "-p", self.project, *words],
            cwd=ROOT, env=self.environ, capture_output=True, text=True, timeout=timeout_s,
            check=False,
        )  # fmt: skip
        assert 0 == result.returncode, f"{' '.join(words)}:\n{result.stdout}{result.stderr}"
        return result.stdout

    def find_container(self, service: str) -> Any:
        """Find the container of a service, as it is now."""
        return self.client.containers.get(self.compose("ps", "-a", "-q", service).strip())

    def await_health(self, service: str) -> None:
        """Wait until the service's container is healthy."""

        def is_healthy() -> bool:
            health = self.find_container(service).attrs["State"]["Health"]
            return bool(health["Status"] == "healthy")

        assert eventually(is_healthy, timeout_s=90), f"{service} is not healthy"

    def send(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send a request to nginx."""
        return self.api.request(method, f"{self.url}{path}", timeout=REQUEST_TIMEOUT_S, **options)

    def find_primary(self) -> str:
        """Ask which member takes writes."""
        return self.compose("exec", "-T", "worker", "python", "-c", FIND_PRIMARY).strip()


@dataclass
class Seen:
    """What clients saw. All tests look at this one run."""

    stand_ins: list[str] = field(default_factory=list)
    image_mb: float = 0.0
    first_ready_s: float = 0.0
    published: set[str] = field(default_factory=set)
    reads: dict[str, Counter[str]] = field(default_factory=dict)
    slowest_s: dict[str, float] = field(default_factory=dict)
    resumed_s: float = 0.0
    acknowledged: set[str] = field(default_factory=set)
    refused: Counter[str] = field(default_factory=Counter)
    users: set[str] = field(default_factory=set)
    state_after: str = ""
    left: list[str] = field(default_factory=list)
    member_returned: bool = False


@pytest.fixture(scope="module")
def seen(tmp_path_factory) -> Seen:
    """Build the image, run the stack, kill some of it, and take it down."""
    folder = tmp_path_factory.mktemp("compose")
    with closing(require_engine()) as client, ExitStack() as stack:
        seen = Seen(stand_ins=ensure_stand_ins(client, folder))
        ensure_instance_image(client, folder)
        stack.callback(remove_instances, client)
        running = prepare(client, folder)
        running.compose("build", "worker", timeout_s=BUILD_TIMEOUT_S)
        base = client.images.get("python:3.13-slim-bookworm").attrs["Size"]
        seen.image_mb = (client.images.get(IMAGE).attrs["Size"] - base) / 1e6
        stack.callback(running.compose, "down", "-v", "--timeout", "30")
        try:
            use(running, seen)
        except BaseException:
            print(running.compose("ps"), running.compose("logs", "--no-color", "--tail=40"))
            raise
    print(
        f"\nSkyquay's image: {seen.image_mb:.0f} MB on top of Python's"
        f"\nfrom `up` to the first READY instance: {seen.first_ready_s:.0f} s"
        f"\nreads by what happened meanwhile: {seen.reads}, slowest in s: {seen.slowest_s}"
        f"\nwrites: {len(seen.acknowledged)} made, {dict(seen.refused)} refused, "
        f"again {seen.resumed_s:.1f} s after the primary was killed"
        f"\nstand-ins for {', '.join(seen.stand_ins) or 'no image'}"
    )
    return seen


def prepare(client: Any, folder: Path) -> Stack:
    """Make secrets, and choose names, a port and a subnet that nobody else has."""
    subprocess.run([ROOT / "deploy/make-secrets", folder / "secrets"], check=True, timeout=60)
    published = f"127.0.0.1:{free_port()}"
    environ = {
        **os.environ,
        "SKYQUAY_IMAGE": IMAGE,
        "SKYQUAY_PUBLISH": published,
        "SKYQUAY_SECRETS": str(folder / "secrets"),
        "SKYQUAY_SUBNET": f"10.213.{random.randrange(128, 256)}",
        "SKYQUAY_ALLOW_ANY_IMAGE": "1",
        "DOCKER_GROUP": str(os.stat(SOCKET).st_gid),
    }
    project = f"skyquay-test-{secrets.token_hex(3)}"
    stack = Stack(client, project, f"http://{published}", environ)
    stack.api.headers["x-api-key"] = folder.joinpath("secrets/api_key").read_text().strip()
    return stack


def use(stack: Stack, seen: Seen) -> None:
    """Start everything, deploy an instance, kill an API and a primary, and delete the instance."""
    began = time.monotonic()
    stack.compose("up", "-d")
    instance_id = deploy(stack)
    seen.first_ready_s = time.monotonic() - began
    stack.await_health("worker")
    seen.published = find_published(stack)

    with readers(stack, seen, "an API was killed"):
        victim = stack.find_container("api-1")
        victim.kill()
        time.sleep(5)
        victim.start()
        stack.await_health("api-1")
    with readers(stack, seen, "an API was made anew"):
        stack.compose("up", "-d", "--no-deps", "--force-recreate", "api-2")
        stack.await_health("api-2")
    # A connection that waits for its next request is closed, maybe just when that is sent.
    with readers(stack, seen, "nginx was reloaded", kept=False):
        stack.compose("exec", "-T", "nginx", "nginx", "-s", "reload")
        time.sleep(1)

    with readers(stack, seen, "the primary was killed"):
        lost = fail_over(stack, seen)
    # A start with a member away makes nothing anew.
    stack.compose("run", "--rm", "--no-deps", "mongo-init")
    stack.find_container(lost).start()
    stack.await_health(lost)
    seen.member_returned = True

    seen.state_after = ask_state(stack, instance_id)
    seen.users = {user["userId"] for user in stack.send("GET", "/api/users").json()}
    stack.send("DELETE", "/api/instance/delete", json={"id": instance_id}).raise_for_status()
    eventually(lambda: not list_instances(stack.client), timeout_s=60)
    seen.left = [each.name for each in list_instances(stack.client)]


def deploy(stack: Stack) -> str:
    """Add a user and the engine of this machine, deploy an instance, and wait until it is READY."""
    create_user(stack, "owner").raise_for_status()
    order = {"name": "here", "driver": "docker", "address": f"unix://{SOCKET}"}
    node = stack.send("POST", "/api/nodes/create", json=order)
    assert (201, "Online") == (node.status_code, node.json().get("status")), node.text
    port = free_port()
    body = {
        "name": "first", "user": "owner", "nodeId": node.json()["id"], "image": INSTANCE,
        "memory": 64, "cpu": 1, "ports": f"8080:{port}", "primary": port,
    }  # fmt: skip
    deployed = stack.send("POST", DEPLOY, json=body)
    assert 201 == deployed.status_code, deployed.text
    instance_id: str = deployed.json()["Id"]
    assert eventually(lambda: ask_state(stack, instance_id) != "INSTALLING", timeout_s=60)
    assert "READY" == ask_state(stack, instance_id)
    return instance_id


def ask_state(stack: Stack, instance_id: str) -> str:
    """Ask for the state of an instance."""
    told = stack.send("POST", "/api/getInstance", json={"id": instance_id}).json()
    return str(told["InternalState"])


def create_user(stack: Stack, name: str) -> requests.Response:
    """Ask for a user whose id is its name."""
    body = {
        "userId": name, "username": name, "email": f"{name}@example.org", "password": "long enough",
    }  # fmt: skip
    return stack.send("POST", "/api/auth/create-user", json=body)


@contextmanager
def readers(stack: Stack, seen: Seen, what: str, *, kept: bool = True) -> Iterator[None]:
    """Read all the time, some 20 times a second each, and note the answers.

    Each on its kept connection, or on a new one for each request.
    """
    headers = {} if kept else {"Connection": "close"}
    answers = seen.reads[what] = Counter()
    seen.slowest_s[what] = 0.0
    over = threading.Event()

    def read() -> None:
        while not over.wait(0.05):
            began = time.monotonic()
            try:
                answer = str(stack.send("GET", "/api/nodes", headers=headers).status_code)
            except requests.RequestException as exc:
                answer = type(exc).__name__
            answers[answer] += 1
            seen.slowest_s[what] = max(seen.slowest_s[what], time.monotonic() - began)

    with run_threads([read] * READERS, over):
        assert eventually(lambda: answers["200"] > 20)
        yield
        enough = answers["200"] + 20
        assert eventually(lambda: answers["200"] > enough, timeout_s=60)


@contextmanager
def run_threads(work: list[Callable[[], None]], over: threading.Event) -> Iterator[None]:
    """Run these until the block is left."""
    threads = [threading.Thread(target=one) for one in work]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(REQUEST_TIMEOUT_S + 5)


def fail_over(stack: Stack, seen: Seen) -> str:
    """Kill the primary while users are created, until they are again. Tell which member it was."""
    over = threading.Event()
    made_at: list[float] = []

    def write() -> None:
        number = 0
        while not over.wait(0.05):
            number += 1
            try:
                answer = create_user(stack, f"user-{number}")
            except requests.RequestException as exc:
                seen.refused[type(exc).__name__] += 1
                continue
            if answer.status_code == 201:
                made_at.append(time.monotonic())
                seen.acknowledged.add(f"user-{number}")
            else:
                seen.refused[str(answer.status_code)] += 1

    primary = stack.find_primary()
    victim = stack.find_container(primary)
    with run_threads([write], over):
        assert eventually(lambda: len(made_at) >= 10, timeout_s=60)
        victim.kill()
        killed_at = time.monotonic()
        # One that was on its way may be acknowledged still, so several must follow.
        assert eventually(lambda: len([at for at in made_at if at > killed_at]) >= 10, timeout_s=90)
    after = [at for at in made_at if at > killed_at]
    gaps = [later - earlier for earlier, later in zip([killed_at, *after], after, strict=False)]
    seen.resumed_s = max(gaps)
    return primary


def find_published(stack: Stack) -> set[str]:
    """Tell the services of which a port is open on this machine."""
    ours = {"label": f"com.docker.compose.project={stack.project}"}
    return {
        each.labels["com.docker.compose.service"]
        for each in stack.client.containers.list(filters=ours)
        if any(each.attrs["NetworkSettings"]["Ports"].values())
    }


def list_instances(client: Any) -> list[Any]:
    """List the containers that were deployed, running or not."""
    return list(client.containers.list(all=True, filters={"ancestor": INSTANCE}))


def remove_instances(client: Any) -> None:
    """Remove what a run that failed left."""
    for each in list_instances(client):
        each.remove(force=True, v=True)


def test_an_instance_is_ready_soon(seen):
    """
    From nothing but the image to a running instance takes a minute or two.
    """
    assert 0 < seen.first_ready_s < 150


def test_nothing_but_nginx_is_published(seen):
    """
    Neither the API nor the database has a port on this machine.
    """
    assert {"nginx"} == seen.published


@pytest.mark.parametrize(
    "what", ["an API was killed", "an API was made anew", "nginx was reloaded"]
)
def test_no_read_fails(seen, what):
    """
    Who reads notes nothing but a slower answer, since the other API is asked.
    """
    assert {"200"} == set(seen.reads[what])


def test_a_read_without_a_primary_waits_or_is_a_503(seen):
    """
    Most elections are over before Skyquay gives up waiting; after a longer one it says 503.
    """
    assert set(seen.reads["the primary was killed"]) <= {"200", "503"}


def test_no_acknowledged_write_is_lost(seen):
    """
    Every user that was acknowledged is there after the primary was killed, and writes went on.
    """
    assert set() == seen.acknowledged - seen.users
    assert seen.resumed_s < 30


def test_a_refused_write_says_that_the_database_is_away(seen):
    """
    While there is no primary a write is a 503, and nothing else.
    """
    assert set(seen.refused) <= {"503"}


def test_the_member_returns(seen):
    """
    The member that was killed is healthy again, once it is started.
    """
    assert seen.member_returned


def test_the_instance_noticed_nothing(seen):
    """
    It is READY to the end; deleted, its container is gone.
    """
    assert ("READY", []) == (seen.state_after, seen.left)
