"""The compose files are valid, contain every process of the local stack, and give each what it needs and no more."""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis import Redis
from redis.exceptions import AuthenticationError

from ops import configure
from ops.configure import container_environ
from ops.dev import valkey
from ops.dev.child_process import popen_with_parent
from ops.dev.ports import free_base, is_open
from ops.dev.processes import CLIENT, platform
from settings import ROOT
from settings import SERVICES as SERVICE_NAMES
from settings.checks import USED_SETTINGS
from tests.support.polling import eventually

PATH, DEMO = ROOT / "ops" / "compose.yml", ROOT / "ops" / "demo.yml"
COMPOSE = yaml.safe_load(PATH.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OWN_SERVICES = {name: service for name, service in SERVICES.items() if service.get("image") == "coursebus"}


@pytest.mark.parametrize("path", [PATH, DEMO], ids=lambda path: path.name)
def test_compose_file_matches_specification(path: Path):
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    completed = subprocess.run(check, capture_output=True, text=True, check=False)

    assert completed.returncode == 0, completed.stdout


def test_every_process_has_a_container():
    assert {process.name for process in platform(8000)} == set(OWN_SERVICES) - {"migrate"}


@pytest.mark.parametrize("name", OWN_SERVICES)
def test_own_containers_are_unprivileged_and_read_only(name: str):
    service = OWN_SERVICES[name]

    assert service["read_only"] is True
    assert service["tmpfs"] == "/tmp"  # noqa: S108 private to the container
    assert service["cap_drop"] == ["ALL"]
    assert service["environment"]["ENVIRONMENT"] == "production"


def test_worker_container_serves_queue_of_its_name():
    workers = {name: service for name, service in OWN_SERVICES.items() if name.startswith("worker-")}

    assert {f"worker-{service['environment']['SERVICE']}" for service in workers.values()} == set(workers)


@pytest.mark.parametrize("name", sorted(set(SERVICES) - set(OWN_SERVICES)))
def test_third_party_images_are_pinned_and_volumes_exist(name: str):
    service = SERVICES[name]

    assert service["image"].rpartition(":")[2][0] in "v0123456789"
    for volume in service.get("volumes", []):
        source = volume.partition(":")[0]
        assert not source.startswith("./") or (PATH.parent / source).exists(), source


def test_demo_needs_no_environment_variables():
    text = DEMO.read_text()

    assert "${" not in text
    assert "env_file" not in text


def filled_env() -> dict[str, str]:
    """Return the variables of a new ops/.env, with keys of Stripe and a client for the pages."""
    accounts = {"STRIPE_SECRET_KEY": "sk_live_1", "STRIPE_WEBHOOK_SECRET": "whsec_1"}
    accounts |= {"WEB_CLIENT_ID": "web", "WEB_CLIENT_SECRET": "secret-of-the-client"}
    return configure.read(configure.fill_in(configure.EXAMPLE.read_text(), accounts))


def test_example_env_invents_every_password():
    variables = filled_env()

    required = set(re.findall(r"\$\{(\w+):\?\}", PATH.read_text()))
    assert {name for name in required if not variables.get(name)} == set()
    assert all(
        configure.secret_values(variables)[f"{name.upper()}_DATABASE_URL"] for name in (*SERVICE_NAMES, "bridge")
    )
    passwords = [value for name, value in variables.items() if name.endswith("_PASSWORD")]
    assert len(set(passwords)) == len(passwords) >= 19
    assert all(len(password) == 48 for password in passwords)


@pytest.mark.parametrize("name", sorted(USED_SETTINGS))
def test_container_has_safe_settings(name: str):
    code = f"from settings.checks import find_unsafe_settings; print(find_unsafe_settings({name!r}))"
    completed = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=container_environ(name, filled_env()),
        capture_output=True,
        text=True,
        check=False,
    )

    assert completed.stdout == "[]\n", completed.stderr


