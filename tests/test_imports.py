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

USE_CASES = {"users", "images", "nodes", "probing", "enrolment", "node_secrets", "instances",
             "meters", "dry_run", "deploy_drafts", "node_ranks", "drains",
             "keys", "operations", "permits", "drift", "adoption", "audit", "bulk", "events",
             "installation", "idempotency", "instance_changes", "key_edits", "delegation",
             "deletions", "instance_logs", "image_ports", "leftovers", "listings", "log_followers",
             "node_edits",
             "order_checks", "patterns", "phases", "placement", "port_choice", "port_edits",
             "program_edits", "programs", "quotas", "replacements", "rights", "stats",
             "suspensions", "variables", "event_hub", "tickets", "webhooks", "arrivals",
             "transfers", "transfer_targets",
             "webhook_matching", "webhook_owners", "webhook_secrets",
             "webhook_sending"}  # fmt: skip

# Each row is a folder of `service/`, or what stands beside the folders.
MAY_IMPORT = {
    "service": set(),
    "config": set(),
    "errors": set(),
    "model": {"model", "errors"},
    "contract": {"contract", "model", "errors"},
    "security": {"security", "model", "errors", "config"},
    "telemetry": {"telemetry", "model", "errors", "config", "store"},
    "store": {"store", "model", "errors"},
    "drivers": {"drivers", "model", "errors"},
    "a driver": {"drivers", "model", "errors"},
    "registry": {"drivers", "a driver", "model", "errors"},
    "use case": {"use case", "model", "errors", "store", "security", "drivers"},
    "worker": {"worker", "use case", "drivers", "store", "model", "errors"},
    "api": {"api", "use case", "contract", "model", "errors", "config", "security", "telemetry"},
    "admin": {"admin", "use case", "store", "drivers", "contract", "model", "errors", "security"},
    "serving": {"serving", "api", "worker", "use case", "store", "drivers", "contract", "model",
                "errors", "security", "telemetry", "config"},
    "app": {"api", "worker", "use case", "store", "drivers", "registry", "contract", "model",
            "errors", "security", "telemetry", "config"},
    "cli": {"cli", "app", "serving", "admin", "worker", "use case", "store", "drivers", "contract",
            "model", "errors", "security", "telemetry", "config"},
}  # fmt: skip

# What a single module may import beside its row, each with its reason.
ALSO_MAY_IMPORT = {
    # The views' access to the store hands it on, so it must be able to name its type. Nothing else
    # of the API may: a view that reads documents past the use cases would skip their checks.
    "service.api.context": {"store", "drivers"},
    "service.api.call": {"store"},
    "service.api.waiting": {"drivers"},
    # Keys of live answers are looked at again while no request is there.
    "service.api.open_answers": {"store"},
    # And events are told to whoever follows them.
    "service.api.event_resources": {"store"},
    "service.api.event_stream": {"store"},
    # Failures are counted where all processes see them.
    "service.security.lockout": {"store"},
}

# What more than one driver is made of, and what a node may say is checked with.
SHARED = {"answers", "boundary", "bounds", "dialing", "engine_runs", "engine_usage", "kept_specs",
          "last_output", "log_lines", "memory_container", "memory_faults", "memory_logs",
          "memory_usage", "memory_volumes", "power_feed", "reach", "volume_archive",
          "reasons"}  # fmt: skip

# The private mongod must be made a replica set before a Store can use it, and that takes two
# commands of the database's own: the one importer of pymongo beside the store.
MONGODB = {"store", "serving"}
OWNERS = {
    "pymongo": MONGODB,
    "bson": MONGODB,
    "gridfs": MONGODB,
    "flask": {"api", "app", "cli", "serving"},
    "werkzeug": {"api", "app", "cli", "serving"},
    "granian": {"serving"},
    "waitress": set(),
    "flask_smorest": {"api"},
    "flask_cors": {"api"},
    "limits": {"api"},
    "marshmallow": {"api", "contract", "admin", "cli"},
    "webargs": {"api"},
    "apispec": {"api"},
    "requests": {"drivers", "a driver", "cli"},
    "rich": {"cli"},
    "platformdirs": {"cli"},
    "docker": {"a driver"},
    "websocket": {"a driver"},
    "jsonschema": {"use case"},
    "re2": {"use case"},
}
STANDARD_LIBRARY_ONLY = {"service", "config", "errors", "model"}

