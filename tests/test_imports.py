"""The import table of the design, checked in the source text of every module of ``service/``.

Each module is of one kind, named after its row in the table. What it may import from the project is
a set of kinds; what it may import from elsewhere is ruled by who owns a package. A module that is
of no kind fails: give it a row first.
"""

import ast
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

LEAVES = {"access", "addresses", "config", "errors", "key_files", "lifecycle", "listening",
          "masking", "ports", "preflight", "quantities", "signals"}  # fmt: skip
USE_CASES = {"users", "images", "nodes", "instances", "keys", "operations", "drift",
             "audit", "lockout", "doctor", "installation", "leftovers"}  # fmt: skip
SINGLE = LEAVES | {
    "documents", "embedded_mongod", "vault", "certificates", "job", "slots", "steps", "jobs",
    "worker", "server", "supervisor", "first_start", "skyport_import", "skyport_documents",
    "skyport_panel", "logs", "metrics", "app"
}  # fmt: skip
KINDS = SINGLE | {"service", "use case", "store", "drivers", "a driver", "api", "cli"}

MAY_IMPORT = {
    "service": set(),
    **{leaf: set() for leaf in LEAVES},
    "listening": {"config"},
    "preflight": {"config", "listening"},
    "documents": {"lifecycle"},
    "store": {"store", "documents", "lifecycle", "errors"},
    "drivers": {"documents", "errors", "ports", "lifecycle"},
    "a driver": {"drivers", "documents", "errors", "ports", "lifecycle", "addresses"},
    "vault": {"errors"},
    "certificates": set(),
    "skyport_panel": set(),
    "logs": {"config", "lifecycle"},
    "metrics": {"errors", "lifecycle", "store"},
    "skyport_documents": LEAVES | {"documents", "drivers", "use case"},
    "skyport_import": LEAVES
    | {
        "documents",
        "store",
        "drivers",
        "use case",
        "api",
        "vault",
        "skyport_documents",
        "skyport_panel",
    },
    "use case": LEAVES | {"documents", "store", "drivers", "use case", "vault"},
    "embedded_mongod": LEAVES,
    "job": LEAVES | {"documents", "store", "drivers", "use case"},
    "steps": LEAVES | {"documents", "store", "drivers", "use case", "job"},
    "jobs": LEAVES | {"documents", "store", "drivers", "use case", "job", "steps"},
    "worker": LEAVES | {"documents", "store", "drivers", "use case", "job", "jobs", "slots"},
    "slots": {"lifecycle", "store"},
    "server": {"config", "worker", "api", "listening", "signals"},
    "supervisor": {"signals"},
    "first_start": LEAVES | {"documents", "store", "drivers", "use case", "api"},
    "api": LEAVES | {"documents", "drivers", "use case", "api", "certificates", "metrics"},
    "app": KINDS,
    "cli": KINDS,
}

# The views' access to the store hands it on, so it must be able to name its type. Nothing else of
# the API may: a view that reads documents past the use cases would skip their checks.
ALSO_MAY_IMPORT = {
    "service.api.context": {"store", "vault"},
    "service.api.audit_trail": {"store"},
}

# A driver in two modules: which one the other is a part of.
PARTS = {
    "service.drivers.docker_client": "service.drivers.docker_engine",
    "service.drivers.docker_labels": "service.drivers.docker_engine",
    "service.drivers.docker_pull": "service.drivers.docker_engine",
    "service.drivers.landlock": "service.drivers.process",
    "service.drivers.process_keeper": "service.drivers.process",
    "service.drivers.process_tree": "service.drivers.process",
    "service.drivers.skyportd_console": "service.drivers.skyportd",
    "service.drivers.skyportd_files": "service.drivers.skyportd",
    "service.drivers.skyportd_uptime": "service.drivers.skyportd",
}

# What more than one driver is made of, and what a node may say is checked with.
SHARED = {
    f"service.drivers.{name}" for name in ("answers", "boundary", "bounds", "dialing", "reasons")
}

