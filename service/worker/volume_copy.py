"""How the files of an instance get from one node to another: through the worker, and compared.

What passes is read twice: by the node that writes it down, and by a thread that sums up what is in
it. That is compared with what the other node reads back at the end.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from queue import Queue

from service.drivers import NodeDriver
from service.drivers.volume_archive import BadArchive, VolumeDigest, digest
from service.errors import NodeFailure
from service.worker.job import Job

REPORT_EVERY_S = 1.0
_WAITING_CHUNKS = 4
"""How many pieces may wait to be summed up, which bounds the memory that a copy takes."""


def copy_volume(job: Job, source: NodeDriver, target: NodeDriver) -> None:
    """Copy all files to the target, whose volume is empty, and see that they are the same there.

    Raises NodeFailure where they are not, and what drivers and checkpoints raise.
    """
    instance_id = job.operation["instance_id"]
    total = source.measure_volumes([instance_id]).get(instance_id)
    transfer = job.operation["transfer"]
    try:
        with _Summing() as summing:
            passing = _passing(job, source.read_volume(instance_id), total)
            target.write_volume(instance_id, summing.follow(passing))
            sent = summing.end()
    except BadArchive as exc:
        raise NodeFailure(transfer["source_id"], str(exc)) from exc
    job.report("Comparing what was copied.")
    try:
        arrived = digest(_checked(job, target.read_volume(instance_id)))
    except BadArchive as exc:
        raise NodeFailure(transfer["target_id"], str(exc)) from exc
    if sent != arrived:
        raise NodeFailure(
            transfer["target_id"],
            f"The files differ after they were copied: {sent.entries} with {sent.size_bytes} bytes "
            f"were sent, and {arrived.entries} with {arrived.size_bytes} bytes are there.",
        )


def _passing(job: Job, archive: Iterator[bytes], total: int | None) -> Iterator[bytes]:
    """Pass an archive on, and write down how many bytes that were, once a second and at the end."""
    passed, report_at = 0, time.monotonic() + REPORT_EVERY_S
    job.set_copied(0, total)
    for chunk in _checked(job, archive):
        passed += len(chunk)
        yield chunk
        if time.monotonic() >= report_at:
            job.set_copied(passed, total)
            report_at = time.monotonic() + REPORT_EVERY_S
    job.set_copied(passed, total)


def _checked(job: Job, archive: Iterator[bytes]) -> Iterator[bytes]:
    for chunk in archive:
        job.checkpoint()
        yield chunk


class _Summing:
    """Sums up an archive that passes, in a thread of its own."""

    def __init__(self) -> None:
        self._chunks: Queue[bytes | None] = Queue(_WAITING_CHUNKS)
        self._found: Future[VolumeDigest] = Future()
        self._ended = False

    def __enter__(self) -> "_Summing":
        threading.Thread(target=self._sum_up, daemon=True, name="volume-digest").start()
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def follow(self, archive: Iterable[bytes]) -> Iterator[bytes]:
        """Pass an archive on."""
        for chunk in archive:
            self._chunks.put(chunk)
            yield chunk

    def end(self) -> VolumeDigest:
        """Say what was in it. Raises BadArchive where it was not whole."""
        self._close()
        return self._found.result()

    def _close(self) -> None:
        if not self._ended:
            self._ended = True
            self._chunks.put(None)

    def _sum_up(self) -> None:
        chunks = iter(self._chunks.get, None)
        try:
            self._found.set_result(digest(chunks))
        except BaseException as exc:  # noqa: BLE001 - handed to the one who waits
            self._found.set_exception(exc)
            for _ in chunks:
                pass  # whoever passes it on is not kept waiting
