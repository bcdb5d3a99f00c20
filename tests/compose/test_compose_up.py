"""ops/compose.yml runs in containers: a story passes, killed processes come back, and stops are graceful.

``make compose`` runs these tests as root with podman. Substitutes replace the public images (images/Containerfile), and
the issuer of tokens is on this machine; everything else is as in production.
"""

import hashlib
import json
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
import pytest

from ops import configure
from ops.dev.ports import free_base
from tests.compose.engine import SERVICES, Project, build_images, missing_requirement, podman
from tests.compose.issuer import HOST, Issuer, running_issuer
from tests.support.polling import eventually

pytestmark = pytest.mark.skipif(bool(missing_requirement()), reason=missing_requirement() or "podman runs here")

OWN = [name for name, service in SERVICES.items() if service["image"] == "coursebus" and name != "migrate"]
SERVERS = [name for name, service in SERVICES.items() if service["image"] != "coursebus"]
API, STREAM, WEB = "api.school.test", "stream.school.test", "www.school.test"


@dataclass
class School:
    """The running platform, reached through its proxy."""

    project: Project
    issuer: Issuer
    port: int
    trust: ssl.SSLContext

    def call(self, method: str, path: str, *, token: str = "", host: str = API, **content: Any) -> httpx.Response:
        headers = {"Host": host} | ({"Authorization": f"Bearer {token}"} if token else {})
        if method == "POST":
            headers["Idempotency-Key"] = hashlib.sha256(f"{path} {content}".encode()).hexdigest()
        url, extensions = f"https://127.0.0.1:{self.port}{path}", {"sni_hostname": host}
        with httpx.Client(verify=self.trust, timeout=20) as client:
            return client.request(method, url, headers=headers, extensions=extensions, **content)

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """Return the JSON of the answer; repeat the request as the answer asks for it, like any client."""

        def answer() -> httpx.Response | None:
            given = self.call(method, path, **options)
            if given.status_code not in {429, 503, 504}:
                return given
            time.sleep(float(given.headers.get("Retry-After", 0)))  # a client that does not wait is limited
            return None

        response = eventually(answer, f"an answer to {method} {path}", seconds=90)
        assert response.is_success, (method, path, response.status_code, response.text)
        return response.json() if response.content else None


def filled_variables(issuer: Issuer, port: int) -> dict[str, str]:
    example = configure.EXAMPLE.read_text().replace("example.com", "school.test")
    given = {"AUTH0_DOMAIN": "", "OIDC_ISSUER": issuer.url, "WEB_CLIENT_ID": "web", "WEB_CLIENT_SECRET": "secret"}
    given |= {"STRIPE_SECRET_KEY": "sk_live_1", "STRIPE_WEBHOOK_SECRET": "whsec_1"}
    given |= {"EDGE_OPTIONS": "local_certs", "EDGE_HTTPS_PORT": str(port), "EDGE_HTTP_PORT": str(port + 1)}
    given["EDGE_SUBNET"] = f"172.31.{port % 250}.0/24"  # another run on this machine has another one
    variables = configure.read(configure.fill_in(example, given))
    assert configure.find_missing(variables) == []
    return variables


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> Iterator[School]:
    build_images()
    tried = podman("run", "--rm", "--pull", "never", "--memory", "256m", "localhost/coursebus", "true", check=False)
    if tried.returncode:
        pytest.skip(f"podman cannot run a container here: {tried.stderr.strip().splitlines()[-1]}")
    directory = tmp_path_factory.mktemp("compose")
    directory.chmod(0o755)
    with running_issuer(directory) as issuer:
        port = free_base()
        extra: dict[str, list[str]] = {}
        project = Project(filled_variables(issuer, port), directory / "secrets", extra)
        certificate = [
            "--volume",
            f"{issuer.certificate}:/run/issuer.pem:ro",
            "--env",
            "REQUESTS_CA_BUNDLE=/run/issuer.pem",
        ]
        for name in ("gateway", "stream", "web"):
            extra[name] = ["--add-host", f"{HOST}:{project.gateway_of('internet')}", *certificate]
        # Providers that cannot be reached refuse at once: a look-up of their names could outlast the stop of a worker.
        extra["worker-payments"] = ["--add-host", "api.stripe.com:127.0.0.1"]
        extra["worker-notifications"] = ["--add-host", "smtp.school.test:127.0.0.1"]
        try:
            project.up()
            project.wait_until_all_healthy()
            authority = project.execute("edge", "cat", "/data/caddy/pki/authorities/local/root.crt")
            yield School(project, issuer, port, ssl.create_default_context(cadata=authority))
        finally:
            project.remove()