# Workers share their start. The command of the gateway is the default of the image.
@pytest.mark.parametrize("name", ["gateway", "stream", "web", "worker-courses", "bridge", "beat", "flower"])
def test_process_with_unsafe_settings_exits(name: str, tmp_path: Path):
    gateway = ["gunicorn", "wsgi:app", "-c", "ops/gunicorn.py", "--bind", "127.0.0.1:0"]
    command = [part.replace("$$", "$") for part in SERVICES[name].get("command", gateway)]
    environ = container_environ(name, filled_env()) | {"FAULT_INJECTION": "x", "STATE_DIR": str(tmp_path)}
    completed = subprocess.run(
        command,
        cwd=ROOT,
        env=environ
        | {
            "METRICS_PORT": "0",
            "PYTHONPATH": str(CLIENT),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert completed.returncode not in {0, None}
    assert "FAULT_INJECTION kills processes, and must not be set in production" in completed.stderr


# Addresses without a password.
NOT_SECRET = {"HEALTH_URL", "PUBLIC_URL", "STREAM_URL", "WEB_URL", "API_URL", "STORAGE_URL", "STORAGE_PUBLIC_URL"}


def test_secrets_are_files_in_a_private_directory(tmp_path: Path):
    variables = filled_env()
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "BADGE_SIGNING_KEY").write_text("a key\nof lines\n")

    configure.write_secrets(tmp_path / "secrets", variables)

    written = {path.name: path for path in (tmp_path / "secrets").iterdir()}
    assert set(written) == set(COMPOSE["secrets"]) == {each for one in OWN_SERVICES.values() for each in one["secrets"]}
    assert all(each["file"] == f"./secrets/{name}" for name, each in COMPOSE["secrets"].items())
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in written.values()} == {0o444}  # of the users of containers
    assert written["QUEUE_URL"].read_text() == f"redis://:{variables['QUEUE_PASSWORD']}@queue:6379/0"
    assert written["BADGE_SIGNING_KEY"].read_text() == "a key\nof lines\n"


@pytest.mark.parametrize("name", sorted(OWN_SERVICES))
def test_container_gets_no_secret_of_another(name: str):
    is_secret = re.compile(r"(_URL|_KEY|_SECRET|_TOKEN|_PASSWORD|_AUTH)$")
    environment = OWN_SERVICES[name]["environment"]
    assert {key for key in environment if is_secret.search(key)} <= NOT_SECRET
    given = {key.removesuffix("_FILE") for key in environment if key.endswith("_FILE")}

    used = USED_SETTINGS.get(name, {"DATABASE_URL"}) | {"REDIS_URL", "HEALTH_URL"}
    logins = {key for key in given if key.endswith("_DATABASE_PASSWORD") and name == "migrate"}
    assert given - used - logins == set()
    mounted = [value for key, value in environment.items() if key.endswith("_FILE")]
    assert mounted == [f"/run/secrets/{secret}" for secret in OWN_SERVICES[name]["secrets"]]
    # The file that all containers read is for settings without secrets, and need not exist.
    assert OWN_SERVICES[name]["env_file"] == [{"path": "settings.env", "required": False}]


def test_each_process_logs_in_to_postgresql_as_its_role():
    environs = {name: container_environ(name, filled_env()) for name in OWN_SERVICES}
    urls = {name: environ.get("DATABASE_URL", "") for name, environ in environs.items()}
    users = {name: re.sub(r"postgresql://([^:]+):.*", r"\1", url) for name, url in urls.items() if url}

    expected = {name: f"coursebus_{name.removeprefix('worker-')}" for name in users if name != "migrate"}
    assert users == {**expected, "migrate": "coursebus"}  # the owner
    assert set(expected) == {name for name in OWN_SERVICES if name.startswith("worker-")} | {"bridge"}


INTERNAL = {name for name, network in COMPOSE["networks"].items() if network and network["internal"]}


def test_servers_are_on_internal_networks_and_publish_no_port():
    for name in ("postgres", "queue", "cache", "kafka", "mongo", "elasticsearch"):
        assert set(SERVICES[name]["networks"]) <= INTERNAL
        assert "ports" not in SERVICES[name]