# The embedded mongod must be made a replica set before a Store can use it, and that takes two
# commands of the database's own: the one importer of pymongo beside the store.
MONGODB = {"store", "embedded_mongod"}
WIRING = {"app", "cli", "server"}
OWNERS = {
    "pymongo": MONGODB,
    "bson": MONGODB,
    "gridfs": MONGODB,
    "flask": WIRING | {"api"},
    "werkzeug": WIRING | {"api"},
    "flask_smorest": WIRING | {"api"},
    "flask_limiter": {"api"},
    "flask_cors": {"api"},
    "limits": {"api"},
    "marshmallow": WIRING | {"api"},
    "webargs": WIRING | {"api"},
    "apispec": WIRING | {"api"},
    "requests": WIRING | {"a driver"},
    "docker": WIRING | {"a driver"},
    "websocket": {"a driver"},
}

# Names of the wire that nothing else could mean. `Id` and `Memory` are left out: Docker has them.
WIRE_NAMES = {"ContainerId", "VolumeId", "volumeId", "imagename", "imageData", "InternalState",
              "ExposedPorts", "PortBindings", "AltImages", "StopCommand", "AuthorName",
              "accessTo"}  # fmt: skip
MAY_SPELL_THE_WIRE = {
    "service.api.examples",
    "service.api.image_files",
    "service.api.schemas.images",
    "service.api.schemas.instances",
    "service.api.skyport_records",
    "service.api.wire",
    "service.drivers.skyportd",
}

ENVIRONMENT = {"environ", "environb", "getenv", "getenvb"}


def name_module(path: Path) -> str:
    """Name the module that a file of the checkout is."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = sorted(ROOT.joinpath("service").rglob("*.py"))
MODULES = {name_module(path) for path in FILES}


def kind_of(module: str) -> str | None:
    """Return which row of the table a module stands in; None where it stands in none."""
    _, _, rest = module.partition(".")
    first, _, below = rest.partition(".")
    if not rest:
        return "service"
    if first in ("store", "api", "cli"):
        return first
    if first == "drivers":
        return "a driver" if below else "drivers"
    if first in USE_CASES and not below:
        return "use case"
    return first if first in SINGLE and not below else None


def list_imports(
    module: str, tree: ast.AST, modules: set[str]
) -> Iterator[tuple[int, str, str | None]]:
    """List (line, module that is imported, name that is taken from it) of every import."""
    package = module if any(m.startswith(f"{module}.") for m in modules) else (
        module.rpartition(".")[0]
    )  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, None
        elif isinstance(node, ast.ImportFrom):
            source = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                # Everything inside `service` itself is a module: its __init__ defines nothing.
                if inner in modules or source == "service":
                    yield node.lineno, inner, None
                else:
                    yield node.lineno, source, alias.name


def check_imports(module: str, tree: ast.AST, modules: set[str]) -> Iterator[str]:
    """Check who imports whom."""
    kind = kind_of(module)
    if kind is None:
        yield f"{module} stands in no row of the import table"
        return
    allowed = MAY_IMPORT[kind] | ALSO_MAY_IMPORT.get(module, set())
    for line, target, name in list_imports(module, tree, modules):
        top = target.partition(".")[0]
        where = f"{module}:{line}"
        if top == "service":
            # A package's __init__ may gather its own modules; a driver's sibling is no such thing.
            # A part of a driver may use another part of the same one.
            ours = target == module or PARTS.get(target) in {module, PARTS.get(module, module)}
            shared = kind in ("a driver", "drivers") and target in SHARED
            if not ours and not shared and kind_of(target) not in allowed:
                yield f"{where} imports {target}"
            if name and name.startswith("_"):
                yield f"{where} imports the private {target}.{name}"
        elif kind not in OWNERS.get(top, {kind}):
            yield f"{where} imports {target}"
        elif kind in LEAVES | {"service"} and top not in sys.stdlib_module_names:
            yield f"{where} imports {target}: leaves need nothing"


def check_private_names(module: str, tree: ast.AST, modules: set[str]) -> Iterator[str]:
    """Check that nobody reaches for ``instances._private``."""
    known = {
        target.rpartition(".")[2]
        for _, target, name in list_imports(module, tree, modules)
        if target.startswith("service.") and name is None
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and node.attr.startswith("_")
            and not node.attr.startswith("__")
            and ast.unparse(node.value).rpartition(".")[2] in known
        ):
            yield f"{module}:{node.lineno} uses the private {ast.unparse(node)}"


def check_environment(module: str, tree: ast.AST) -> Iterator[str]:
    """Check that only config reads the environment; commands may pass it whole to from_env."""
    if module == "service.config":
        return
    passed_on = {
        argument
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Config.from_env"
        for argument in node.args
        if module in ("service.cli.context", "service.preflight")
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and ast.unparse(node.value) == "os"
            and node.attr in ENVIRONMENT
            and node not in passed_on
        ) or (
            isinstance(node, ast.ImportFrom)
            and node.module == "os"
            and ENVIRONMENT & {alias.name for alias in node.names}
        ):
            yield f"{module}:{node.lineno} reads the environment"


def check_wire_names(module: str, tree: ast.AST) -> Iterator[str]:
    """Check that the wire's spelling stays at the wire."""
    if module in MAY_SPELL_THE_WIRE:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in WIRE_NAMES:
            yield f"{module}:{node.lineno} spells the wire's {node.value!r}"


