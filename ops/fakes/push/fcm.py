"""Implement the sender's side of Firebase Cloud Messaging: access tokens for a service account, and messages:send."""

import json
import secrets
from pathlib import Path
from typing import Any

from flask import Flask, Response, jsonify, request
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from ops.fakes.push.devices import deliver, triggered_error_status
from ops.fakes.store import Store

PROJECT = "coursebus-local"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
# The access token must have one of these: https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages/send
SCOPES = {f"https://www.googleapis.com/auth/{name}" for name in ("firebase.messaging", "cloud-platform")}
AUDIENCE = (
    "https://oauth2.googleapis.com/token"  # Google's library always uses this audience, wherever it sends the assertion
)
TOKEN_SECONDS = 3600


def add_to(app: Flask, store: Store, *, account: Path, origin: str) -> None:
    key = _account_key(account, origin)

    def token() -> tuple[Response, int]:
        """Return an access token for an assertion signed with the key of the service account (RFC 7523)."""
        try:
            claims = jwt.decode(request.form["assertion"], key, algorithms=["RS256"]).claims
        except (JoseError, ValueError, KeyError):
            return jsonify({"error": "invalid_grant"}), 400
        asked = set(str(claims.get("scope", "")).split())
        if request.form.get("grant_type") != GRANT or claims.get("aud") != AUDIENCE or not asked & SCOPES:
            return jsonify({"error": "invalid_scope"}), 400
        with store.transaction() as db:
            access_token = f"local.{secrets.token_urlsafe(24)}"
            db.set_value("access_tokens", [*db.value("access_tokens", []), access_token][-10:])
        return jsonify({"access_token": access_token, "expires_in": TOKEN_SECONDS, "token_type": "Bearer"}), 200

    def send(project: str) -> tuple[Response, int]:
        message = request.get_json(force=True).get("message", {})
        with store.transaction() as db:
            if status := triggered_error_status(db):
                return _error_response(status, "UNAVAILABLE", "UNAVAILABLE")
            if request.headers.get("Authorization", "").removeprefix("Bearer ") not in db.value("access_tokens", []):
                return _error_response(401, "UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR")
            device_id, _, rest = str(message.get("token", "")).partition(":")
            if project != PROJECT or not rest:
                return _error_response(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT")
            device = db.get(device_id, "device")
            if device is None or device.get("token") != message["token"]:
                return _error_response(404, "NOT_FOUND", "UNREGISTERED")
            deliver(db, device, message)
            return jsonify({"name": f"projects/{project}/messages/{db.increment('messages')}"}), 200

    app.add_url_rule("/oauth/token", view_func=token, methods=["POST"])
    app.add_url_rule("/v1/projects/<project>/messages:send", view_func=send, methods=["POST"])


def _error_response(status: int, name: str, fcm_code: str) -> tuple[Response, int]:
    details = [{"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": fcm_code}]
    error: dict[str, Any] = {"code": status, "message": f"Refused: {fcm_code}.", "status": name, "details": details}
    return jsonify({"error": error}), status


def _account_key(account: Path, origin: str) -> RSAKey:
    """Return the key of the service account; create and store it if it does not exist."""
    if not account.exists():
        made = RSAKey.generate_key(2048)
        credentials = {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": "local",
            "private_key": made.as_pem(private=True).decode(),
            "client_email": f"push@{PROJECT}.iam.gserviceaccount.com",
            "client_id": "1",
            "token_uri": f"{origin}/oauth/token",
        }
        account.parent.mkdir(parents=True, exist_ok=True)
        draft = account.with_suffix(".draft")
        draft.write_text(json.dumps(credentials))
        draft.rename(account)  # renamed, so that readers never see an incomplete file
    return RSAKey.import_key(json.loads(account.read_text())["private_key"])
