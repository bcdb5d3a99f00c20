"""The gateway and the stream share a base app and respond with the same headers, limits and errors."""

import secrets
from ipaddress import IPv4Address
from unittest.mock import MagicMock

import pytest
from flask import Flask

import settings
from api import create_app
from models.errors import DomainError
from stream.server import create_app as create_stream
from tests.support.gateway import problem


@pytest.fixture(params=["gateway", "stream"])
def process(request, monkeypatch) -> Flask:
    monkeypatch.setattr(settings, "RATE_LIMITS", True)
    return create_app() if request.param == "gateway" else create_stream(MagicMock(), MagicMock())


def test_gateway_and_stream_run_the_same_hooks():
    apps = (create_app(), create_stream(MagicMock(), MagicMock()))
    before, after = (
        [
            [f"{hook.__module__}.{hook.__qualname__}" for hook in hooks(app) if hook.__module__ != "api.metrics"]
            for app in apps
        ]
        for hooks in (
            lambda app: app.before_request_funcs[None],
            lambda app: app.after_request_funcs[None],
        )
    )

    assert before[0] == before[1]
    assert after[0] == after[1]
    for error in (DomainError, Exception):
        assert len({app.error_handler_spec[None][None][error] for app in apps}) == 1
    assert apps[0].request_class is apps[1].request_class
    assert apps[0].config["MAX_CONTENT_LENGTH"] == apps[1].config["MAX_CONTENT_LENGTH"]


def test_unknown_paths_are_limited_by_forwarded_address(process: Flask, monkeypatch):
    monkeypatch.setattr(settings, "TRUSTED_PROXIES", 1)
    client = process.test_client()

    def request_limit(address: str) -> str:
        response = client.get("/nothing", headers={"X-Forwarded-For": address})
        assert problem(response) == (404, "not_found")
        return response.headers["RateLimit"]

    one, other = (str(IPv4Address(secrets.randbits(32))) for _ in range(2))
    limits = [request_limit(f"{one}:1234"), request_limit(one), request_limit(other)]
    assert [each.partition(";t=")[0] for each in limits] == [f'"address";r={count}' for count in (5999, 5998, 5999)]


@pytest.mark.parametrize("path", ["/livez", "/nothing", "/nothing//livez", "/metrics"])
def test_gateway_and_stream_send_common_headers(process: Flask, path: str):
    address = f"203.0.113.{secrets.randbelow(256)}"  # other tests may have exhausted the limit of the loopback address
    response = process.test_client().get(path, environ_base={"REMOTE_ADDR": address})

    assert response.status_code == (200 if path == "/livez" else 404)
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "X-Request-Id" in response.headers
    assert ("RateLimit" in response.headers) == (path != "/livez")
