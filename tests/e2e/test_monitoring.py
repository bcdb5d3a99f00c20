"""Monitoring: after a purchase every metric of the alert rules and panels exists, and Prometheus answers each query."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from ops.dev.ports import OFFSETS
from ops.prometheus.local import command, local_config
from settings import ROOT
from tests.e2e.harness import ScenarioHarness
from tests.support.polling import eventually

RULES = yaml.safe_load((ROOT / "ops" / "prometheus" / "rules.yml").read_text())
DASHBOARDS = [json.loads(path.read_text()) for path in sorted((ROOT / "ops/grafana/dashboards").glob("*.json"))]
QUERIES = {
    f"{dashboard['uid']}: {panel['title']}, {target['refId']}": target["expr"]
    for dashboard in DASHBOARDS
    for panel in dashboard["panels"]
    for target in panel["targets"]
}
EXPRESSIONS = [*QUERIES.values(), *(rule["expr"] for group in RULES["groups"] for rule in group["rules"])]

Ask = Callable[..., list[Any]]


def purchase_and_complete_lesson(harness: ScenarioHarness) -> None:
    """Buy a course and complete one of its lessons."""
    learner = harness.learner()
    learner.profile()
    course_id = harness.paid_course()["id"]
    checkout = learner.check_out(course_id)
    harness.pay(checkout["redirect_url"])
    eventually(lambda: learner.progress(course_id), "access")
    learner.complete(course_id, learner.lessons(course_id)[0])
    harness.platform.wait_until_handled()


def families(harness: ScenarioHarness) -> set[str]:
    """Return the names of all metrics that the processes export."""
    config = local_config(harness.platform.stack.port_base)
    targets = [
        target for job in config["scrape_configs"] for group in job["static_configs"] for target in group["targets"]
    ]
    responses = [requests.get(f"http://{target}/metrics", timeout=10).text for target in targets]
    return set(re.findall(r"^# TYPE (\S+)", "\n".join(responses), re.MULTILINE))


def test_metrics_of_rules_and_panels_are_exported(harness: ScenarioHarness):
    purchase_and_complete_lesson(harness)
    exported = families(harness)
    named = {name for each in EXPRESSIONS for name in re.findall(r"\b(?:coursebus|process)_[a-z_]+", each)}

    assert {name for name in named if re.sub("_(bucket|count|sum)$", "", name) not in exported} == set()


@pytest.fixture
def prometheus(harness: ScenarioHarness, tmp_path: Path) -> Iterator[Ask]:
    """Run Prometheus with short intervals over the running stack; yields a function that calls its API.

    The timeout of a scrape equals its interval: in one second a loaded machine does not answer all of them.
    """
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed: apt-get install prometheus")
    base = harness.platform.stack.port_base
    intervals = {"scrape_interval": "5s", "scrape_timeout": "5s", "evaluation_interval": "1s"}
    config = local_config(base) | {"global": intervals}
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = base + OFFSETS["prometheus"]

    def ask(path: str, **parameters: str) -> Any:
        try:
            response = requests.get(f"http://127.0.0.1:{port}/api/v1/{path}", params=parameters, timeout=10)
        except requests.ConnectionError:
            return {}  # it is starting
        if response.status_code == 503:
            return {}  # it listens and still loads its data
        answer = response.json()
        assert answer["status"] == "success", answer
        return answer["data"]

    with subprocess.Popen(command(tmp_path, port), stderr=subprocess.DEVNULL) as running:
        yield ask
        running.terminate()


def test_prometheus_scrapes_processes_and_answers_panels(harness: ScenarioHarness, prometheus: Ask):
    def up() -> bool:
        """Return whether each target has been scraped. One may be down for a moment on a loaded machine."""
        targets = prometheus("targets").get("activeTargets", [])
        seen = prometheus("query", query="max_over_time(up[10m]) == 1").get("result", [])
        return bool(targets) and len(seen) == len(targets)

    purchase_and_complete_lesson(harness)
    eventually(up, "the targets", seconds=150)
    # A rate needs an observed increase: a counter that first appears at 1 and stays there has none.
    purchase_and_complete_lesson(harness)
    for title, query in QUERIES.items():
        # The audit reads the lag once a minute.
        eventually(lambda query=query: prometheus("query", query=query)["result"], title, seconds=75)

    rules = [rule for group in prometheus("rules")["groups"] for rule in group["rules"]]
    assert {rule["health"] for rule in rules} == {"ok"}
    money = {"PaidWithoutAccess", "LedgerUnbalanced", "WebhooksNotApplied"}
    assert not [rule["name"] for rule in rules if rule["name"] in money and rule["state"] == "firing"]
