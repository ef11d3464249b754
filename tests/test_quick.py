"""What `make quick` runs, and that it stays quick."""

import subprocess
import sys
from pathlib import Path

import pytest
from pymongo import MongoClient

from tests.quick import COMMANDS, CommandLimit, Selection

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parent.parent

EXAMPLES = """
    import pytest

    @pytest.fixture
    def mongod_uri():
        pass

    @pytest.fixture
    def store(mongod_uri):
        pass

    class TestA:
        @pytest.mark.parametrize("n", [1, pytest.param(2, marks=pytest.mark.heavy)])
        @pytest.mark.parametrize("m", [1, 2])
        def test_stored(self, store, m, n):
            pass

    class TestB:
        @pytest.mark.parametrize("n", [pytest.param(1, marks=pytest.mark.heavy), 2, 3])
        def test_stored(self, store, n):
            pass

    @pytest.mark.parametrize("n", [1, 2])
    def test_computed(n):
        pass

    @pytest.mark.heavy
    def test_long(store):
        pass
"""


@pytest.fixture
def select(pytester):
    """Run the examples with some options, and list those that were selected."""
    pytester.makeini("[pytest]\nmarkers = heavy")
    pytester.makepyfile(EXAMPLES)

    def select(*options):
        run = pytester.inline_run("-p", "no:xdist", *options, plugins=[Selection({"heavy"})])
        passed, _, _ = run.listoutcomes()
        return [report.nodeid.partition("::")[2] for report in passed]

    return select


def test_each_test_has_its_first_example(select):
    """All examples of what needs no database, the first of what does, and none that is heavy."""
    assert [
        "TestA::test_stored[1-1]",
        "TestB::test_stored[2]",
        "test_computed[1]",
        "test_computed[2]",
    ] == select()


def test_an_example_can_be_chosen(select):
    """The first is that of those which other options select."""
    assert ["TestB::test_stored[3]"] == select("-k", "TestB and 3")


@pytest.mark.parametrize(("sent", "outcome"), [(3, "passed"), (4, "failed")])
def test_who_asks_the_database_too_often_fails(pytester, mongod_uri, sent, outcome):
    """Setting up included, but for what many tests share, and with a word about the mark."""
    limit = CommandLimit(3)
    pytester.makepyfile(
        f"""
        import pytest

        @pytest.fixture(scope="session")
        def shared(database):
            for _ in range(9):
                database.command("ping")

        @pytest.fixture
        def own(database):
            database.command("ping")

        def test_before(database):
            database.command("ping")

        def test_it(shared, own, database):
            for _ in range({sent} - 1):
                database.command("ping")
        """
    )

    with MongoClient(mongod_uri, event_listeners=[limit]) as client:

        class Database:
            @pytest.fixture(scope="session")
            def database(self):
                return client["admin"]

        run = pytester.inline_run("-p", "no:xdist", plugins=[limit, Database()])

    last = run.getreports("pytest_runtest_logreport")[-2]
    assert ("test_it", outcome) == (last.head_line, last.outcome)
    assert ("mark it with `heavy`" in last.longreprtext) == (outcome == "failed")


@pytest.mark.spawns
@pytest.mark.parametrize(("options", "failed"), [(["--quick"], 1), ([], 0)])
def test_the_option_limits_all_clients(tmp_path, options, failed):
    """Without it a test may send as many commands as it likes."""
    file = tmp_path / "test_pings.py"
    file.write_text(
        "def test_pings(mongo_client):\n"
        f"    for _ in range({COMMANDS} + 1):\n"
        "        mongo_client.admin.command('ping')\n"
    )

    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", *options, file],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (failed, failed == 1) == (run.returncode, f"sent {COMMANDS + 1} commands" in run.stdout)
