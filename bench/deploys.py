"""What does a deploy cost beside the least that it could: a bare transaction, and `docker run`?

Run `python -m bench.deploys`. Sixteen threads, each for a user and on a node of its own, have
deploys taken on, in turn with three bare writes in a transaction of PyMongo. With `--image` there
are also deploys to READY on the Docker Engine of this machine, over `?wait=`, in turn with `docker
run -d` of the same. What counts are the ratios of the rounds.
"""

import secrets
import socket
import statistics
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count
from typing import Any

import click
from pymongo import MongoClient
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from bench.installation import Installation, install
from service import images, instances, keys, nodes, users
from service.app import create_app, make_drivers, make_worker, utc_now
from service.config import Config
from service.drivers.memory import MemoryNodes
from service.model.node_policy import NodePolicy
from service.model.orders import Order
from service.model.origin import Origin
from service.model.ports import parse

CLIENTS = 16
SOCKET = "unix:///var/run/docker.sock"
COMMAND = ["sleep", "1000"]


def measure(work: Callable[[int], None], seconds: float) -> float:
    """Do `work(client)` in as many threads for some seconds; return how often in one."""
    until = time.monotonic() + seconds

    def go_on(client: int) -> int:
        done = 0
        while time.monotonic() < until:
            work(client)
            done += 1
        return done

    with ThreadPoolExecutor(CLIENTS) as threads:
        return sum(threads.map(go_on, range(CLIENTS))) / seconds


def compare_transactions(installation: Installation, rounds: int, seconds: float) -> None:
    """Print the ratio of deploys that are taken on to bare transactions."""
    store, fleet, ports = installation.store, MemoryNodes(), count(1)
    node: nodes.NodeOrder = {"name": "n", "driver": "memory"}
    ids = [
        nodes.create(store, fleet, node, policy=NodePolicy(), now=utc_now())["_id"]
        for _ in range(CLIENTS)
    ]
    owners = [
        users.create(store, username=f"u{n}", email=f"{n}@x.org", password="p", now=utc_now())[
            "_id"
        ]
        for n in range(CLIENTS)
    ]
    client: MongoClient[dict[str, Any]] = MongoClient(installation.mongodb_uri, w="majority")
    bare = client["bare"]
    bare["nodes"].insert_many([{"_id": node_id, "allocated": 0} for node_id in ids])

    def deploy(number: int) -> None:
        port = next(ports) % 60_000 + 1
        order: Order = {
            "name": "one", "user_id": owners[number], "node_id": ids[number],
            "image": installation.place[1], "image_name": None, "memory_mib": 1, "cpu_milli": 1,
            "disk_gb": None, "ports": parse(f"80:{port}"), "primary": port, "variables": {},
        }  # fmt: skip
        instances.deploy(store, order, origin=Origin(utc_now()))

    def write(number: int) -> None:
        def work(session: Any) -> None:
            made = {"_id": secrets.token_hex(8), "name": "one", "node_id": ids[number]}
            bare["instances"].insert_one(made, session=session)
            bare["operations"].insert_one(dict(made), session=session)
            bare["nodes"].update_one(
                {"_id": ids[number]}, {"$inc": {"allocated": 1}}, session=session
            )

        with client.start_session() as session:
            session.with_transaction(
                work,
                read_concern=ReadConcern("snapshot"),
                write_concern=WriteConcern("majority"),
            )

    found = []
    for _ in range(rounds):
        theirs, ours = measure(write, seconds), measure(deploy, seconds)
        found.append(ours / theirs)
        click.echo(f"bare: {theirs:.0f}/s, deploys: {ours:.0f}/s, ratio {ours / theirs:.2f}")
    client.close()
    show("deploys taken on, to bare transactions", found)


def compare_engine(installation: Installation, image: str, rounds: int) -> None:
    """Print the ratio of a deploy to READY to `docker run -d`."""
    config = Config(
        mongodb_uri=installation.mongodb_uri,
        database="bench",
        data_dir=installation.folder,
        secret_key="a secret key of the bench",
        allow_loopback_nodes=True,
    )
    store, found = installation.store, []
    open_driver = make_drivers(config, store)
    node = nodes.create(
        store,
        open_driver,
        {"name": "d", "driver": "docker", "address": SOCKET},
        policy=NodePolicy(allow_loopback=True),
        now=utc_now(),
    )
    fields = {"name": "s", "image": image, "alt_images": [image], "cmd": COMMAND, "scripts": {}}
    image_id = images.put(store, fields, now=utc_now())["_id"]
    client = create_app(config, store, open_driver).test_client()
    headers = {"x-api-key": keys.create(store, name="k", now=utc_now())[1]}
    worker = make_worker(config, store, open_driver)
    worker.start()
    for number in range(rounds + 1):
        port, other = find_free_port(), find_free_port()
        body = {
            "name": "one", "user": installation.place[0], "nodeId": node["_id"],
            "image": image_id, "memory": 64, "cpu": 1, "ports": f"80:{port}", "primary": port,
        }  # fmt: skip
        began = time.perf_counter()
        path = "/api/instances/deploy?wait=30"
        made = client.post(path, json=body, headers=headers).get_json()
        ours = time.perf_counter() - began
        name, began = f"bench-{secrets.token_hex(4)}", time.perf_counter()
        words = [
            *("docker", "run", "-d", "--name", name, "--init", "--cap-drop", "ALL"),
            *("--restart", "unless-stopped", "--memory", "64m", "-v", f"{name}:/app/data"),
            *("-p", f"{other}:80/tcp", "-p", f"{other}:80/udp", image, *COMMAND),
        ]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        theirs = time.perf_counter() - began
        if made.get("state") != "READY":
            raise click.ClickException(f"The deploy ended otherwise: {made}")
        gone = {"id": made["Id"]}
        client.delete("/api/instance/delete?wait=30", json=gone, headers=headers)
        for words in (["rm", "-fv", name], ["volume", "rm", name]):
            subprocess.run(["docker", *words], check=True, stdout=subprocess.DEVNULL)
        if number:  # the first is to warm up
            found.append(ours / theirs)
            click.echo(f"docker run: {theirs:.2f} s, deploy to READY: {ours:.2f} s")
    worker.stop()
    show("deploys to READY, to `docker run -d`", found)


def find_free_port() -> int:
    """Find a host port that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def show(what: str, found: list[float]) -> None:
    """Print the median of some ratios, and their spread."""
    click.echo(f"{what}: {statistics.median(found):.2f} x ({min(found):.2f} to {max(found):.2f})")


@click.command(help=__doc__)
@click.option("--rounds", default=10, show_default=True)
@click.option("--seconds", default=3.0, show_default=True, help="A round of transactions.")
@click.option("--image", help="A container image with `sleep`, which the engine has.")
def main(rounds: int, seconds: float, image: str | None) -> None:
    """Measure, and print the ratios."""
    with ExitStack() as stack:
        installation = install(stack)
        if image:
            compare_engine(installation, image, rounds)
        compare_transactions(installation, rounds, seconds)


if __name__ == "__main__":
    main()