def find_violations(module: str, source: str, modules: set[str] = MODULES) -> list[str]:
    """List what a module does against the rules, as sentences with its lines."""
    tree = ast.parse(source)
    return [
        *check_imports(module, tree, modules),
        *check_private_names(module, tree, modules),
        *check_environment(module, tree),
        *check_wire_names(module, tree),
    ]


@pytest.mark.parametrize("path", FILES, ids=name_module)
def test_module_keeps_to_the_table(path):
    """
    What the module imports, reads and spells is what its row of the import table allows.
    """
    violations = find_violations(name_module(path), path.read_text("utf-8"))

    assert [] == violations


def test_the_store_and_the_drivers_are_found():
    """
    The walk sees the packages, so that an empty answer means something.
    """
    assert MODULES >= {"service", "service.store", "service.drivers", "service.api"}


DESIGNED = {
    "service", "service.store", "service.store.users", "service.drivers", "service.api",
    "service.drivers.memory", "service.drivers.skyportd", "service.api.auth", "service.api.context",
    "service.drivers.docker_client", "service.drivers.process", "service.drivers.process_tree",
    "service.users", "service.instances", "service.errors", "service.app",
}  # fmt: skip

VIOLATIONS = [
    ("service.ports", "from service.errors import NotFound"),
    ("service.ports", "import service.documents"),
    ("service.errors", "import flask"),
    ("service.config", "import yaml"),
    ("service.documents", "from service import ports"),
    ("service.store.users", "from service import instances"),
    ("service.store.users", "from service.drivers import NodeReport"),
    ("service.store", "import requests"),
    ("service.store", "from flask import g"),
    ("service.store", "def late():\n    from service.app import create_app"),
    ("service.drivers.memory", "from service.drivers import skyportd"),
    ("service.drivers.memory", "from service.drivers.skyportd import Skyportd"),
    ("service.drivers.memory", "from . import skyportd"),
    ("service.drivers.memory", "from .skyportd import Skyportd"),
    ("service.drivers.memory", "from service.store import Store"),
    ("service.drivers.memory", "import flask"),
    ("service.drivers.memory", "import pymongo"),
    ("service.drivers", "from service.drivers.memory import MemoryDriver"),
    ("service.drivers.process_tree", "from service.drivers import docker_client"),
    ("service.drivers.process_tree", "from service.drivers.process import ProcessRunner"),
    ("service.drivers.memory", "from service.drivers import process_tree"),
    ("service.users", "import pymongo"),
    ("service.users", "from pymongo.errors import DuplicateKeyError"),
    ("service.users", "from bson import ObjectId"),
    ("service.users", "import marshmallow as ma"),
    ("service.users", "from requests.exceptions import Timeout"),
    ("service.users", "from docker.errors import NotFound"),
    ("service.users", "from service.api import auth"),
    ("service.users", "from service import worker"),
    ("service.users", "from service.drivers.memory import MemoryDriver"),
    ("service.users", "from service.drivers import memory"),
    ("service.users", "from .api.auth import require_key"),
    ("service.users", "from service.instances import _reserve"),
    ("service.users", "from service import instances\ninstances._reserve()"),
    ("service.users", "import service.instances\nservice.instances._reserve()"),
    ("service.worker", "from flask import current_app"),
    ("service.worker", "from service.api import wire"),
    ("service.worker", "import pymongo"),
    ("service.embedded_mongod", "from service.store import Store"),
    ("service.server", "from service.store import Store"),
    ("service.first_start", "import flask"),
    ("service.first_start", "from service.drivers.memory import MemoryDriver"),
    ("service.api.users", "from pymongo.errors import PyMongoError"),
    ("service.api.users", "import requests"),
    ("service.api.users", "import docker"),
    ("service.api.users", "from service.drivers.memory import MemoryDriver"),
    ("service.api.users", "from service.drivers import memory"),
    ("service.api.users", "from service.store import Store"),
    ("service.api.users", "from service import app"),
    ("service.api.users", "from ..cli import main"),
    ("service.api.users", "if TYPE_CHECKING:\n    from service.app import create_app"),
    ("service.app", "import pymongo"),
    ("service.cli.keys", "from pymongo import MongoClient"),
    ("service.helpers", ""),
    ("service.users.search", ""),
    ("service.app", "import os\nos.environ['HOME']"),
    ("service.worker", "import os\nos.getenv('HOME')"),
    ("service.worker", "from os import environ"),
    ("service.cli.context", "import os\nos.environ.get('HOME')"),
    ("service.app", "import os\nConfig.from_env(os.environ)"),
    ("service.cli.keys", "import os\nConfig.from_env(os.environ)"),
    ("service.cli.context", "import os\nConfig.from_env({**os.environ})"),
    ("service.instances", "instance['ContainerId']"),
    ("service.api.instances", "wanted = {'imagename': 1}"),
    ("service.drivers.memory", "'AltImages'"),
]


