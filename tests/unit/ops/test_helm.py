"""The Helm chart has the processes, settings and alerts of compose and Prometheus, in pods without privileges.

The first tests read the files of the chart. Those that render it need helm and are skipped without it.
"""

import json
import re
import shutil
import subprocess
import sys
from functools import cache
from typing import Any

import jsonschema_rs
import pytest
import yaml

from core.db import connect
from ops.dev.processes import platform
from ops.prometheus.local import HERE as PROMETHEUS
from settings import ROOT, SERVICES
from settings.checks import USED_SETTINGS

CHART = ROOT / "ops" / "helm" / "coursebus"
DASHBOARDS = ROOT / "ops" / "grafana" / "dashboards"
COMPOSE = yaml.safe_load((ROOT / "ops" / "compose.yml").read_text())["services"]
CONTAINERS = {name: service for name, service in COMPOSE.items() if service.get("image") == "coursebus"}
PROCESSES = {process.name: process for process in platform(8000)}
SECRET = re.compile(
    r"(_KEY|_SECRET|_TOKEN|_PASSWORD|_AUTH)$|^(REDIS|CACHE|MONGO|SMTP)_URL$|DATABASE_URL$|^KAFKA_OPTIONS$"
)
RULES = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())

with_helm = pytest.mark.skipif(
    shutil.which("helm") is None, reason="helm is not installed: go install helm.sh/helm/v3/cmd/helm@v3.22.0"
)


def rows() -> dict[str, dict[str, Any]]:
    """Return the table of processes, which contains no template expressions."""
    text = (CHART / "templates" / "_processes.tpl").read_text()
    [table] = re.findall(r'define "coursebus.processes" -}}\n(.*?)\{\{- end', text, flags=re.DOTALL)
    parsed: dict[str, dict[str, Any]] = yaml.safe_load(table)
    return parsed


ROWS = rows()


def names_of(row: dict[str, Any]) -> set[str]:
    """Return the settings that the process of ``row`` gets and others do not."""
    database = {"DATABASE_URL"} if "database" in row else set()
    return {*row.get("env", {}), *row.get("settings", []), *row.get("secrets", []), *row.get("optional", []), *database}


def test_chart_has_the_processes_of_compose_with_their_commands():
    dockerfile = (ROOT / "ops" / "Dockerfile").read_text()
    gateway = json.loads(re.findall(r"^CMD (\[.*\])$", dockerfile, flags=re.MULTILINE)[-1])

    commands = {name: service.get("command", gateway) for name, service in CONTAINERS.items()}
    assert {name: row["command"] for name, row in ROWS.items()} == commands


@pytest.mark.parametrize("name", sorted(ROWS))
def test_process_gets_its_settings_and_no_others(name: str):
    row = ROWS[name]
    used = USED_SETTINGS.get(name, {"DATABASE_URL"})
    logins = {key for key in row.get("optional", []) if name == "migrate" and key.endswith("_DATABASE_PASSWORD")}

    given = {key for key in names_of(row) if SECRET.search(key) or any(key in each for each in USED_SETTINGS.values())}
    assert given - used - logins == set()
    assert set(row.get("secrets", []) + row.get("optional", [])) - used - logins == set()
    # METRICS_PORT, and what is the same for all processes, is not in the rows.
    for_all = {"ENVIRONMENT", "ALLOW_PLAINTEXT_SERVERS", "HEALTH_URL", "METRICS_PORT"}
    given = {key.removesuffix("_FILE") for key in CONTAINERS[name]["environment"]}
    assert given - for_all <= names_of(row)
    assert row.get("metrics", False) == (name in PROCESSES and PROCESSES[name].metrics is not None)


def values_of(name: str) -> dict[str, Any]:
    """Return the values of the chart with those of ci/``name``-values.yaml, as helm merges them."""

    def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
        both = {key for key in above if isinstance(below.get(key), dict) and isinstance(above[key], dict)}
        return below | above | {key: merge(below[key], above[key]) for key in both}

    above = yaml.safe_load((CHART / "ci" / f"{name}-values.yaml").read_text())
    return merge(yaml.safe_load((CHART / "values.yaml").read_text()), above)


