"""The client of the API: for visitors, and with the token of the person who is signed in."""

from typing import cast

import httpx
from coursebus import Coursebus, Retries
from flask import Flask, current_app, has_request_context, session

import settings
from core.addresses import client_address

_TIMEOUT_SECONDS = 12  # longer than the gateway's deadline of a command
_RETRIES = Retries(count=2, max_delay=1)  # a person waits for the page
_CONNECTIONS = httpx.Limits(max_connections=64, max_keepalive_connections=32)
_ANONYMOUS, _SIGNED_IN = "coursebus_anonymous", "coursebus_signed_in"


class ForwardingTransport(httpx.HTTPTransport):
    """Name the visitor's address to the gateway, which counts rate limits by it if it trusts this process."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if has_request_context():
            # As many hops as the gateway expects: with fewer it would use the address of this process for all visitors.
            hops = [client_address()] * max(settings.TRUSTED_PROXIES, 1)
            request.headers["X-Forwarded-For"] = ", ".join(hops)
        return super().handle_request(request)


def init_app(app: Flask) -> None:
    """Create both clients, which share their connections and are shared by all threads."""
    transport = ForwardingTransport(limits=_CONNECTIONS)
    app.extensions[_ANONYMOUS] = Coursebus(
        settings.API_URL, retries=_RETRIES, timeout=_TIMEOUT_SECONDS, transport=transport
    )
    app.extensions[_SIGNED_IN] = Coursebus(
        settings.API_URL, token=_token, retries=_RETRIES, timeout=_TIMEOUT_SECONDS, transport=transport
    )


def client() -> Coursebus:
    """Return the client for the current request."""
    return cast("Coursebus", current_app.extensions[_SIGNED_IN if is_signed_in() else _ANONYMOUS])


def is_signed_in() -> bool:
    return "token" in session


def _token() -> str:
    return str(session["token"])