@pytest.mark.parametrize(("module", "source"), VIOLATIONS)
def test_a_violation_is_found(module, source):
    """
    The check sees a module that breaks the table, exactly once.
    """
    assert 1 == len(find_violations(module, source, DESIGNED))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("service.ports", "import re\nfrom dataclasses import dataclass"),
        ("service.documents", "from service.lifecycle import Power"),
        ("service.store", "import pymongo\nfrom service.store.users import Users"),
        ("service.store.users", "from pymongo.errors import DuplicateKeyError"),
        ("service.store.users", "from . import names\nfrom service.errors import Conflict"),
        (
            "service.embedded_mongod",
            "from pymongo import MongoClient\nfrom service.config import Config",
        ),
        ("service.drivers.memory", "from service.drivers import ContainerSpec"),
        ("service.drivers.memory", "from . import ContainerSpec\nfrom service import ports"),
        ("service.drivers.skyportd", "import requests\nstatus['ContainerId']"),
        ("service.drivers.landlock", "from service.drivers.process_tree import find"),
        ("service.users", "from service.drivers import ContainerSpec"),
        ("service.users", "from service import instances, ports\nfrom service.store import Store"),
        ("service.users", "from service import instances\ninstances.reserve(user['_id'])"),
        ("service.users", "user._private()"),
        ("service.worker", "from service.jobs import Job\nfrom service import operations"),
        ("service.api.users", "import flask\nfrom service.api import auth"),
        ("service.api.users", "from service.drivers import DRIVER_NAMES"),
        ("service.api.context", "from service.store import Store"),
        ("service.server", "import flask\nfrom service.worker import Worker"),
        ("service.api.wire", "{'ContainerId': 1}"),
        ("service.app", "import flask\nfrom service.drivers import skyportd"),
        ("service.cli.context", "import os\nConfig.from_env(os.environ, data_dir=path)"),
        ("service.cli", '"""Clients that send imagename are served."""'),
    ],
)  # fmt: skip
def test_what_the_table_allows_is_no_violation(module, source):
    """
    The check is silent where the table allows what a module does.
    """
    assert [] == find_violations(module, source, DESIGNED)
