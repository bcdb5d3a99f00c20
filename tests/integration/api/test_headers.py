"""Headers that every response has, including errors."""

import re
import subprocess
import sys

import pytest

import settings
from api import create_app
from tests.support.gateway import Person, gateway

ORIGIN = "https://shop.example"


@pytest.fixture
def allowed_origin(monkeypatch):
    monkeypatch.setattr(settings, "CORS_ORIGINS", (ORIGIN,))


def cors(response) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name.startswith("Access-Control")}


@pytest.mark.parametrize("path", ["/v1/things", "/v1/nothing", "/v1/things/crash", "/v1/me", "/livez", "/openapi.json"])
def test_every_response_has_security_headers(client, path: str):
    headers = client.get(path).headers

    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in headers


def test_request_id_is_accepted_or_generated(client):
    accepted = client.get("/livez", headers={"X-Request-Id": "front-end:7.a_b-c"})

    assert accepted.headers["X-Request-Id"] == "front-end:7.a_b-c"
    assert len(client.get("/livez").headers["X-Request-Id"]) == 32


@pytest.mark.parametrize("sent", ["", "a b", "a" * 129, "é", 'a"b', "<script>"])
def test_invalid_request_id_is_replaced(client, sent: str):
    assert client.get("/livez", headers={"X-Request-Id": sent}).headers["X-Request-Id"] != sent


def test_head_returns_get_headers_without_body(ann: Person):
    head, get = ann.send("HEAD", "/v1/things?q=a"), ann.send("GET", "/v1/things?q=a")

    assert (head.status_code, head.data) == (200, b"")
    assert head.headers["Content-Length"] == get.headers["Content-Length"]
    assert ann.client.head("/v1/me").status_code == 401


def test_options_lists_allowed_methods(client):
    response = client.options("/v1/things")

    assert (response.status_code, response.data) == (200, b"")
    assert set(response.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}
    assert client.options("/v1/nothing").status_code == 404


def test_allowed_origin_gets_cors_headers(client, allowed_origin):
    response = client.get("/v1/things", headers={"Origin": ORIGIN})

    assert cors(response)["Access-Control-Allow-Origin"] == ORIGIN
    assert "ETag" in cors(response)["Access-Control-Expose-Headers"]
    assert "Origin" in response.headers["Vary"]


@pytest.mark.parametrize("origin", ["https://evil.example", "http://shop.example", f"{ORIGIN}.evil.example", "null"])
def test_other_origins_get_no_cors_headers(client, allowed_origin, origin: str):
    response = client.get("/v1/things", headers={"Origin": origin})

    assert cors(response) == {}
    assert "Origin" in response.headers["Vary"], "a cache must not return this response to an allowed origin"


def test_preflight_needs_no_token(client, allowed_origin):
    preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "If-Match"}
    allowed = cors(client.options("/v1/things/7", headers=preflight))

    assert "PUT" in allowed["Access-Control-Allow-Methods"]
    assert {"Authorization", "Idempotency-Key", "If-Match"} <= set(allowed["Access-Control-Allow-Headers"].split(", "))


def test_error_responses_have_cors_headers(client, allowed_origin):
    assert cors(client.get("/v1/me", headers={"Origin": ORIGIN}))["Access-Control-Allow-Origin"] == ORIGIN


@pytest.mark.parametrize("origins", [("*",), (ORIGIN,), ()])
def test_cors_never_allows_credentials(client, monkeypatch, origins):
    monkeypatch.setattr(settings, "CORS_ORIGINS", origins)

    assert "Access-Control-Allow-Credentials" not in client.get("/v1/things", headers={"Origin": ORIGIN}).headers


def test_production_allows_no_origin_by_default():
    production = {"ENVIRONMENT": "production"}

    assert origins_under(production) == []
    assert origins_under({**production, "CORS_ORIGINS": f"{ORIGIN}, https://b.example"}) == [
        ORIGIN,
        "https://b.example",
    ]


def origins_under(environ: dict[str, str]) -> list[str]:
    completed = subprocess.run(
        [sys.executable, "-c", "import settings; print(*settings.CORS_ORIGINS)"],
        env=environ,
        cwd=settings.ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return completed.stdout.split()


@pytest.mark.parametrize(("environment", "stored"), [("production", "false"), ("local", "true")])
def test_docs_store_no_token_in_production(monkeypatch, environment: str, stored: str):
    monkeypatch.setattr(settings, "ENVIRONMENT", environment)

    assert f"persistAuthorization: {stored}," in create_app().test_client().get("/docs/start.js").text


def test_docs_load_no_external_resources():
    client = gateway().test_client()
    page = client.get("/docs")

    assert page.status_code == 200
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    for reference in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert reference.startswith("/docs/")
        with client.get(reference) as response:  # closes the served file
            assert response.status_code == 200
    assert client.get("/docs/../wsgi.py").status_code == 404
    assert client.get("/docs/nothing.js").status_code == 404
