"""The units of ``deploy/systemd``, as systemd's own tools judge them. None is started."""

import re
import subprocess
from pathlib import Path

import pytest

from service.serving.server import DRAIN_TIMEOUT_S
from service.serving.supervisor import END_TIMEOUT_S
from tests.support import need

pytestmark = pytest.mark.spawns

FILES = Path(__file__).resolve().parent.parent.parent / "deploy" / "systemd"
INSTALLED = "/opt/skyquay/bin/skyquay"
UNITS = ["skyquay-api.service", "skyquay-worker.service"]

MOST_EXPOSED = "15"
"""On systemd-analyze's scale, in tenths: 100 is a service that nothing holds back."""


@pytest.fixture(params=UNITS)
def unit(request, tmp_path):
    """A unit as shipped, whose program is one that exists here."""
    program = tmp_path / "skyquay"
    program.touch(mode=0o755)
    text = FILES.joinpath(request.param).read_text()
    assert 1 == text.count(INSTALLED)
    path = tmp_path / request.param
    path.write_text(text.replace(INSTALLED, str(program)))
    return path


def analyze(*words):
    """Run systemd-analyze; tell its exit code and all that it printed."""
    done = subprocess.run(
        [need("systemd-analyze"), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout


def test_every_unit_is_looked_at():
    """
    There is no unit but those of these tests.
    """
    assert UNITS == sorted(path.name for path in FILES.iterdir())


def test_systemd_finds_nothing_wrong(unit):
    """
    systemd knows every line of the unit, and warns of none.
    """
    assert (0, "") == analyze("verify", "--man=no", "--recursive-errors=no", str(unit))


def test_little_is_exposed(unit):
    """
    By systemd's own measure the service can do little that it need not.
    """
    status, printed = analyze(
        "security", "--offline=true", f"--threshold={MOST_EXPOSED}", str(unit)
    )

    assert 0 == status, printed


@pytest.mark.parametrize(
    ("name", "needed_s"),
    [("skyquay-api.service", END_TIMEOUT_S), ("skyquay-worker.service", DRAIN_TIMEOUT_S * 2)],
)
def test_there_is_time_to_leave_in_order(name, needed_s):
    """
    systemd waits longer than the service takes at most to finish what is under way.
    """
    text = FILES.joinpath(name).read_text()

    assert needed_s < int(re.search(r"^TimeoutStopSec=(\d+)s$", text, re.MULTILINE)[1])


def test_no_secret_stands_in_a_unit(unit):
    """
    Units can be read by everybody: secrets come from files that systemd hands over.
    """
    handed = re.findall(
        r"^LoadCredential=([\w-]+):/etc/skyquay/\1$", unit.read_text(), re.MULTILINE
    )

    assert ["mongodb-uri", "secret-key"] == handed
