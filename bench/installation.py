"""An installation for benchmarks of nodes: a mongod, and one process of `skyquay serve`."""

import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import requests

from bench.database import start_mongod
from service import images, users
from service.app import utc_now
from service.store import Store

KEY = "bench-key-0123456789abcdef"
SKYQUAY = Path(sys.executable).with_name("skyquay")


class Installation(NamedTuple):
    """Where it is, and a user and an image to deploy with."""

    folder: Path
    mongodb_uri: str
    store: Store
    place: tuple[str, str]


def install(stack: ExitStack) -> Installation:
    """Start a mongod, and add a user and an image. All is gone when the stack closes."""
    folder, mongod = start_mongod(stack)
    store = stack.enter_context(closing(Store(mongod.uri, "bench")))
    store.prepare()
    user = users.create(store, username="u", email="u@example.org", password="p", now=utc_now())
    image: dict[str, Any] = {
        "name": "i", "image": "i:1", "alt_images": [], "env": [], "cmd": None, "scripts": {},
        "variables": {}, "stop_command": None, "description": "", "author": "",
        "author_name": "", "meta": {}, "features": [], "process": False,
    }  # fmt: skip
    place = (user["_id"], images.put(store, image, now=utc_now())["_id"])
    return Installation(folder, mongod.uri, store, place)


def serve(stack: ExitStack, installation: Installation, **settings: str) -> str:
    """Start `skyquay serve`, and wait until it is ready; return its URL."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        listen_on = f"127.0.0.1:{probe.getsockname()[1]}"
    environ = {
        **os.environ, "SKYQUAY_MONGODB_URI": installation.mongodb_uri,
        "SKYQUAY_DATABASE": "bench", "SKYQUAY_DATA_DIR": str(installation.folder),
        "SKYQUAY_LISTEN": listen_on, "SKYQUAY_API_KEY": KEY, "SKYQUAY_LOG_LEVEL": "ERROR",
        "SKYQUAY_SECRET_KEY": "a secret key of the bench", "SKYQUAY_PROCESSES": "1", **settings,
    }  # fmt: skip
    process = subprocess.Popen([SKYQUAY, "serve"], env=environ, stdout=subprocess.DEVNULL)
    stack.callback(process.wait, 60)
    stack.callback(process.terminate)
    while True:
        try:
            requests.get(f"http://{listen_on}/readyz", timeout=5).raise_for_status()
            return f"http://{listen_on}"
        except requests.RequestException:
            time.sleep(0.1)


def find_process(url: str) -> psutil.Process:
    """Find the process that listens there."""
    port = int(url.rpartition(":")[2])
    return next(
        psutil.Process(each.pid)
        for each in psutil.net_connections("tcp")
        if each.status == "LISTEN" and each.laddr.port == port and each.pid
    )
