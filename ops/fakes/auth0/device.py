"""Implement the device authorization flow (RFC 8628), with Auth0's paths and error statuses.

https://auth0.com/docs/get-started/authentication-and-authorization-flow/device-authorization-flow
"""

import secrets
from functools import partial

from flask import Flask, Response, request
from werkzeug.wrappers import Response as AnyResponse

import settings
from ops.fakes.store import Document, Documents, Store

from . import users
from .authorization import sign_in_page
from .codes import OAuthError
from .demo_users import PASSWORD

GRANT = "urn:ietf:params:oauth:grant-type:device_code"
DEVICE_SECONDS = 900  # as at Auth0
INTERVAL_SECONDS = 1  # at Auth0 it is 5; a shorter one keeps tests fast
_ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"  # as RFC 8628 suggests: no vowels, no words


class NotConfirmedError(OAuthError):
    """The user has not decided yet. The transaction must commit: it stores the time of the question."""


def add_to(app: Flask, store: Store) -> None:
    app.add_url_rule("/oauth/device/code", view_func=partial(start, store), endpoint="device_code", methods=["POST"])
    app.add_url_rule("/activate", view_func=partial(activate, store), endpoint="activate", methods=["GET", "POST"])


def start(store: Store) -> tuple[Document, int]:
    """Return a device code for the client and a user code for the browser."""
    asked = request.get_json(silent=True) or request.form.to_dict()
    if not asked.get("client_id"):
        return OAuthError(400, "invalid_request", "Missing required parameter: client_id").body, 400
    drawn = "".join(secrets.choice(_ALPHABET) for _ in range(8))
    user_code, device_code = f"{drawn[:4]}-{drawn[4:]}", secrets.token_urlsafe(32)
    kept = {name: str(asked.get(name, "")) for name in ("client_id", "scope", "audience")}
    with store.transaction() as db:
        expires_at = db.now() + DEVICE_SECONDS
        state = {"user_id": None, "denied": False, "asked_at": 0}
        db.save("device", {"id": device_code, "user_code": user_code, "expires_at": expires_at, **state, **kept})
    uri = f"{settings.AUTH0_ISSUER}activate"
    return {
        "device_code": device_code,
        "user_code": user_code,
        "verification_uri": uri,
        "verification_uri_complete": f"{uri}?user_code={user_code}",
        "expires_in": DEVICE_SECONDS,
        "interval": INTERVAL_SECONDS,
    }, 200


def activate(store: Store) -> AnyResponse:
    """Show the sign-in page for a user code; its form confirms the code, or refuses it with ``deny``."""
    with store.transaction() as db:
        device = next(iter(db.find("device", user_code=request.values.get("user_code", "").upper())), None)
        if device is None or device["expires_at"] < db.now():
            return Response("<!doctype html><title>Error</title><p>This code is not known, or has expired.", 404)
        if request.method == "GET":
            return sign_in_page()
        if "deny" in request.form:
            db.save("device", device | {"denied": True})
            return Response("<!doctype html><title>Refused</title><p>The device was refused.")
        email = request.form.get("email", "").strip()
        if "@" not in email or request.form.get("password") != PASSWORD:
            return sign_in_page(f"Wrong email or password. Every account has the password {PASSWORD}.")
        db.save("device", device | {"user_id": users.get_or_sign_up(db, email)["user_id"]})
    return Response("<!doctype html><title>Signed in</title><p>Signed in. Go back to the command line.")


def redeem(db: Documents, message: Document) -> Document:
    """Return the stored request of a device code that a user has confirmed; it is valid once.

    Raises NotConfirmedError and OAuthError.
    """
    device = db.get(str(message.get("device_code", "")), "device")
    if device is None or device["client_id"] != message.get("client_id"):
        raise OAuthError(403, "invalid_grant", "Invalid or expired device code.")
    if device["expires_at"] < db.now():
        raise OAuthError(403, "expired_token", "The device code has expired.")
    if device["denied"]:
        raise OAuthError(403, "access_denied", "The user has refused the device.")
    if device["user_id"]:
        db.delete(device["id"])
        return device
    is_early = db.now() - device["asked_at"] < INTERVAL_SECONDS
    db.save("device", device | {"asked_at": db.now()})
    if is_early:
        raise NotConfirmedError(429, "slow_down", "You are polling faster than the specified interval.")
    raise NotConfirmedError(403, "authorization_pending", "User has yet to authorize device code.")
