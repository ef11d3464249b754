"""The files of an instance on a Docker Engine, by the archives that it makes and extracts itself.

Each is a single exchange on a connection of its own: it has no end in time, but no silence in it
may be long. The engine extracts within the container's own root, so that no name and no link in an
archive leads out of that.
"""

import http.client
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from typing import Any
from urllib.parse import urlencode

from service.drivers import volume_archive
from service.drivers.bounds import BoundedSocket
from service.drivers.docker.client import Client
from service.drivers.docker.inspection import to_status
from service.drivers.docker.labels import DATA_FOLDER
from service.drivers.volume_archive import (
    CHUNK_BYTES,
    TOP,
    make_end,
    make_header,
    pad,
    split,
)
from service.errors import NodeFailure, NodeRefused
from service.model.lifecycle import Power

VOLUME_TIMEOUT_S = 24 * 3600.0
"""How long one copy may take."""

SILENCE_S = 60.0
"""How long the engine may take for the next piece."""

_UNBOUNDED = 2**63
_MAX_REASON_BYTES = 16 * 1024


def read(engine: Client, container: Mapping[str, Any]) -> Iterator[bytes]:
    """Read the files of a container that does not run."""
    _require_copyable(engine, container)
    with _exchange(engine) as (connection, _):
        connection.request("GET", _make_path(engine, container, DATA_FOLDER))
        with _answer(engine, connection) as answer:
            # What is there, so that no engine that is slow keeps us from looking up.
            while chunk := answer.read1(CHUNK_BYTES):
                yield chunk


def write(
    engine: Client,
    container: Mapping[str, Any],
    archive: Iterable[bytes],
    authorize: Callable[[], None],
) -> None:
    """Write files into the volume of a container that does not run."""
    _require_copyable(engine, container)

    def authorized() -> Iterator[bytes]:
        for chunk in _place(archive):
            authorize()
            yield chunk

    authorize()
    with _exchange(engine) as (connection, _):
        # An engine that says no hangs up before it has read all; it is heard all the same.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.request(
                "PUT",
                _make_path(engine, container, "/"),
                body=authorized(),
                headers={"Content-Type": "application/x-tar", "Transfer-Encoding": "chunked"},
                encode_chunked=True,
            )
        with _answer(engine, connection):
            pass  # what else it says does not matter, however much that is


def _require_copyable(engine: Client, container: Mapping[str, Any]) -> None:
    """Raise NodeRefused for a container that runs: its files may change while they are copied.

    And for all of Podman's: its archives do not say who files belong to.
    """
    if engine.is_podman:
        raise NodeRefused(engine.node_id, "Podman cannot copy files with their owners.")
    if to_status(container).power == Power.RUNNING:
        raise NodeRefused(engine.node_id, "The container runs, so its files cannot be copied.")


def _place(archive: Iterable[bytes]) -> Iterator[bytes]:
    """Name what is in an archive as it is in the container's root.

    Extracted in a folder, an engine refuses links that lead out of that, although programs may
    well have such: they are read in the container alone.
    """
    parent = DATA_FOLDER.removesuffix(TOP)[1:]
    for member, content in volume_archive.read(archive):
        member.name = parent + "/".join((TOP, *split(member.name)))
        if member.islnk():
            member.linkname = parent + "/".join((TOP, *split(member.linkname)))
        yield make_header(member)
        yield from content
        if member.isreg():
            yield pad(member.size)
    yield make_end()


@contextmanager
def _exchange(engine: Client) -> Iterator[tuple[http.client.HTTPConnection, BoundedSocket]]:
    with closing(engine.dial(VOLUME_TIMEOUT_S, _UNBOUNDED)) as connection:
        connection.settimeout(SILENCE_S)
        client = http.client.HTTPConnection("docker")
        client.sock = connection
        yield client, connection


@contextmanager
def _answer(
    engine: Client, connection: http.client.HTTPConnection
) -> Iterator[http.client.HTTPResponse]:
    with connection.getresponse() as answer:
        if answer.status != http.client.OK:
            said = answer.read(_MAX_REASON_BYTES).decode(errors="replace")
            is_final = http.client.BAD_REQUEST <= answer.status < http.client.INTERNAL_SERVER_ERROR
            kind = NodeRefused if is_final else NodeFailure
            raise kind(engine.node_id, f"The Docker Engine cannot copy the files: {said.strip()}")
        yield answer


def _make_path(engine: Client, container: Mapping[str, Any], folder: str) -> str:
    query = urlencode({"path": folder, "noOverwriteDirNonDir": "true"})
    return f"/v{engine.api_version}/containers/{container['Id']}/archive?{query}"
