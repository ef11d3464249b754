"""The alert rules, by Prometheus's own tool: valid, and fired by what they are for alone."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import yaml
from prometheus_client.parser import text_string_to_metric_families

from service import keys, nodes
from service.app import FAILURES_A_MINUTE
from service.drivers.memory import MemoryNodes
from service.model.lifecycle import NodeStatus
from service.model.node_policy import NodePolicy
from tests.support import (
    DEPLOY,
    FAR,
    NOON,
    SKYQUAY,
    a_deploy,
    a_user,
    an_image,
    answer_of,
    free_port,
)

pytestmark = pytest.mark.spawns

ROOT = Path(__file__).resolve().parent.parent.parent
RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"


@pytest.fixture
def promtool(tmp_path):
    """Run promtool beside the rules; answer its exit code and what it printed."""
    if shutil.which("promtool") is None:
        if os.environ.get("SKYQUAY_REQUIRE_DOCKER") == "1":
            pytest.fail("promtool is missing")
        pytest.skip("promtool is missing")
    for file in (RULES, RULES.with_name("scrape.yml"), ROOT / "tests" / "alerts_test.yml"):
        shutil.copy(file, tmp_path)

    def run(*words):
        done = subprocess.run(
            ["promtool", *words], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    return run


def test_the_rules_are_valid(promtool):
    """
    Prometheus takes the rules and the scrape configuration.
    """
    code, printed = promtool("check", "rules", "--lint-fatal", "alerts.yml")

    assert (0, True) == (code, "10 rules found" in printed), printed


def test_the_rules_fire_when_they_should(promtool):
    """
    Each rule fires in the trouble that it is for, after its time, and none in quiet times.
    """
    code, printed = promtool("test", "rules", "alerts_test.yml")

    assert 0 == code, printed


def test_the_rules_name_what_there_is(programs, store):
    """
    Each metric that a rule looks at, and each value of a label, is told by who serves or works.
    """
    _, key = keys.create(store, name="test", now=NOON)
    order = {"name": "n", "driver": "process"}
    node = nodes.create(
        store, MemoryNodes(), order, policy=NodePolicy(allow_process=True), now=NOON
    )
    served, worked = (f"127.0.0.1:{free_port()}" for _ in range(2))
    programs(SKYQUAY, "serve", "--no-worker", "--processes", "1", SKYQUAY_LISTEN=served)
    programs(SKYQUAY, "worker", SKYQUAY_METRICS_LISTEN=worked)
    call = {"headers": {"x-api-key": key}}
    order = a_deploy(a_user(store), node, an_image(store, cmd=None))
    for address in (worked, f"{served}/readyz"):
        assert 200 == answer_of(f"http://{address}").status_code

    url = f"http://{served}{DEPLOY}?wait=15"
    failed = requests.post(url, json=order, timeout=30, **call).json()["state"]
    store.nodes.update(node["_id"], {"status": NodeStatus.OFFLINE, "probed_at": FAR})
    wrong = requests.post(url, json=order, timeout=30, **call).status_code
    # A minute may end meanwhile: of two one has more than is allowed.
    requested = range(2 * FAILURES_A_MINUTE + 1)
    refused = {requests.get(url, timeout=10).status_code for _ in requested}

    assert ("FAILED", 500, {401, 429}) == (failed, wrong, refused)
    told = [
        sample
        for address in (served, worked)
        for family in text_string_to_metric_families(
            answer_of(f"http://{address}/metrics", **call).text
        )
        for sample in family.samples
    ]
    assert [] == [wanted for wanted in list_wanted() if not any(map(wanted.is_told_by, told))]


@dataclass(frozen=True)
class Wanted:
    """What a rule looks at: a metric, and one value that a label of it may have."""

    metric: str
    label: str | None = None
    value: str = ""  # a regular expression

    def is_told_by(self, sample):
        """Return whether this sample is one that the rule looks at."""
        found = "" if self.label is None else sample.labels.get(self.label, "")
        return self.metric == sample.name and re.fullmatch(self.value, found) is not None


def list_wanted():
    """List what the rules look at, but for `up`, which Prometheus makes itself."""
    rules = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    for rule in rules:
        for metric, selector in re.findall(r"\b(skyquay_\w+)(?:\{(.*?)\})?", rule["expr"]):
            yield Wanted(metric)
            for label, values in re.findall(r'(\w+)(?:=|!=|=~|!~)"(.*?)"', selector):
                for value in values.split("|"):
                    yield Wanted(metric, label, value)


def test_the_guide_has_all_of_it():
    """
    Each alert, and each metric that a rule looks at, stands in a table of the guide.
    """
    rules = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "watch.md").read_text(), re.MULTILINE)

    metrics = {re.sub(r"_(bucket|count|sum)$", "", wanted.metric) for wanted in list_wanted()}
    assert set() == {rule["alert"] for rule in rules} - set(rows)
    assert set() == metrics - set(rows)


def test_the_rules_look_at_all_that_is_scraped():
    """
    SkyquayDown knows each job of the scrape configuration by its name.
    """
    scraped = yaml.safe_load(RULES.with_name("scrape.yml").read_text())["scrape_configs"]
    [selector] = re.findall(r'up\{job=~"(.*?)"\}', RULES.read_text())

    assert [job["job_name"] for job in scraped] == selector.split("|")
