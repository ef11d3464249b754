"""The Grafana dashboard: whatever a panel asks for is measured, and its queries are valid."""

import json
import os
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from service import keys
from service.app import utc_now
from service.errors import NoFreePorts, QuotaExceeded
from service.telemetry import metrics
from tests.support import NOON

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "skyquay.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
SELECTOR = re.compile(r"\b(skyquay_\w+)(?:\{(.*?)\})?")


@pytest.fixture
def told(api, store, database, memory_nodes, node):
    """All samples that /metrics has once each kind of thing happened."""
    metrics.record_operation("transfer", "succeeded", 1.0, 1)
    metrics.record_refusal(QuotaExceeded("Too much.", memory={}))
    metrics.record_refusal(NoFreePorts("None is free."))
    metrics.record_command("find", "succeeded", 0.1)
    metrics.record_delivery("succeeded")
    api.get("/api/name")
    api.flask.get("/api/name", headers={"x-api-key": "wrong"})
    store.sampling.sync(now=utc_now())
    used = {"cpu_milli": 1, "memory_bytes": 1, "received_rate": 1, "sent_rate": 1, "disk_bytes": 1}
    database["sampling"].update_one({"_id": node["_id"]}, {"$set": {"last": {"i1": used}}})
    _, key = keys.create(store, name="prometheus", grant={"scopes": ["metrics:read"]}, now=NOON)
    text = api.flask.get("/metrics", headers={"x-api-key": key}).get_data(as_text=True)
    families = text_string_to_metric_families(text)
    return [sample for family in families for sample in family.samples]


def test_each_metric_of_a_query_is_measured(told):
    """And so is each label that it chooses or groups by, with the values that it names."""
    labels = {}
    for sample in told:
        labels.setdefault(sample.name, {}).update(sample.labels)
    values = {(s.name, name, value) for s in told for name, value in s.labels.items()}

    for query in QUERIES:
        named = SELECTOR.findall(query)
        assert named, query
        assert {name for name, _ in named} <= labels.keys(), query
        known = set().union(*(labels[name] for name, _ in named))
        for group in re.findall(r"\bby \((.*?)\)", query):
            assert {each.strip() for each in group.split(",")} <= known, query
        for name, selector in named:
            for label, value in re.findall(r'(\w+)="(\w+)"', selector):
                assert (name, label, value) in values, query


def test_the_legends_name_labels_of_their_queries():
    """Else all lines of a panel would be called the same."""
    for panel in PANELS:
        for target in panel["targets"]:
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                assert re.search(rf"\bby \([^)]*\b{label}\b", target["expr"]), target


def test_no_panel_is_over_another():
    """In the 24 columns that Grafana has."""
    taken = {
        (place["x"] + x, place["y"] + y): panel["title"]
        for panel in DASHBOARD["panels"]
        for place in [panel["gridPos"]]
        for x in range(place["w"])
        for y in range(place["h"])
    }
    cells = sum(p["gridPos"]["w"] * p["gridPos"]["h"] for p in DASHBOARD["panels"])

    assert cells == len(taken)
    assert 24 > max(x for x, _ in taken)
    ids = sorted(panel["id"] for panel in DASHBOARD["panels"])
    assert all(first < second for first, second in pairwise(ids))


def test_every_metric_of_the_guide_is_on_the_dashboard():
    """What is measured is shown."""
    rows = re.findall(r"^\| `(skyquay_\w+)` \|", (ROOT / "docs" / "watch.md").read_text(), re.M)

    shown = {name for query in QUERIES for name, _ in SELECTOR.findall(query)}
    shown = {re.sub(r"_(bucket|count|sum)$", "", name) for name in shown}
    assert set() == set(rows) - shown


@pytest.mark.spawns
def test_prometheus_takes_the_queries(tmp_path):
    """Its own tool parses each of them, as the expression of a rule."""
    if shutil.which("promtool") is None:
        if os.environ.get("SKYQUAY_REQUIRE_DOCKER") == "1":
            pytest.fail("promtool is missing")
        pytest.skip("promtool is missing")
    rules = [
        {"record": f"query:{n}", "expr": query.replace("$__rate_interval", "5m")}
        for n, query in enumerate(QUERIES)
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))

    done = subprocess.run(
        ["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False
    )

    assert (0, True) == (done.returncode, f"{len(QUERIES)} rules found" in done.stdout), done