# Names of the wire that nothing else could mean. `Id` and `Memory` are left out: Docker has them.
WIRE_NAMES = {"ContainerId", "VolumeId", "volumeId", "imagename", "imageData", "InternalState",
              "ExposedPorts", "PortBindings", "AltImages", "StopCommand", "AuthorName",
              "accessTo"}  # fmt: skip
MAY_SPELL_THE_WIRE = {
    "service.contract.deploys",
    "service.contract.instance_changes",
    "service.contract.image_files",
    "service.contract.image_changes",
    "service.admin.skyport_records",
    "service.cli.instances",
    "service.drivers.skyportd.creation",
    "service.drivers.skyportd.inspection",
}

DRIVERS = {"docker", "skyportd", "process", "memory"}

ENVIRONMENT = {"environ", "environb", "getenv", "getenvb"}


def name_module(path: Path) -> str:
    """Name the module that a file of the checkout is."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def name_part(module: str) -> str:
    """Name what stands in `service/` itself: the module, or the folder that it is in."""
    return ".".join(module.split(".")[:2])


FILES = sorted(ROOT.joinpath("service").rglob("*.py"))
MODULES = {name_module(path) for path in FILES}


def kind_of(module: str) -> str | None:
    """Return which row of the table a module stands in; None where it stands in none."""
    _, _, rest = module.partition(".")
    first, _, below = rest.partition(".")
    if not rest:
        return "service"
    if first == "drivers":
        if below == "registry":
            return "registry"
        return "a driver" if below and below not in SHARED else "drivers"
    if first in USE_CASES and not below:
        return "use case"
    if first in ("config", "errors", "app") and below:
        return None
    return first if first in MAY_IMPORT else None


def is_own_driver(module: str, target: str) -> bool:
    """Return whether both are parts of one driver."""
    return (
        kind_of(module) == kind_of(target) == "a driver"
        and module.split(".")[:3] == target.split(".")[:3]
    )


def list_imports(
    module: str, nodes: list[ast.AST], modules: set[str]
) -> Iterator[tuple[int, str, str | None]]:
    """List (line, module that is imported, name that is taken from it) of every import."""
    inside = f"{module}."
    is_package = any(each.startswith(inside) for each in modules)
    package = module if is_package else module.rpartition(".")[0]
    for node in nodes:
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


def check_imports(module: str, nodes: list[ast.AST], modules: set[str]) -> Iterator[str]:
    """Check who imports whom."""
    kind = kind_of(module)
    if kind is None:
        yield f"{module} stands in no row of the import table"
        return
    allowed = MAY_IMPORT[kind] | ALSO_MAY_IMPORT.get(module, set())
    for line, target, name in list_imports(module, nodes, modules):
        top = target.partition(".")[0]
        where = f"{module}:{line}"
        if top == "service":
            # A driver's sibling is none of its business.
            if not is_own_driver(module, target) and kind_of(target) not in allowed:
                yield f"{where} imports {target}"
            if name and name.startswith("_"):
                yield f"{where} imports the private {target}.{name}"
        elif kind not in OWNERS.get(top, {kind}):
            yield f"{where} imports {target}"
        elif kind in STANDARD_LIBRARY_ONLY and top not in sys.stdlib_module_names:
            yield f"{where} imports {target}: the standard library is enough here"


def check_private_names(module: str, nodes: list[ast.AST], modules: set[str]) -> Iterator[str]:
    """Check that nobody reaches for ``instances._private``."""
    known = {
        target.rpartition(".")[2]
        for _, target, name in list_imports(module, nodes, modules)
        if target.startswith("service.") and name is None
    }
    for node in nodes:
        if (
            isinstance(node, ast.Attribute)
            and node.attr.startswith("_")
            and not node.attr.startswith("__")
            and ast.unparse(node.value).rpartition(".")[2] in known
        ):
            yield f"{module}:{node.lineno} uses the private {ast.unparse(node)}"


def check_environment(module: str, nodes: list[ast.AST]) -> Iterator[str]:
    """Check that only config reads the environment; commands may pass it whole to from_env."""
    if module == "service.config":
        return
    may_pass_on = module in ("service.cli.context", "service.serving.preflight")
    passed_on = {
        argument
        for node in nodes
        if may_pass_on
        and isinstance(node, ast.Call)
        and ast.unparse(node.func) == "Config.from_env"
        for argument in node.args
    }
    for node in nodes:
        if (
            isinstance(node, ast.Attribute)
            and node.attr in ENVIRONMENT
            and ast.unparse(node.value) == "os"
            and node not in passed_on
        ) or (
            isinstance(node, ast.ImportFrom)
            and node.module == "os"
            and ENVIRONMENT & {alias.name for alias in node.names}
        ):
            yield f"{module}:{node.lineno} reads the environment"


def check_wire_names(module: str, nodes: list[ast.AST]) -> Iterator[str]:
    """Check that the wire's spelling stays at the wire."""
    if module in MAY_SPELL_THE_WIRE:
        return
    for node in nodes:
        if isinstance(node, ast.Constant) and node.value in WIRE_NAMES:
            yield f"{module}:{node.lineno} spells the wire's {node.value!r}"