def test_containers_reach_only_the_servers_that_they_use():
    networks = {name: set(service["networks"]) for name, service in SERVICES.items()}

    def reached(name: str) -> set[str]:
        servers = {"postgres", "queue", "cache", "kafka", "mongo", "elasticsearch"}
        return {server for server in servers if networks[server] & networks[name]}

    assert reached("gateway") == reached("beat") == reached("flower") == {"queue", "cache"}
    assert reached("web") == {"queue", "cache"}  # on the network of the cache; it gets no password of the queue
    assert reached("migrate") == {"postgres", "kafka", "mongo"}
    assert reached("prometheus") == reached("grafana") == reached("alertmanager") == set()
    assert reached("filebeat") == reached("kibana") == {"elasticsearch"}
    assert all("elasticsearch" not in reached(name) for name in OWN_SERVICES)


def test_published_ports_are_local_and_on_an_external_network():
    """The proxy alone publishes ports for everybody; gateway, stream and pages are behind it."""
    for name, service in SERVICES.items():
        for port in service.get("ports", []):
            assert (name == "edge") != port.startswith("127.0.0.1:"), name
            assert set(service["networks"]) - INTERNAL, name
    for name in ("gateway", "stream", "web"):
        assert "ports" not in SERVICES[name]
        assert SERVICES[name]["environment"]["TRUSTED_PROXIES"] == "1"


@pytest.mark.parametrize("name", SERVICES)
def test_container_is_limited_and_its_log_rotated(name: str):
    assert "max-size" in SERVICES[name]["logging"]["options"]
    if not SERVICES[name].get("profiles"):
        assert {"mem_limit", "pids_limit"} <= set(SERVICES[name])


def test_every_process_but_the_migration_has_a_health_check():
    without = {name for name, service in OWN_SERVICES.items() if service.get("healthcheck", {}).get("disable")}

    assert without == {"migrate"}


def test_no_container_reaches_the_container_engine():
    assert "docker.sock" not in PATH.read_text()
    assert SERVICES["filebeat"]["cap_drop"] == ["ALL"]


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("postgres", "POSTGRES_PASSWORD"),
        ("mongo", "MONGO_INITDB_ROOT_PASSWORD"),
        ("kafka", "KAFKA_LISTENER_NAME_CLIENT_PLAIN_SASL_JAAS_CONFIG"),
        ("elasticsearch", "ELASTIC_PASSWORD"),
        ("grafana", "GF_SECURITY_ADMIN_PASSWORD"),
        ("queue", "REDISCLI_AUTH"),
        ("cache", "REDISCLI_AUTH"),
    ],
)
def test_server_does_not_start_without_a_password(name: str, variable: str):
    assert re.search(r"\$\{\w+:\?\}", SERVICES[name]["environment"][variable])


def test_kafka_has_a_login_on_every_port_that_containers_reach():
    kafka, bridge = SERVICES["kafka"]["environment"], SERVICES["bridge"]["environment"]
    protocols = dict(each.split(":") for each in kafka["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(","))
    reachable = [
        name
        for name, _, address in (each.partition("://") for each in kafka["KAFKA_LISTENERS"].split(","))
        if not address.startswith("localhost:")
    ]

    assert [protocols[name] for name in reachable] == [bridge["KAFKA_SECURITY_PROTOCOL"]] == ["SASL_PLAINTEXT"]
    assert kafka["KAFKA_SASL_ENABLED_MECHANISMS"] == bridge["KAFKA_SASL_MECHANISM"]


def test_elasticsearch_demands_a_login():
    assert SERVICES["elasticsearch"]["environment"]["xpack.security.enabled"] == "true"


@pytest.mark.parametrize("name", ["queue", "cache"])
def test_redis_demands_the_password(name: str, tmp_path: Path):
    port = free_base()
    shell, option, script = SERVICES[name]["command"]
    binary = valkey.queue_command(tmp_path, port)[0]
    script = script.replace("$$", "$").replace("redis-server -", f"{binary} - --port {port} --bind 127.0.0.1")
    with popen_with_parent([shell, option, script], cwd=tmp_path, env=os.environ | {"REDISCLI_AUTH": "pw"}) as server:
        try:
            eventually(lambda: is_open(port), "the server")
            with Redis(port=port, password="pw") as client:
                assert client.ping()
                assert client.config_get("maxmemory-policy")["maxmemory-policy"] in {"noeviction", "allkeys-lru"}
            with Redis(port=port) as client, pytest.raises(AuthenticationError):
                client.ping()
        finally:
            server.kill()
