"""A worker as a program, whose operations are taken over sooner than an installation's.

Run `python -m tests.brief_worker LEASE_S`, with the settings of `skyquay worker`.
"""

import os
import sys
import threading
from contextlib import closing

from service.app import make_drivers, make_store, prepare, utc_now
from service.config import Config
from service.serving.signals import leave_on_signals
from service.worker.loop import Worker

if __name__ == "__main__":
    leave_on_signals()
    config = Config.from_env(os.environ)
    with closing(make_store(config)) as store:
        prepare(config, store)
        worker = Worker(
            store,
            make_drivers(config, store),
            threads=config.worker_threads,
            lease_s=float(sys.argv[1]),
            probe_interval_s=config.probe_interval_s,
            now=utc_now,
        )
        worker.start()
        try:
            threading.Event().wait()
        finally:
            worker.stop()