def check_driver_names(module: str, nodes: list[ast.AST]) -> Iterator[str]:
    """Check that nobody decides by a driver's name: that is what its traits are for."""
    for node in nodes:
        compared: list[ast.AST] = []
        if isinstance(node, ast.Compare):
            compared = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            compared = [node.value]
        if any(isinstance(one, ast.Constant) and one.value in DRIVERS for one in compared):
            yield f"{module}:{node.lineno} decides by a driver's name"


def find_violations(module: str, source: str, modules: set[str] = MODULES) -> list[str]:
    """List what a module does against the rules, as sentences with its lines."""
    nodes = list(ast.walk(ast.parse(source)))
    return [
        *check_imports(module, nodes, modules),
        *check_private_names(module, nodes, modules),
        *check_environment(module, nodes),
        *check_wire_names(module, nodes),
        *check_driver_names(module, nodes),
    ]


@pytest.mark.parametrize("part", sorted({name_part(module) for module in MODULES}))
def test_modules_keep_to_the_table(part):
    """
    What each module imports, reads and spells is what its row of the import table allows.
    """
    violations = [
        violation
        for path in FILES
        if name_part(name_module(path)) == part
        for violation in find_violations(name_module(path), path.read_text("utf-8"))
    ]

    assert [] == violations


def test_the_store_and_the_drivers_are_found():
    """
    The walk sees the packages, so that an empty answer means something.
    """
    assert MODULES >= {"service", "service.store", "service.drivers", "service.api"}


DESIGNED = {
    "service", "service.app", "service.config", "service.errors", "service.users",
    "service.instances", "service.model", "service.model.ports", "service.contract",
    "service.contract.fields", "service.security", "service.security.vault", "service.telemetry",
    "service.telemetry.logs", "service.store", "service.store.users", "service.drivers",
    "service.drivers.bounds", "service.drivers.registry", "service.drivers.memory",
    "service.drivers.docker",
    "service.drivers.docker.client", "service.drivers.process", "service.drivers.process.tree",
    "service.worker", "service.worker.loop", "service.api", "service.api.auth",
    "service.api.context", "service.admin", "service.admin.doctor", "service.serving",
    "service.serving.server", "service.cli",
}  # fmt: skip