def test_schema_accepts_the_values_and_refuses_secrets_and_unknown_keys():
    schema = jsonschema_rs.validator_for(json.loads((CHART / "values.schema.json").read_text()))
    for name in ("minimal", "full"):
        assert [error.message for error in schema.iter_errors(values_of(name))] == []
    secrets = {key for row in ROWS.values() for key in (*row.get("secrets", []), *row.get("optional", []))}
    minimal = values_of("minimal")
    for key in (*secrets, "DATABASE_URL", "COURSES_DATABASE_URL"):
        assert not schema.is_valid(minimal | {"settings": {key: "x"}}), key
    assert not schema.is_valid(minimal | {"setting": {}})
    # Every value of the chart is described.
    top_level = json.loads((CHART / "values.schema.json").read_text())["properties"]
    assert set(yaml.safe_load((CHART / "values.yaml").read_text())) == set(top_level) - {"global"}


def test_readme_names_every_key_of_the_secret():
    readme = (CHART / "README.md").read_text()
    keys = {key for row in ROWS.values() for key in (*row.get("secrets", []), *row.get("optional", []))}
    keys |= {row["database"] for row in ROWS.values() if "database" in row}

    assert {key for key in keys if f"`{key}`" not in readme} == set()


def helm(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    names = ["shop"] if command == "template" else []
    # Without the option, a helm that was built by go install takes the cluster for version 1.20.
    return subprocess.run(
        ["helm", command, *names, str(CHART), "--namespace=shop", "--kube-version=1.34.0", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@cache
def rendered(name: str) -> list[dict[str, Any]]:
    """Return the objects of the chart with the values of ci/``name``-values.yaml."""
    completed = helm("template", "-f", str(CHART / "ci" / f"{name}-values.yaml"))
    assert completed.returncode == 0, completed.stderr
    return [each for each in yaml.safe_load_all(completed.stdout) if each]


def objects(kind: str, name: str = "full") -> dict[str, dict[str, Any]]:
    """Return the objects of a kind by name, without the prefix of the release."""
    return {
        each["metadata"]["name"].removeprefix("shop-coursebus-"): each
        for each in rendered(name)
        if each["kind"] == kind
    }


def pods(name: str = "full") -> dict[str, dict[str, Any]]:
    """Return the specification of each process's pod."""
    return {name: each["spec"]["template"]["spec"] for name, each in (objects("Deployment") | objects("Job")).items()}


@pytest.mark.processes
@with_helm
@pytest.mark.parametrize("name", ["minimal", "full"])
def test_chart_passes_lint(name: str):
    completed = helm("lint", "--strict", "-f", str(CHART / "ci" / f"{name}-values.yaml"))

    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert "[WARNING]" not in completed.stdout


@pytest.mark.slow
@with_helm
@pytest.mark.skipif(
    shutil.which("kubernetes-validate") is None, reason="kubernetes-validate is not installed: pip install it"
)
@pytest.mark.parametrize("name", ["minimal", "full"])
def test_objects_match_the_schemas_of_kubernetes(name: str):
    text = yaml.safe_dump_all(rendered(name))
    completed = subprocess.run(
        ["kubernetes-validate", "-k", "1.34", "--strict", "--quiet", "--no-warn", "/dev/stdin"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )

    assert completed.returncode == 0, completed.stdout + completed.stderr


@with_helm
def test_each_process_has_a_deployment():
    assert set(objects("Deployment")) == set(ROWS) - {"migrate"}
    assert set(objects("Deployment", "minimal")) == set(ROWS) - {"migrate", "flower"}
    assert objects("Job")["migrate"]["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert objects("Deployment")["beat"]["spec"]["replicas"] == 1


@with_helm
def test_pods_have_no_privileges():
    for name, pod in pods().items():
        [container] = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is pod["enableServiceLinks"] is False
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]  # noqa: S108 private to the pod
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        account = objects("ServiceAccount")[pod["serviceAccountName"].removeprefix("shop-coursebus-")]
        assert account["automountServiceAccountToken"] is False


@with_helm
def test_probes_ask_no_other_server_whether_a_process_is_alive():
    for name, pod in pods().items():
        [container] = pod["containers"]
        probes = {each: container.get(f"{each}Probe", {}) for each in ("startup", "liveness", "readiness")}
        if name in {"gateway", "stream", "web"}:
            assert probes["liveness"]["httpGet"] == {"path": "/livez", "port": "http"}
            ready = "/readyz" if name == "gateway" else "/livez"
            assert probes["readiness"]["httpGet"] == {"path": ready, "port": "http"}
        elif name == "migrate":
            assert not any(probes.values())
        elif name == "flower":
            assert probes["liveness"]["httpGet"] == {"path": "/healthcheck", "port": "http"}
        else:
            assert (
                probes["liveness"]["httpGet"] == probes["startup"]["httpGet"] == {"path": "/livez", "port": "metrics"}
            )
            assert probes["readiness"]["httpGet"] == {"path": "/readyz", "port": "metrics"}


@with_helm
def test_pods_have_time_to_stop():
    for name, pod in pods().items():
        [container] = pod["containers"]
        needed = PROCESSES[name].stop_seconds if name in PROCESSES else 0
        drained = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep", "0"])
        assert pod["terminationGracePeriodSeconds"] > needed + int(drained[1]), name
        assert (drained[1] == "5") == (name in {"gateway", "stream", "web"})


@cache
def signing_key() -> str:
    return subprocess.run(["openssl", "genrsa", "2048"], check=True, capture_output=True, text=True).stdout.strip()


def environ_of(pod: dict[str, Any]) -> dict[str, str]:
    """Return the variables of a pod, with a URL that is safe in production, or a long word, for each secret."""
    urls = {"REDIS_URL": "rediss://:pw@redis", "CACHE_URL": "rediss://:pw@redis", "SMTP_URL": "smtps://u:pw@mail"}
    urls |= {"DATABASE_URL": "postgresql://u:pw@db/x?sslmode=require", "MONGO_URL": "mongodb+srv://u:pw@mongo/x"}
    urls |= {"DIRECT_DATABASE_URL": urls["DATABASE_URL"], "KAFKA_OPTIONS": "{}", "BADGE_SIGNING_KEY": ""}
    urls |= {"EMAIL_WEBHOOK_SECRET": "whsec_" + "a" * 32, "STRIPE_SECRET_KEY": "sk_live_1"}
    urls |= {"BADGE_SIGNING_KEY": signing_key()}
    [container] = pod["containers"]
    return {each["name"]: each.get("value", urls.get(each["name"], "s" * 32)) for each in container["env"]}


@with_helm
def test_settings_of_each_pod_are_safe():
    code = """
import importlib, json, os, sys
import settings, settings.checks
for name, environ in json.load(sys.stdin).items():
    os.environ.clear()
    os.environ.update(environ)
    importlib.reload(settings)
    found = importlib.reload(settings.checks).find_unsafe_settings(name)
    if found:
        print(name, found)
"""
    # The file is in the pod only, and is read when the process starts.
    environs = {
        name: {key: value for key, value in environ_of(pod).items() if key != "KAFKA_CA_FILE"}
        for name, pod in pods().items()
        if name in USED_SETTINGS
    }
    completed = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, input=json.dumps(environs), capture_output=True, text=True, check=False
    )

    assert (completed.stdout, completed.returncode) == ("", 0), completed.stderr


@with_helm
def test_secrets_are_references_and_plain_settings_are_exact():
    environs = {name: pod["containers"][0]["env"] for name, pod in pods().items()}
    for name, variables in environs.items():
        names = [each["name"] for each in variables]
        assert len(set(names)) == len(names), name
        for each in variables:
            assert bool(SECRET.search(each["name"])) == ("valueFrom" in each), each
    payments = {each["name"]: each for each in environs["worker-payments"]}
    assert payments["YOOKASSA_SHOP_ID"]["value"] == "1234567"  # helm itself would write 1.234567e+06
    assert payments["DATABASE_URL"]["valueFrom"]["secretKeyRef"] == {
        "name": "coursebus-payments",
        "key": "PAYMENTS_DATABASE_URL",
    }
    assert objects("Secret") == {}
    dashboards = {f"dashboard-{path.stem}" for path in DASHBOARDS.glob("*.json")}
    assert set(objects("ConfigMap")) == dashboards | {"shop-extra"}


@with_helm
def test_alerts_and_dashboards_are_those_of_prometheus_and_grafana():
    [rule] = objects("PrometheusRule").values()
    assert rule["spec"] == RULES
    for path in DASHBOARDS.glob("*.json"):
        config = objects("ConfigMap")[f"dashboard-{path.stem}"]
        assert json.loads(config["data"][path.name]) == json.loads(path.read_text())
    # ProcessDown reads the service from the label instance.
    [monitor] = objects("PodMonitor").values()
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["relabelings"][0]["targetLabel"] == "instance"
    assert endpoint["relabelings"][0]["separator"] == ":"


@with_helm
def test_disruptions_and_scaling():
    assert set(objects("PodDisruptionBudget")) == set(ROWS) - {"migrate", "beat", "flower"}
    workers = {f"worker-{service}" for service in SERVICES}
    scaled = objects("ScaledObject")
    assert set(scaled) == workers | {"bridge"}
    assert set(objects("HorizontalPodAutoscaler")) == {"gateway"}
    for name, deployment in objects("Deployment").items():
        # An upgrade must not undo what an autoscaler has set.
        assert ("replicas" in deployment["spec"]) == (name not in {*workers, "bridge", "gateway"}), name
    text = (PROMETHEUS / "rules.yml").read_text()
    for each in scaled.values():
        query = each["spec"]["triggers"][0]["metadata"]["query"]
        assert re.findall(r"coursebus_\w+", query)[0] in text
        assert 'namespace="shop"' in query


@with_helm
def test_network_policies_allow_what_the_process_uses():
    policies = objects("NetworkPolicy")
    assert set(policies) == set(ROWS)
    for name, policy in policies.items():
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        egress = policy["spec"]["egress"]
        ports = {port["port"] for rule in egress for port in rule["ports"]}
        assert (5432 in ports) == ("database" in ROWS[name]), name
        assert (9093 in ports) == (name == "bridge")
        assert (27017 in ports) == (name in {"stream", "worker-notifications"})
        blocks = [peer["ipBlock"] for rule in egress for peer in rule.get("to", []) if "ipBlock" in peer]
        internet = [block for block in blocks if block["cidr"].endswith("/0")]
        assert bool(internet) == ("internet" in ROWS[name]["reaches"])
        assert all(block["except"] for block in internet)
        metrics = [rule for rule in policy["spec"].get("ingress", []) if rule["ports"] == [{"port": "metrics"}]]
        assert len(metrics) == bool(ROWS[name].get("metrics"))


@with_helm
def test_render_fails_if_the_pods_may_open_too_many_connections():
    pool = connect("postgresql+psycopg2://coursebus_users@127.0.0.1:1/x", role="users").pool
    of_service = pool.size() + pool._max_overflow  # noqa: SLF001 has no public name
    # Two pods of each, one more during an upgrade; the bridge has a pool for each service and a relay; the migration.
    needed = len(SERVICES) * 3 * of_service + 3 * (len(SERVICES) * of_service + 1) + 1
    minimal = ["-f", str(CHART / "ci" / "minimal-values.yaml"), "--set", "postgresql.reservedConnections=0", "--set"]

    assert helm("template", *minimal, f"postgresql.maxConnections={needed}").returncode == 0
    refused = helm("template", *minimal, f"postgresql.maxConnections={needed - 1}")
    assert f"may open {needed} connections to PostgreSQL" in refused.stderr


@with_helm
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("settings.KAFKA_PARTITIONS=1", "more would be idle"),
        ("settings.WEB_URL=", "settings.WEB_URL must be set"),
        ("settings.PUBLIC_URL=", "settings.PUBLIC_URL must be set"),
        ("secrets.existingSecret=", "secrets.existingSecret must name the Secret"),
        ("image.tag=", "image.tag must name the version"),
        ("keda.enabled=true", "keda.prometheusAddress must be set"),
    ],
)
def test_render_fails_with_a_reason(change: str, reason: str):
    completed = helm("template", "-f", str(CHART / "ci" / "minimal-values.yaml"), "--set", change)

    assert completed.returncode != 0
    assert reason in completed.stderr


@with_helm
def test_routes_lead_to_services():
    services = objects("Service")
    for name in ("gateway", "stream", "web"):
        ingress, route = objects("Ingress")[name]["spec"], objects("HTTPRoute")[name]["spec"]
        assert [ingress["rules"][0]["host"]] == ingress["tls"][0]["hosts"] == route["hostnames"]
        [port] = services[name]["spec"]["ports"]
        assert route["rules"][0]["backendRefs"] == [{"name": f"shop-coursebus-{name}", "port": port["port"]}]
        selector = services[name]["spec"]["selector"].items()
        assert selector <= objects("Deployment")[name]["spec"]["template"]["metadata"]["labels"].items()
    assert objects("HTTPRoute")["stream"]["spec"]["rules"][0]["timeouts"] == {"request": "0s"}
