import socket

import pytest

import settings
from api import health
from tests.support.gateway import gateway

CLOSED = "127.0.0.1:1"


@pytest.fixture
def client():
    return gateway().test_client()


@pytest.fixture(autouse=True)
def reset_readiness(monkeypatch):
    monkeypatch.setattr(health, "readiness", health.Readiness())


def disconnect(monkeypatch, server: str, url: str) -> None:
    check, _ = health._CHECKS[server]  # noqa: SLF001 simulates the network
    monkeypatch.setitem(health._CHECKS, server, (check, url))  # noqa: SLF001


def test_livez_returns_alive(client):
    assert client.get("/livez").json == {"status": "alive", "version": "development"}


def test_readiness_fails_when_queue_server_is_down(client, monkeypatch):
    disconnect(monkeypatch, "queue", f"redis://{CLOSED}/0")
    response = client.get("/readyz")

    assert (response.status_code, response.json["status"]) == (503, "not_ready")
    assert response.json["servers"]["queue"] == "down"


@pytest.mark.parametrize(
    ("server", "url"),
    [
        ("cache", f"redis://{CLOSED}/0"),
        ("kafka", f"{CLOSED},{CLOSED}"),
        ("mongo", f"mongodb://user:secret@{CLOSED}/coursebus"),
        ("postgres", f"postgresql+psycopg2://coursebus@{CLOSED}/coursebus"),
    ],
)
def test_readiness_reports_other_servers_as_down_and_succeeds(client, monkeypatch, server, url):
    disconnect(monkeypatch, server, url)
    response = client.get("/readyz")

    assert (response.status_code, response.json["status"]) == (200, "ready")
    assert response.json["servers"][server] == "down"


def test_kafka_is_up_when_one_broker_is_reachable(client, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as broker:
        disconnect(monkeypatch, "kafka", f"{CLOSED},127.0.0.1:{broker.getsockname()[1]}")

        assert client.get("/readyz").json["servers"]["kafka"] == "up"


def test_readiness_checks_are_cached(client, monkeypatch):
    client.get("/readyz")
    disconnect(monkeypatch, "queue", f"redis://{CLOSED}/0")

    assert client.get("/readyz").status_code == 200


def test_production_checks_only_servers_that_the_gateway_is_given(client, monkeypatch):
    monkeypatch.setattr(settings, "PRODUCTION", True)
    monkeypatch.setattr(settings.read, "is_set", lambda name: name in {"REDIS_URL", "CACHE_URL"})

    assert client.get("/readyz").json == {"status": "ready", "servers": {"queue": "up", "cache": "up"}}