VIOLATIONS = [
    ("service", "from service import errors"),
    ("service.config", "from service.errors import NotFound"),
    ("service.config", "import yaml"),
    ("service.errors", "from service import model"),
    ("service.errors", "import flask"),
    ("service.model.ports", "from service.store import Store"),
    ("service.model.ports", "from service.config import Config"),
    ("service.model.ports", "import psutil"),
    ("service.contract.users", "import flask"),
    ("service.contract.users", "from service import users"),
    ("service.contract.users", "from service.drivers import Owner"),
    ("service.contract.users", "from service.security import vault"),
    ("service.contract.users", "from service.api import auth"),
    ("service.security.vault", "from service import users"),
    ("service.security.vault", "import flask"),
    ("service.telemetry.logs", "from service.api import auth"),
    ("service.telemetry.metrics", "import flask"),
    ("service.store.users", "from service import instances"),
    ("service.store.users", "from service.drivers import NodeReport"),
    ("service.store.admin.backup", "from service.config import Config"),
    ("service.store", "import requests"),
    ("service.store", "from flask import g"),
    ("service.store", "def late():\n    from service.app import create_app"),
    ("service.drivers.memory", "from service.drivers import docker"),
    ("service.drivers.memory", "from service.drivers.docker.client import Client"),
    ("service.drivers.memory", "from . import docker"),
    ("service.drivers.memory", "from .docker.client import Client"),
    ("service.drivers.memory", "from service.store import Store"),
    ("service.drivers.memory", "import flask"),
    ("service.drivers.memory", "import pymongo"),
    ("service.drivers.memory", "from service.drivers.process import tree"),
    ("service.drivers", "from service.drivers.memory import MemoryDriver"),
    ("service.drivers.bounds", "from service.drivers.memory import MemoryDriver"),
    ("service.drivers.process.tree", "from service.drivers.docker import client"),
    ("service.drivers.registry", "from service.security.vault import Vault"),
    ("service.drivers.docker.client", "from service.drivers import registry"),
    ("service.users", "import pymongo"),
    ("service.users", "from pymongo.errors import DuplicateKeyError"),
    ("service.users", "from bson import ObjectId"),
    ("service.users", "import marshmallow as ma"),
    ("service.users", "from requests.exceptions import Timeout"),
    ("service.users", "from docker.errors import NotFound"),
    ("service.users", "from service.api import auth"),
    ("service.users", "from service.contract import fields"),
    ("service.users", "from service.worker import loop"),
    ("service.users", "from service.drivers.memory import MemoryDriver"),
    ("service.users", "from service.drivers import memory"),
    ("service.users", "from .api.auth import require_key"),
    ("service.users", "from service.instances import _reserve"),
    ("service.users", "from service import instances\ninstances._reserve()"),
    ("service.users", "import service.instances\nservice.instances._reserve()"),
    ("service.worker.loop", "from flask import current_app"),
    ("service.worker.loop", "from service.api import auth"),
    ("service.worker.loop", "from service.contract import fields"),
    ("service.worker.loop", "from service.drivers.memory import MemoryDriver"),
    ("service.worker.loop", "import pymongo"),
    ("service.api.users", "from pymongo.errors import PyMongoError"),
    ("service.api.users", "import requests"),
    ("service.api.users", "import docker"),
    ("service.api.users", "from service.drivers.memory import MemoryDriver"),
    ("service.api.users", "from service.drivers import memory"),
    ("service.api.users", "from service.store import Store"),
    ("service.api.users", "from service import app"),
    ("service.api.users", "from service.worker import loop"),
    ("service.api.users", "from ..cli import main"),
    ("service.api.users", "if TYPE_CHECKING:\n    from service.app import create_app"),
    ("service.admin.doctor", "from service.api import auth"),
    ("service.admin.doctor", "from flask import g"),
    ("service.admin.doctor", "from service.serving import server"),
    ("service.serving.server", "from service import app"),
    ("service.serving.server", "from service.drivers.memory import MemoryDriver"),
    ("service.app", "import pymongo"),
    ("service.app", "from service import cli"),
    ("service.app", "from service.drivers.docker import client"),
    ("service.cli.keys", "from service.drivers import registry"),
    ("service.app", "from service.serving import server"),
    ("service.cli.keys", "from pymongo import MongoClient"),
    ("service.cli.keys", "from service.api import auth"),
    ("service.api.users", "import rich"),
    ("service.config", "from platformdirs import user_config_path"),
    ("service.cli.keys", "from service.drivers.memory import MemoryDriver"),
    ("service.helpers", ""),
    ("service.users.search", ""),
    ("service.app", "import os\nos.environ['HOME']"),
    ("service.worker.loop", "import os\nos.getenv('HOME')"),
    ("service.worker.loop", "from os import environ"),
    ("service.cli.context", "import os\nos.environ.get('HOME')"),
    ("service.app", "import os\nConfig.from_env(os.environ)"),
    ("service.cli.keys", "import os\nConfig.from_env(os.environ)"),
    ("service.cli.context", "import os\nConfig.from_env({**os.environ})"),
    ("service.instances", "instance['ContainerId']"),
    ("service.api.instances", "wanted = {'imagename': 1}"),
    ("service.drivers.memory", "'AltImages'"),
    ("service.users", "node['driver'] == 'docker'"),
    ("service.users", "match node['driver']:\n    case 'process': pass"),
]


