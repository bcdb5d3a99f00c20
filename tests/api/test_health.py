import socket

import pytest

from api import health
from tests.gateway import gateway

CLOSED = "127.0.0.1:1"


@pytest.fixture
def client():
    return gateway().test_client()


@pytest.fixture(autouse=True)
def checked_anew(monkeypatch):
    monkeypatch.setattr(health, "readiness", health.Readiness())


def break_off(monkeypatch, server: str, url: str) -> None:
    check, _ = health._CHECKS[server]  # noqa: SLF001 the test stands for the network
    monkeypatch.setitem(health._CHECKS, server, (check, url))  # noqa: SLF001


def test_a_process_that_answers_lives(client):
    assert client.get("/livez").json == {"status": "alive"}


def test_readiness_fails_without_the_queues(client, monkeypatch):
    break_off(monkeypatch, "queue", f"redis://{CLOSED}/0")
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
def test_readiness_names_what_else_is_down_and_does_not_fail_for_it(client, monkeypatch, server, url):
    break_off(monkeypatch, server, url)
    response = client.get("/readyz")

    assert (response.status_code, response.json["status"]) == (200, "ready")
    assert response.json["servers"][server] == "down"


def test_one_host_of_several_is_enough(client, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as broker:
        break_off(monkeypatch, "kafka", f"{CLOSED},127.0.0.1:{broker.getsockname()[1]}")

        assert client.get("/readyz").json["servers"]["kafka"] == "up"


def test_many_probes_cost_one_round_of_checks(client, monkeypatch):
    client.get("/readyz")
    break_off(monkeypatch, "queue", f"redis://{CLOSED}/0")

    assert client.get("/readyz").status_code == 200
