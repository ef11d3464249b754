"""The document of an image."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, NotRequired, TypedDict


class Variable(TypedDict):
    """What an image asks of those who deploy it."""

    type: str  # "text" and whatever else a form may show
    default: str | None
    required: bool
    secret: NotRequired[bool]  # its values are never answered
    schema: NotRequired[dict[str, Any]]  # a JSON Schema of its values; none: any text
    description: NotRequired[str]
    editable_by: NotRequired[str]  # who may set it: admin, or owner as well, which is the default


class ReadyKind(StrEnum):
    """What shows that a program serves."""

    LOG = "log"  # it printed this text
    PATTERN = "pattern"  # it printed what this regular expression matches
    PORT = "port"  # its primary port accepts TCP connections
    HTTP = "http"  # its primary port answers this path with 2xx or 3xx


class ReadyCheck(TypedDict):
    """How an image says that its program serves."""

    kind: ReadyKind
    value: str  # the text, the pattern or the path; "" for a port
    timeout_s: int  # how long that may take, from a start
    unseen: NotRequired[bool]  # of an instance whose node cannot look for it: so it is not awaited


class ImagePort(TypedDict):
    """A port that an image's program listens on."""

    name: str
    offset: NotRequired[int]  # of its host port to that of the first; absent: it is anywhere
    container: NotRequired[int]  # the port inside; absent: the same as the host port
    env: NotRequired[str]  # the variable that tells it to the program


class Image(TypedDict):
    """One entry of the catalogue: a container image and how to run it."""

    _id: str
    name: str  # unique
    image: str  # the container image's reference
    alt_images: list[str]
    env: list[str]  # "KEY=value"
    cmd: list[str] | str | None  # a list is executed as it is, a string through sh -c
    scripts: dict[str, Any]
    variables: dict[str, Variable]
    stop_command: str | None
    description: str
    author: str
    author_name: str
    meta: dict[str, Any]
    features: list[str]
    ready: NotRequired[ReadyCheck | None]  # None, or absent: it serves as soon as it runs
    ports: NotRequired[list[ImagePort]]  # which an instance gets whose owner names none
    process: bool  # may run as a plain process; set by an operator's import only
    revision: NotRequired[int]  # raised by each write; absent: 0, of earlier versions
    observations: NotRequired[int]  # how many of these writes were observations; absent: 0
    changed_by: NotRequired[str | None]  # who wrote it last: store/cause.py
    deleting_at: NotRequired[datetime]  # since when it is being deleted, which takes seconds
    created_at: datetime
    updated_at: datetime


def new_image(
    image_id: str,
    *,
    name: str,
    image: str,
    alt_images: Iterable[str] = (),
    env: Iterable[str] = (),
    cmd: list[str] | str | None = None,
    scripts: Mapping[str, Any] | None = None,
    variables: Mapping[str, Variable] | None = None,
    stop_command: str | None = None,
    description: str = "",
    author: str = "",
    author_name: str = "",
    meta: Mapping[str, Any] | None = None,
    features: Iterable[str] = (),
    ready: ReadyCheck | None = None,
    ports: Iterable[ImagePort] = (),
    process: bool = False,
    now: datetime,
) -> Image:
    """Make the document of an image: where nothing else is said, it runs as it was built."""
    return Image(
        _id=image_id,
        name=name,
        image=image,
        alt_images=list(alt_images),
        env=list(env),
        cmd=cmd,
        scripts=dict(scripts or {}),
        variables=dict(variables or {}),
        stop_command=stop_command,
        description=description,
        author=author,
        author_name=author_name,
        meta=dict(meta or {}),
        features=list(features),
        ready=ready,
        ports=list(ports),
        process=process,
        revision=1,
        created_at=now,
        updated_at=now,
    )