@pytest.mark.parametrize(("module", "source"), VIOLATIONS)
def test_a_violation_is_found(module, source):
    """
    The check sees a module that breaks the table, exactly once.
    """
    assert 1 == len(find_violations(module, source, DESIGNED))


def test_each_row_can_fail():
    """
    Of each row of the table a violation is planted above.
    """
    assert set(MAY_IMPORT) == {kind_of(module) for module, _ in VIOLATIONS if kind_of(module)}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("service.model.ports", "import re\nfrom dataclasses import dataclass"),
        ("service.model.documents", "from service.model.lifecycle import Power"),
        ("service.contract.users", "import marshmallow as ma\nfrom service.contract import fields"),
        ("service.store", "import pymongo\nfrom service.store.users import Users"),
        ("service.store.users", "from pymongo.errors import DuplicateKeyError"),
        ("service.store.users", "from . import names\nfrom service.errors import Conflict"),
        (
            "service.serving.embedded_mongod",
            "from pymongo import MongoClient\nfrom service.config import Config",
        ),
        ("service.drivers.memory", "from service.drivers import ContainerSpec"),
        ("service.drivers.memory", "from service.drivers import bounds"),
        ("service.drivers.memory", "from . import ContainerSpec\nfrom service.model import ports"),
        ("service.drivers.skyportd.creation", "import requests\nspec['ExposedPorts']"),
        ("service.drivers.process.landlock", "from service.drivers.process.tree import find"),
        ("service.users", "from service.drivers import ContainerSpec"),
        ("service.users", "from service import instances\nfrom service.store import Store"),
        ("service.users", "from service import instances\ninstances.reserve(user['_id'])"),
        ("service.users", "user._private()"),
        ("service.worker.loop", "from service.worker import job\nfrom service import operations"),
        ("service.api.users", "import flask\nfrom service.api import auth"),
        ("service.api.context", "from service.store import Store"),
        ("service.serving.server", "import flask\nfrom service.worker.loop import Worker"),
        ("service.contract.deploys", "{'ContainerId': 1}"),
        ("service.drivers.registry", "from service.drivers.docker.client import Client"),
        ("service.app", "import flask\nfrom service.drivers import registry"),
        ("service.cli.context", "import os\nConfig.from_env(os.environ, data_dir=path)"),
        ("service.cli", '"""Clients that send imagename are served."""'),
    ],
)  # fmt: skip
def test_what_the_table_allows_is_no_violation(module, source):
    """
    The check is silent where the table allows what a module does.
    """
    assert [] == find_violations(module, source, DESIGNED)
