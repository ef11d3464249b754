"""What workers do for webhooks, as a program that can be killed: `python -m tests.webhook_worker`.

Every address is allowed, leases are short, and it goes on until it is killed.
"""

import os
import secrets
import threading
from contextlib import closing
from functools import partial

from service.app import make_store, utc_now
from service.config import Config
from service.worker import fan_out
from service.worker.deliveries import Sender
from tests.receivers import settings

LEASE_S = 0.5

if __name__ == "__main__":
    config = Config.from_env(os.environ)
    fan_out.BATCH = 7
    with closing(make_store(config)) as store:
        sender = Sender(store, settings(), now=utc_now)
        follow = partial(
            fan_out.fan_out, store, secrets.token_hex(8), lease_s=LEASE_S,
            stopping=threading.Event(), made=sender.wake, now=utc_now,
        )  # fmt: skip

        def go_on() -> None:
            """Make deliveries whenever nobody else does."""
            while True:
                follow()

        threading.Thread(target=go_on, daemon=True).start()
        print("started", flush=True)  # noqa: T201 - who started it waits for that
        while True:
            if not sender.send_due():
                sender.wait(0.05)