def complete_a_course(school: School, name: str) -> str:
    """Write a free course, take it and complete it; return the title of the last notification."""
    author, learner = (
        school.issuer.token(f"{role}-{name}@school.test", *permissions)
        for role, permissions in (
            ("author", ["courses:write"]),
            ("learner", []),
        )
    )
    ask = partial(school.ask, token=author)
    fields: dict[str, Any] = {"title": f"Knots {name}", "category": "crafts", "level": "beginner", "language": "en"}
    fields["price"] = {"amount_minor": 0, "currency": "USD"}
    course = ask("POST", "/v1/courses", json=fields)
    section = ask("POST", f"/v1/courses/{course['id']}/sections", json={"title": "Rope"})
    lesson = ask(
        "POST",
        f"/v1/courses/{course['id']}/lessons",
        json={"title": "Bowline", "section_id": section["id"], "kind": "text", "content": {"body": "Over and under."}},
    )
    ask("POST", f"/v1/courses/{course['id']}/publish")

    ask = partial(school.ask, token=learner)
    assert ask("GET", "/v1/me")["email"] == f"learner-{name}@school.test"
    ask("POST", f"/v1/courses/{course['id']}/enrollments", json={})
    path = f"/v1/courses/{course['id']}/lessons/{lesson['id']}/completion"
    ask("PUT", path)

    def title() -> str | None:
        items = ask("GET", "/v1/me/notifications")["items"]
        return next((each["title"] for each in items if f"Knots {name}" in each["title"]), None)

    return eventually(title, "a notification of the completion", seconds=90)


def test_course_is_completed_through_the_proxy(school: School):
    assert "Knots" in complete_a_course(school, "first")

    assert school.call("GET", "/readyz").json()["status"] == "ready"
    assert school.call("GET", "/", host=WEB).status_code == 200
    assert school.call("GET", "/livez", host=STREAM).json()["status"] == "ok"
    assert school.call("GET", "/metrics").status_code == 404
    assert school.call("GET", "/livez").headers["Strict-Transport-Security"]

    def lags() -> set[str]:
        lines = school.project.execute("bridge", "python", "-m", "bridge", "lag").splitlines()
        return {line.split(": ")[1] for line in lines}

    eventually(lambda: lags() == {"0 events, 0 s"}, "the end of all events", seconds=60)


def test_prometheus_scrapes_every_process_and_loads_the_rules(school: School):
    def ask(path: str) -> Any:
        url = f"http://127.0.0.1:9090/api/v1/{path}"
        return json.loads(school.project.execute("prometheus", "wget", "-q", "-O", "-", url))["data"]

    def scraped() -> set[str]:
        return {
            each["labels"]["instance"].split(":")[0]
            for each in ask("targets")["activeTargets"]
            if each["health"] == "up"
        }

    processes = set(OWN) - {"web", "flower"}  # these have no metrics
    eventually(lambda: scraped() == processes, "a scrape of every process", seconds=60)
    versions = ask("query?query=count(coursebus_build_info)by(instance)")["result"]
    assert {each["metric"]["instance"].split(":")[0] for each in versions} == processes
    rules = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
    assert len(rules) > 20
    eventually(
        lambda: {r["health"] for g in ask("rules")["groups"] for r in g["rules"]} == {"ok"}, "the rules", seconds=60
    )


@pytest.mark.parametrize("name", OWN)
def test_process_is_unprivileged(school: School, name: str):
    script = "id -u; grep -E 'CapEff|NoNewPrivs' /proc/self/status; touch /app/x 2>&1 || true; env"
    lines = school.project.execute(name, "sh", "-c", script).splitlines()

    assert lines[0] == "10001"
    assert lines[1].split() == ["CapEff:", "0000000000000000"]
    assert lines[2].split() == ["NoNewPrivs:", "1"]
    assert "Read-only file system" in lines[3]
    passwords = [value for name, value in school.project.variables.items() if name.endswith("_PASSWORD")]
    assert not any(each in line for each in passwords for line in lines[4:])
    assert int(school.project.inspect(name, "{{.HostConfig.Memory}}")) >= 512 * 2**20


def test_servers_demand_their_passwords(school: School):
    execute = school.project.execute

    assert execute("queue", "sh", "-c", "REDISCLI_AUTH= redis-cli ping || true").startswith("NOAUTH")
    refused = execute("postgres", "sh", "-c", "PGPASSWORD=x psql -h 127.0.0.1 -U coursebus -c 'SELECT 1' 2>&1 || true")
    assert "password authentication failed" in refused
    assert execute("gateway", "sh", "-c", "ls /run/secrets | grep -c DATABASE || true") == "0\n"


@pytest.mark.parametrize("killed", ["processes", "servers"])
def test_killed_containers_come_back_and_lose_nothing(school: School, killed: str):
    for name in OWN if killed == "processes" else SERVERS:
        school.project.kill(name)

    school.project.wait_until_all_healthy()

    assert "Knots" in complete_a_course(school, f"after-{killed}")


def test_containers_stop_within_their_grace_period(school: School):
    started = time.monotonic()
    school.project.stop(OWN)

    assert {name: school.project.inspect(name, "{{.State.ExitCode}}") for name in OWN} == dict.fromkeys(OWN, "0")
    assert time.monotonic() - started < 60
