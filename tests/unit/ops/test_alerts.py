"""Alert rules of Prometheus: conditions, runbooks, scrape targets and inhibitions."""

import re
import shutil
import subprocess

import pytest
import yaml

from ops.dev.processes import platform
from ops.prometheus.local import local_config
from settings import ROOT

RULES = ROOT / "ops" / "prometheus" / "rules.yml"
ALERTS = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"] if "alert" in rule]

with_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed: apt-get install prometheus"
)


def promtool(*arguments: str) -> str:
    completed = subprocess.run(["promtool", *arguments], cwd=RULES.parent, capture_output=True, text=True, check=False)
    return "" if completed.returncode == 0 else completed.stdout + completed.stderr


@pytest.mark.processes
@with_promtool
def test_alert_rules_pass_promtool_tests():
    assert promtool("test", "rules", "rules_test.yml") == ""


def test_every_process_with_metrics_is_scraped():
    config = local_config(8000)
    scraped = {each for job in config["scrape_configs"] for group in job["static_configs"] for each in group["targets"]}

    exporting = [process for process in platform(8000) if process.metrics]
    assert scraped == {f"127.0.0.1:{process.metrics_port(8000)}" for process in exporting}


def test_local_scrape_targets_match_container_names():
    local, deployed = local_config(8000), yaml.safe_load((RULES.parent / "prometheus.yml").read_text())
    groups = [group for job in local["scrape_configs"] for group in job["static_configs"]]
    names = [name for job in deployed["scrape_configs"] for group in job["static_configs"] for name in group["targets"]]

    assert [group["labels"]["instance"] for group in groups] == names
    ports = {process.name: process.metrics_port(8000) for process in platform(8000)}
    for group in groups:
        assert group["targets"] == [f"127.0.0.1:{ports[group['labels']['instance'].partition(':')[0]]}"]


@with_promtool
def test_prometheus_configuration_is_valid():
    assert promtool("check", "config", "prometheus.yml") == ""


def test_every_alert_has_a_rule_test():
    tests = yaml.safe_load((RULES.parent / "rules_test.yml").read_text())["tests"]
    tested = {each["alertname"] for test in tests for each in test["alert_rule_test"] if each["exp_alerts"]}

    assert tested == {alert["alert"] for alert in ALERTS}


def test_every_alert_links_its_runbook():
    for alert in ALERTS:
        runbook = ROOT / alert["annotations"]["runbook"]
        assert alert["alert"] in runbook.read_text().splitlines()[0], f"{runbook} does not name {alert['alert']}"


INHIBITIONS = yaml.safe_load((RULES.parent / "alertmanager.yml").read_text())["inhibit_rules"]


def matches(alert: dict[str, str], matchers: list[str]) -> bool:
    """Return whether the labels of ``alert`` satisfy Alertmanager's ``matchers``; only ``=`` and ``=~`` are
    supported.
    """
    for matcher in matchers:
        name, operator, pattern = re.fullmatch(r'(\w+)(=~?)"(.*)"', matcher).groups()
        matched = re.fullmatch(pattern if operator == "=~" else re.escape(pattern), alert.get(name, ""))
        if not matched:
            return False
    return True


def is_inhibited(alert: dict[str, str], by: dict[str, str]) -> bool:
    return any(
        matches(by, rule["source_matchers"])
        and matches(alert, rule["target_matchers"])
        and all(alert.get(name) == by.get(name) for name in rule.get("equal", []))
        for rule in INHIBITIONS
    )


@pytest.mark.parametrize(
    ("down", "alert", "expected"),
    [
        ("stream", {"alertname": "QueueStalled", "service": "payments"}, False),
        ("users", {"alertname": "QueueStalled", "service": "payments"}, False),
        ("payments", {"alertname": "QueueStalled", "service": "payments"}, True),
        ("courses", {"alertname": "ConsumerLag", "service": "courses"}, True),
        ("gateway", {"alertname": "OutboxStalled", "service": "payments"}, False),
        ("bridge", {"alertname": "OutboxStalled", "service": "payments"}, True),
        ("bridge", {"alertname": "ConsumerLag", "service": "courses"}, True),
        ("bridge", {"alertname": "QueueStalled", "service": "payments"}, False),
        ("payments", {"alertname": "LedgerUnbalanced"}, False),
    ],
)
def test_process_down_inhibits_only_caused_alerts(down: str, alert: dict[str, str], *, expected: bool):
    assert is_inhibited(alert, by={"alertname": "ProcessDown", "service": down}) is expected


@pytest.mark.parametrize(
    ("source", "alert", "expected"),
    [
        ({"alertname": "PostgresqlDown"}, {"alertname": "SchedulerDown"}, True),
        ({"alertname": "PostgresqlDown"}, {"alertname": "LedgerUnbalanced"}, False),
        ({"alertname": "ErrorBudgetBurnSlow"}, {"alertname": "ErrorBudgetBurnFast"}, False),
        ({"alertname": "LatencyBudgetBurnFast"}, {"alertname": "LatencyBudgetBurnSlow"}, True),
        ({"alertname": "ProviderErrors", "to": "stripe"}, {"alertname": "ProviderSlow", "to": "stripe"}, True),
        ({"alertname": "ProviderErrors", "to": "stripe"}, {"alertname": "ProviderSlow", "to": "smtp"}, False),
        ({"alertname": "DiskFull", "instance": "a"}, {"alertname": "DiskFullSoon", "instance": "a"}, True),
        ({"alertname": "DiskFull", "instance": "a"}, {"alertname": "DiskFullSoon", "instance": "b"}, False),
    ],
)
def test_cause_inhibits_its_consequences(source: dict[str, str], alert: dict[str, str], *, expected: bool):
    assert is_inhibited(alert, by=source) is expected


def test_inhibited_alerts_have_the_compared_label():
    exprs = {alert["alert"]: str(alert) for alert in ALERTS}
    for name in ("ProcessDown", "QueueStalled", "ConsumerLag"):
        assert "service" in exprs[name], name
