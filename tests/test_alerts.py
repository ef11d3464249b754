"""The alert rules, by Prometheus's own tool: valid, and fired by what they are for alone."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from service import metrics

ROOT = Path(__file__).resolve().parent.parent
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

    assert (0, True) == (code, "9 rules found" in printed), printed


def test_the_rules_fire_when_they_should(promtool):
    """
    Each rule fires in the trouble that it is for, after its time, and none in quiet times.
    """
    code, printed = promtool("test", "rules", "alerts_test.yml")

    assert 0 == code, printed


def test_the_rules_name_metrics_that_there_are():
    """
    No rule waits for a metric that was renamed.
    """
    rules = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    named = {name for rule in rules for name in re.findall(r"\bskyquay_\w+", rule["expr"])}
    source = Path(metrics.__file__).read_text()

    known = set(re.findall(r'"(skyquay_\w+)"', source))

    bare = {re.sub(r"_(count|bucket|sum|total)$", "", name) for name in named}
    assert [] == sorted(bare - known)
