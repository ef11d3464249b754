"""How soon a container that is killed past Skyquay is an event, and whether any kill is lost.

Against a server that runs, on the Docker Engine of this machine::

    python -m bench.power --url http://127.0.0.1:8000 --key KEY --kills 100

It deploys `--instances` instances, kills their containers in turn with the engine's own API, starts
them again through Skyquay, and reads the events of the server meanwhile.
"""

import argparse
import statistics
import threading
import time
from typing import Any

import docker
import requests

LOST_S = 30.0
"""How long an event is waited for before it counts as lost."""


class Events(threading.Thread):
    """Reads all events of power, and notes when each came."""

    def __init__(self, get: Any) -> None:
        super().__init__(daemon=True)
        self._get = get
        self._seen: list[tuple[float, dict[str, Any]]] = []
        self._came = threading.Condition()

    def run(self) -> None:
        """Read on and on, from now on."""
        after = self._get("/api/events?limit=1&wait=0").get("next", "")
        while True:
            found = self._get(f"/api/events?types=instance.power&wait=20&after={after}")
            now = time.time()
            after = found["next"]
            with self._came:
                self._seen += [(now, event) for event in found["events"]]
                self._came.notify_all()

    def await_power(self, instance_id: str, power: str, since: float) -> float | None:
        """Wait for an event of this power; return when it came. None: it never did."""

        def find() -> float | None:
            for at, event in self._seen:
                resource = event["resource"]
                if at >= since and (resource["Id"], resource["power"]) == (instance_id, power):
                    return at
            return None

        with self._came:
            self._came.wait_for(find, timeout=LOST_S)
            return find()


def main() -> None:
    """Kill, and print the delays."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--key", required=True)
    parser.add_argument("--node", required=True)
    parser.add_argument("--image", required=True)
    parser.add_argument("--user", required=True)
    parser.add_argument("--instances", type=int, default=4)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--port", type=int, default=27100)
    wanted = parser.parse_args()
    session = requests.Session()
    session.headers["x-api-key"] = wanted.key

    def call(method: str, path: str, **options: Any) -> Any:
        answer = session.request(method, wanted.url + path, timeout=60, **options)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    ids = []
    for number in range(wanted.instances):
        port = wanted.port + number
        body = {"image": wanted.image, "memory": 32, "cpu": 0.25, "ports": f"80:{port}",
                "nodeId": wanted.node, "name": f"p{number}", "user": wanted.user,
                "primary": str(port)}  # fmt: skip
        ids.append(call("POST", "/api/instances/deploy?wait=30", json=body)["Id"])
    events = Events(lambda path: requests.get(
        wanted.url + path, headers={"x-api-key": wanted.key}, timeout=60).json())  # fmt: skip
    events.start()
    time.sleep(2)
    engine = docker.from_env()
    delays, lost = [], 0
    for number in range(wanted.kills):
        instance_id = ids[number % len(ids)]
        began = time.time()
        engine.api.kill(instance_id)
        came = events.await_power(instance_id, "stopped", began)
        if came is None:
            lost += 1
        else:
            delays.append(came - began)
        call("POST", f"/api/instances/{instance_id}/start?wait=20")
    for instance_id in ids:
        call("DELETE", f"/api/instances/{instance_id}")
    delays.sort()
    p99 = delays[int(len(delays) * 0.99) - 1]
    print(f"kills {wanted.kills}, lost {lost}")
    print(f"median {statistics.median(delays):.3f} s, p99 {p99:.3f} s, longest {delays[-1]:.3f} s")


if __name__ == "__main__":
    main()
