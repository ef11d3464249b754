"""What the README and the pages of ``docs/`` say, compared with what is so."""

import os
import re
import runpy
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click
import pytest

from service import errors
from service.cli import main
from service.model.driver_traits import OFFERED
from service.model.lifecycle import INSTANCE_MOVES, OPERATION_MOVES, NodeStatus
from service.serving import preflight
from tests.installation import new_installation
from tests.pages import find_blocks, find_outputs, mask
from tests.support import SPEC
from tests.test_imports import MAY_IMPORT

ROOT = Path(__file__).resolve().parent.parent
README = ROOT.joinpath("README.md").read_text("utf-8")
API = ROOT.joinpath("docs/api.md").read_text("utf-8")
DEVELOPMENT = ROOT.joinpath("docs/development.md").read_text("utf-8")
ERRORS = ROOT.joinpath("docs/errors.md").read_text("utf-8")
NODES = ROOT.joinpath("docs/nodes.md").read_text("utf-8")
STATES = ROOT.joinpath("docs/states.md").read_text("utf-8")
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(ROOT.joinpath("docs").rglob("*.md"))]

BETWEEN = "--- the next block ---"
TIMEOUT_S = 100.0
"""How long a shell may take to run the README's blocks. It would be for ever if one did not end."""

OF_THE_FRAMEWORK = {
    (404, "not_found"),
    (405, "method_not_allowed"),
    (413, "request_entity_too_large"),
    (415, "unsupported_media_type"),
}
OF_THE_SERVER = {(408, "request_timeout")}
WHAT_IS_NOT_FOUND = {"user", "instance", "image", "node", "key", "operation", "webhook", "delivery"}


def read_table(page: str, heading: str) -> list[list[str]]:
    """Read the rows of the first table below a line, cell by cell."""
    lines = page.partition(f"{heading}\n")[2].lstrip("\n").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def quoted(text: str) -> list[str]:
    """List what stands in backticks."""
    return re.findall(r"`([^`]+)`", text)


def read_moves(kind: str) -> dict[str, set[str]]:
    """Read one table of moves of docs/states.md."""
    table = read_table(STATES, f"<!-- moves: {kind} -->")
    return {quoted(state)[0]: set(quoted(after)) for state, _, after in table}


def read_diagrams() -> set[tuple[str, str]]:
    """Read all arrows of the diagrams of docs/states.md, but for beginnings and ends."""
    return set(re.findall(r"^    (\w+) --> (\w+)", STATES, re.MULTILINE))


def list_commands(group: click.Group, prefix: str) -> Iterator[str]:
    """List the commands of a group, and of the groups in it, in full."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from list_commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}"


def list_errors(error: type[errors.ServiceError]) -> Iterator[type[errors.ServiceError]]:
    """List an error's class and all below it."""
    yield error
    for child in error.__subclasses__():
        yield from list_errors(child)


def list_tree(tree: str) -> Iterator[str]:
    """List the paths that a drawn tree names. Two spaces part names; a text follows more."""
    folder = ""
    for line in tree.splitlines():
        indented = line.startswith("  ")
        names = re.findall(r"\S+", re.split(r"(?<=\S) {3,}", line.strip())[0])
        for name in names:
            yield f"{folder}{name}" if indented else name
        if not indented:
            folder = names[0] if names[0].endswith("/") else ""


def name_anchor(heading: str) -> str:
    """Name the anchor of a heading as GitHub does."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def find_broken_links(page: Path) -> list[str]:
    """List the links of a page to files or headings that are not there."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        target, _, anchor = link.partition("#")
        if "://" in link:
            continue
        path = page.parent / target if target else page
        headings = (
            re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)
            if anchor and path.is_file()
            else []
        )
        if not path.exists() or (anchor and anchor not in map(name_anchor, headings)):
            broken.append(link)
    return broken


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    """What the terminal of a Skyquay showed until it served. It still does."""
    with new_installation(tmp_path_factory.mktemp("up")) as installation:
        yield installation.printed


