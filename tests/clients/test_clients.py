"""What others make of the OpenAPI document: linters, and generated clients that are used.

`make test-clients` installs what this needs into `.clients/`, apart from what Skyquay needs.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.installation import new_installation
from tests.support import OPENAPI, free_port

HERE = Path(__file__).parent
TOOLS = OPENAPI.parent.parent / ".clients"
PYTHON = TOOLS / "venv" / "bin"
NODE = TOOLS / "node_modules" / ".bin"

pytestmark = pytest.mark.spawns


def run(*command: object, cwd: Path = TOOLS) -> str:
    """Run a program that must succeed and say nothing on the way; return what it printed."""
    environ = {**os.environ, "PATH": f"{PYTHON}:{os.environ['PATH']}"}
    ended = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=240,
        check=False,
    )
    assert 0 == ended.returncode, ended.stdout
    return ended.stdout


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    """A new installation that serves."""
    with new_installation(tmp_path_factory.mktemp("up")) as installation:
        yield installation


@pytest.fixture
def folder(request):
    """A new folder beside the tools, which programs in it find."""
    folder = TOOLS / request.node.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def test_the_document_is_valid():
    """
    A validator finds nothing wrong with the document.
    """
    run(PYTHON / "openapi-spec-validator", OPENAPI)


def test_the_linter_finds_nothing():
    """
    Spectral's rules for OpenAPI are kept, but for those that .spectral.yaml explains.
    """
    run(
        NODE / "spectral", "lint", OPENAPI, "--ruleset", HERE / ".spectral.yaml",
        "--fail-severity", "hint", "--quiet",
    )  # fmt: skip


def test_a_python_client(installation, folder):
    """
    openapi-python-client leaves nothing out, what it makes is typed, and an instance lives with it.
    """
    run(
        PYTHON / "openapi-python-client", "generate", "--path", OPENAPI, "--meta", "none",
        "--output-path", folder / "skyquay_client", "--config", HERE / "python.yaml",
        "--fail-on-warning",
    )  # fmt: skip
    program = shutil.copy(HERE / "life_cycle.py", folder)

    run(PYTHON / "mypy", "--strict", "--no-incremental", program, cwd=folder)

    printed = run(PYTHON / "python", program, installation.url, installation.key, free_port())
    assert "DELETED" == printed.strip()


def test_a_typescript_client(installation, folder):
    """
    openapi-typescript's types let the right calls pass, and an instance lives with them.
    """
    run(NODE / "openapi-typescript", OPENAPI, "--output", folder / "api.ts")
    for name in ("life_cycle.ts", "tsconfig.json"):
        shutil.copy(HERE / name, folder)
    folder.joinpath("package.json").write_text('{"type": "module"}')

    run(NODE / "tsc", "--project", folder)

    printed = run("node", folder / "life_cycle.js", installation.url, installation.key, free_port())
    assert "DELETED" == printed.strip()
