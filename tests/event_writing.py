"""A thread that writes events, as a worker does."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from service.store import Store


@contextmanager
def writing(store: Store, token: str = "t", *, lease_s: float = 30.0) -> Iterator[threading.Thread]:
    """Have a thread write events meanwhile."""
    stopping = threading.Event()
    assert store.event_log.take(token, lease_s=lease_s)
    writer = threading.Thread(
        target=store.event_log.follow,
        args=(token,),
        kwargs={"lease_s": lease_s, "stopping": stopping},
    )
    writer.start()
    try:
        yield writer
    finally:
        stopping.set()
        writer.join()
        store.event_log.release(token)
