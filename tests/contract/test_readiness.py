"""What shows that a program is ready, on the wire."""

import pytest

from service.contract.image_files import CreateImage, ImageFile
from service.contract.images import ImageFileAnswer
from service.contract.readiness import print_check
from service.model.documents import new_image
from tests.support import NOON

IMAGE = {"Name": "Echo", "Image": "registry.example.org/echo:1"}


@pytest.mark.parametrize(
    ("sent", "kind", "value", "timeout_s"),
    [
        ({"log": "Done ("}, "log", "Done (", 300),
        ({"log": {"pattern": r"Done \(\d"}}, "pattern", r"Done \(\d", 300),
        ({"port": True, "timeout": 1}, "port", "", 1),
        ({"http": "/health?deep=1", "timeout": 3600}, "http", "/health?deep=1", 3600),
        ({"log": None, "port": True, "timeout": 5}, "port", "", 5),
    ],
)
def test_a_check_is_read(sent, kind, value, timeout_s):
    """There are four kinds; null is as good as absent."""
    loaded = ImageFile().load({**IMAGE, "ready": sent})["ready"]

    assert {"kind": kind, "value": value, "timeout_s": timeout_s} == loaded


@pytest.mark.parametrize("sent", [{}, {"ready": None}])
def test_an_image_need_not_say(sent):
    """Its programs are ready as soon as they run."""
    assert ImageFile().load({**IMAGE, **sent})["ready"] is None


@pytest.mark.parametrize(
    "sent",
    [
        {"log": "Done (", "timeout": 300},
        {"log": {"pattern": "Done"}, "timeout": 5},
        {"port": True, "timeout": 300},
        {"http": "/", "timeout": 300},
    ],
)
def test_a_check_is_written_as_it_is_read(sent):
    """What an image says can be imported again."""
    image = new_image("i", **{**ImageFile().load({**IMAGE, "ready": sent}), "now": NOON})

    assert sent == ImageFileAnswer.shape(image)["ready"] == print_check(image["ready"])


@pytest.mark.parametrize(
    ("sent", "wrong"),
    [
        ("Done (", []),
        (["log"], []),
        (True, []),
        ({}, []),
        ({"timeout": 5}, []),
        ({"log": "a", "port": True}, []),
        ({"log": ""}, ["log"]),
        ({"log": " "}, ["log"]),
        ({"log": "two\nlines"}, ["log"]),
        ({"log": "a\0"}, ["log"]),
        ({"log": "a" * 513}, ["log"]),
        ({"log": 7}, ["log"]),
        ({"log": {"pattern": ""}}, ["log"]),
        ({"log": {"pattern": 7}}, ["log"]),
        ({"log": {"regex": "a"}}, ["log"]),
        ({"port": False}, ["port"]),
        ({"port": 25565}, ["port"]),
        ({"port": 1}, ["port"]),
        ({"http": "health"}, ["http"]),
        ({"http": "//evil example"}, ["http"]),
        ({"http": "/a\r\nHost: b"}, ["http"]),
        ({"http": "/" + "a" * 512}, ["http"]),
        ({"http": True}, ["http"]),
        ({"port": True, "timeout": 0}, ["timeout"]),
        ({"port": True, "timeout": 3601}, ["timeout"]),
        ({"port": True, "timeout": "5"}, ["timeout"]),
        ({"port": True, "timeout": 1.5}, ["timeout"]),
        ({"port": True, "timeout": True}, ["timeout"]),
        ({"prot": True}, ["prot"]),
        ({"log": "", "port": 7, "http": 7, "timeout": 0, "x": 1},
         ["x", "log", "port", "http", "timeout"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("schema", [ImageFile, CreateImage])
def test_what_is_wrong_is_named(schema, sent, wrong):
    """All of it at once."""
    reasons = schema().validate({**IMAGE, "ready": sent})

    named = reasons["ready"]
    assert wrong == ([] if isinstance(named, list) else list(named))


@pytest.mark.parametrize("port", ["udp", {"udp": True}, False])
def test_udp_is_refused_with_the_reason(port):
    """Nobody can see from outside whether a UDP port is served."""
    reasons = ImageFile().validate({**IMAGE, "ready": {"port": port}})

    assert "UDP" in reasons["ready"]["port"][0]


def test_a_name_that_is_nearly_right_is_suggested():
    """As everywhere else."""
    reasons = ImageFile().validate({**IMAGE, "ready": {"prot": True}})

    assert "port" in reasons["ready"]["prot"][0]