class Shell:
    """A shell that runs blocks of the README, one after the other."""

    def __init__(self, up, *options, **values):
        found = {
            "URL": re.search(r"http://127\.0\.0\.1:\d+", up).group(),
            "KEY": re.search(r"sq_[\w-]+", up).group(),
        }
        self._process = subprocess.Popen(
            ["bash", *options],
            env={**os.environ, **found, **values},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._timer = threading.Timer(TIMEOUT_S, self._process.kill)
        self._timer.start()

    def run(self, block):
        """Run a block; answer what it printed, and its $PORT. None when the shell has ended."""
        with suppress(BrokenPipeError):
            self._process.stdin.write(f'{block}\necho; echo "{BETWEEN} ${{PORT:-}}"\n')
            self._process.stdin.flush()
        output = ""
        while line := self._process.stdout.readline():
            if line.startswith(BETWEEN):
                return output.strip(), line.removeprefix(BETWEEN).strip()
            output += line
        return None

    def end(self):
        """Answer the exit code."""
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        status = self._process.wait(TIMEOUT_S)
        self._process.stdout.close()
        self._timer.cancel()
        return status


STRICT = ("-euo", "pipefail")


def run_blocks(up, blocks, *options, **values):
    """Run blocks in a shell of their own; answer how it ended, and what each printed."""
    shell = Shell(up, *options, **values)
    outputs = []
    for block in blocks:
        if (seen := shell.run(block)) is None:
            break
        outputs.append(seen[0])
    return shell.end(), outputs


@pytest.fixture(scope="module")
def first_deploy(up):
    """The README's blocks, run one after the other by one shell: how it ended, what each printed.

    Before the instance is suspended, the test looks at its port itself: that is the last output.
    """
    shell = Shell(up, *STRICT)
    outputs, page, port = [], b"", ""
    for block in find_blocks(README, "run"):
        if "suspend" in block:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
                page = answer.read()
        if (seen := shell.run(block)) is None:
            break
        output, port = seen
        outputs.append(output)
    return shell.end(), outputs, page


@pytest.mark.spawns
def test_up_prints_what_the_readme_shows(up):
    """
    What `skyquay up` prints on its first start is what the README shows.
    """
    shown = find_blocks(README, "printed by: up")[0]

    assert mask(shown) == mask(up)


@pytest.mark.spawns
def test_the_first_deploy_succeeds(first_deploy):
    """
    The README's blocks end well when they are run as they stand.
    """
    status, outputs, _ = first_deploy

    assert (0, len(find_blocks(README, "run"))) == (status, len(outputs))


@pytest.mark.spawns
def test_the_first_deploy_prints_what_the_readme_shows(first_deploy):
    """
    Below each block the README shows what the block prints.
    """
    _, outputs, _ = first_deploy

    assert [mask(shown) for shown in find_outputs(README)] == [mask(real) for real in outputs]


@pytest.mark.spawns
@pytest.mark.parametrize("until", [None, 2])
def test_the_blocks_run_again(up, first_deploy, until):
    """
    After the printed call, and after earlier runs, whole or broken off, the blocks end well.
    """
    blocks = find_blocks(README, "run")
    printed = re.search(r"^curl .*", up, re.MULTILINE).group()
    before = [f"{printed} -sS"] if until is None else blocks[:until]
    assert 0 == run_blocks(up, before, *STRICT)[0]

    status, outputs = run_blocks(up, blocks, *STRICT)

    assert (0, len(blocks)) == (status, len(outputs))
    assert '"InternalState":"READY"' == outputs[2]


@pytest.mark.spawns
def test_blocks_that_fail_end(up):
    """
    With a wrong key each block ends all the same, and says what is wrong.
    """
    blocks = find_blocks(README, "run")[:3]

    status, outputs = run_blocks(up, blocks, KEY="sq_wrong")

    assert (0, 3) == (status, len(outputs))
    assert "unauthorized" in outputs[1]
    assert "There is no instance" in outputs[2]


@pytest.mark.spawns
def test_the_first_instance_answers_on_its_port(first_deploy):
    """
    The instance that the README deploys serves its folder, which is empty.
    """
    _, _, page = first_deploy

    assert b"Directory listing for /" in page


GENERATED = runpy.run_path(str(ROOT / "docs/generate.py"))["PAGES"]


@pytest.mark.parametrize("page", GENERATED)
def test_generated_pages_are_up_to_date(page):
    """
    The settings and the commands are described as the code has them; if not, run `make docs`.
    """
    assert GENERATED[page]() == ROOT.joinpath("docs", page).read_text("utf-8")


def test_every_command_is_described():
    """
    The page of the commands has each that there is, with what it does.
    """
    described = re.findall(
        r"^## (.*)\n\n```text\n.*\n```\n\n\w", GENERATED["commands.md"](), re.MULTILINE
    )

    assert sorted(list_commands(main, "skyquay")) == sorted(described)


def test_the_page_on_nodes_lists_the_drivers():
    """
    The table of drivers has those that a node may be created with, and the one for tests.
    """
    table = {quoted(driver)[0] for driver, _, _ in read_table(NODES, "# Nodes")}

    assert {*OFFERED, "memory"} == table


def test_the_readme_lists_what_make_run_looks_for():
    """
    Whoever reads the README first has every package that is found missing later.
    """
    installed = re.search(r"^apt-get install (.*)", README, re.MULTILINE).group(1).split()

    assert sorted(["make", *preflight.PACKAGES]) == sorted(installed)


def test_the_readme_draws_files_that_exist():
    """
    Every file and folder of the README's tree is in the checkout.
    """
    named = list(list_tree(find_blocks(README, "tree")[0]))

    missing = [name for name in named if not ROOT.joinpath(name).exists()]

    assert (True, []) == (len(named) > 10, missing)


def test_the_map_has_the_import_table():
    """
    docs/development.md has each part of `service/`, with what it may import beside itself.
    """
    table = {
        quoted(part)[0]: set(quoted(others))
        for part, _, others in read_table(DEVELOPMENT, "<!-- imports -->")
    }

    assert {part: others - {part} for part, others in MAY_IMPORT.items()} == table


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    """
    Every relative link of a page leads to a file, and to a heading where it names one.
    """
    assert [] == find_broken_links(page)


def test_the_page_on_the_api_lists_the_paths():
    """
    The table of paths is that of the OpenAPI document.
    """
    paths = SPEC["paths"]
    documented = {
        (method.upper(), path) for path, methods in paths.items() for method in methods
    } - {("PARAMETERS", path) for path in paths}

    table = {(method, quoted(path)[0]) for method, path, _ in read_table(API, "# The API")}

    assert documented == table


def test_the_page_on_errors_lists_the_codes():
    """
    The table of errors has every code that a client can get, with its status, and no other.
    """
    known = {(error.status, error.code) for error in list_errors(errors.ServiceError)}
    unknown = {
        (errors.NotFound.status, errors.NotFound(what, "").code) for what in WHAT_IS_NOT_FOUND
    }

    table = [
        (int(status), quoted(code)[0])
        for status, code, _, _ in read_table(ERRORS, "<!-- codes -->")
    ]

    assert sorted(known | unknown | OF_THE_FRAMEWORK | OF_THE_SERVER) == sorted(table)


def test_the_table_of_instances_is_the_lifecycles():
    """
    docs/states.md has the states of instances and their moves.
    """
    moves = {str(before): set(map(str, after)) for before, after in INSTANCE_MOVES.items()}

    assert moves == read_moves("instances")


def test_the_table_of_operations_is_the_lifecycles():
    """
    docs/states.md has the statuses of operations and their moves.
    """
    moves = {str(before): set(map(str, after)) for before, after in OPERATION_MOVES.items()}

    assert moves == read_moves("operations")


def test_the_diagrams_draw_the_moves():
    """
    The diagrams of docs/states.md have an arrow for each move, and no other.

    A program that serves is ready, and starts anew from either phase: tests/store/test_phases.py.
    """
    phases = {("starting", "ready"), ("starting", "starting"), ("ready", "starting")}
    moves = phases | {
        (str(before), str(after))
        for table in (INSTANCE_MOVES, OPERATION_MOVES)
        for before, allowed in table.items()
        for after in allowed
    }

    assert moves == read_diagrams()


def test_the_table_of_nodes_has_every_status():
    """
    docs/states.md has the statuses of nodes.
    """
    table = [quoted(status)[0] for status, _, _ in read_table(STATES, "<!-- statuses: nodes -->")]

    assert list(map(str, NodeStatus)) == table
