"""A worker as a program, whose operations are taken over sooner than an installation's.

Run `python -m tests.brief_worker LEASE_S`, with the settings of `skyquay worker`.
"""

import os
import sys
import threading
from collections.abc import Callable
from contextlib import closing

from service.app import make_drivers, make_store, prepare, utc_now
from service.config import Config
from service.drivers import DriverFactory
from service.serving.signals import leave_on_signals
from service.store import Store
from service.worker.loop import Worker


def work(lease_s: float, make_drivers: Callable[[Config, Store], DriverFactory]) -> None:
    """Work until a signal ends it."""
    leave_on_signals()
    config = Config.from_env(os.environ)
    with closing(make_store(config)) as store:
        prepare(config, store)
        worker = Worker(
            store,
            make_drivers(config, store),
            threads=config.worker_threads,
            lease_s=lease_s,
            probe_interval_s=config.probe_interval_s,
            now=utc_now,
        )
        worker.start()
        try:
            threading.Event().wait()
        finally:
            worker.stop()


if __name__ == "__main__":
    work(float(sys.argv[1]), make_drivers)
