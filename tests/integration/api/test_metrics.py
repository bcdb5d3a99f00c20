"""Metrics of the gateway, which are served on the internal port only."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests
import structlog
from flask.testing import FlaskClient
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

import settings
from api import access_log, create_app
from ops.dev.ports import is_open
from tests.integration.api.test_server import free_port
from tests.support.polling import eventually
from tests.support.sample_api import make_things

REQUESTS = "coursebus_http_request_seconds_count"


@pytest.fixture
def client() -> FlaskClient:
    """Return a client of a new gateway without counted requests."""
    app = create_app()
    app.register_blueprint(make_things())
    return app.test_client()


def request_counts(text: str) -> dict[tuple[str, str, str], float]:
    """Return the number of requests by method, route and status."""
    return {
        (sample.labels["method"], sample.labels["route"], sample.labels["status"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == REQUESTS
    }


def metrics_text(client: FlaskClient) -> str:
    return generate_latest(client.application.extensions["metrics_registry"]).decode()


def test_requests_are_counted_by_route(client: FlaskClient):
    for name in ("one", "two"):
        client.put(f"/v1/things/{name}")
    client.get("/v1/things")

    assert request_counts(metrics_text(client)) == {
        ("PUT", "/v1/things/<thing_id>", "401"): 2,
        ("GET", "/v1/things", "200"): 1,
    }


def test_unknown_routes_share_one_metric_series(client: FlaskClient):
    for path in ("/a", "/b"):
        client.get(path)
    for method in ("BREW", "PROPFIND"):
        client.open("/v1/things", method=method)

    assert request_counts(metrics_text(client)) == {("GET", "none", "404"): 2, ("other", "none", "405"): 2}


@pytest.mark.parametrize("path", ["/metrics", "//metrics", "/v1/metrics"])
def test_metrics_are_not_served_on_public_port(client: FlaskClient, path: str):
    # The test client would take the first part of //metrics as a host.
    assert client.get("/", environ_overrides={"PATH_INFO": path}).status_code == 404
    assert client.get("/", environ_overrides={"PATH_INFO": path, "SCRIPT_NAME": "/v1"}).status_code == 404


@pytest.mark.parametrize(
    ("path", "logged"),
    [("/v1/unsubscribe/s3cret", "/v1/unsubscribe/<token>"), ("/v1/unsubscribed/s3cret", "/v1/unsubscribed")],
)
def test_request_log_contains_no_token_of_a_link(monkeypatch, client: FlaskClient, path: str, logged: str):
    monkeypatch.setattr(access_log, "log", structlog.get_logger())  # the module's own may be cached without capture
    with client.application.test_request_context(f"{path}?token=s3cret", method="POST"), capture_logs() as lines:
        access_log.log_request("route", 200, 0.1)

    assert [line["url.path"] for line in lines] == [logged]
    assert "s3cret" not in str(lines)


@pytest.fixture
def gunicorn(tmp_path: Path) -> Iterator[psutil.Process]:
    """Run the gateway under gunicorn with its own files; its ports are in the variables ``PORT`` and
    ``METRICS_PORT``.
    """
    port, metrics_port = str(free_port()), str(free_port())
    command = [sys.executable, "-m", "gunicorn", "wsgi:app", "-c", "ops/gunicorn.py", "-b", f"127.0.0.1:{port}"]
    environ = os.environ | {"STATE_DIR": str(tmp_path), "PORT": port, "METRICS_PORT": metrics_port}
    with subprocess.Popen(command, cwd=settings.ROOT, env=environ, stderr=subprocess.DEVNULL) as running:
        eventually(lambda: is_open(int(port)))
        yield psutil.Process(running.pid)
        running.terminate()


@pytest.mark.processes
def test_metrics_survive_worker_restarts_without_stale_files(gunicorn: psutil.Process, tmp_path: Path):
    url = f"http://127.0.0.1:{gunicorn.environ()['PORT']}"
    requested = 0

    def got_response() -> bool:
        nonlocal requested
        requested += 1
        return is_served(f"{url}/livez")

    for _ in range(2):
        for _ in range(10):
            eventually(got_response, "a response")
        kill_one(gunicorn)

    scraped = requests.get(f"http://127.0.0.1:{gunicorn.environ()['METRICS_PORT']}/metrics", timeout=5).text
    # A client may time out before the response.
    assert 20 <= request_counts(scraped)["GET", "/livez", "200"] <= requested
    assert len(list(tmp_path.rglob("*.db"))) <= 2


def kill_one(gunicorn: psutil.Process) -> None:
    """Kill one of the two workers; return when two are running again."""
    before = eventually(lambda: len(found := gunicorn.children()) == 2 and found)
    before[0].kill()
    eventually(lambda: len(now := gunicorn.children()) == 2 and set(now) != set(before))


def is_served(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except (requests.ConnectionError, requests.Timeout):
        return False  # the worker was killed, or is still starting
