"""Implement a Web Push service and its browsers: messages are verified (VAPID), decrypted (RFC 8291) and stored."""

import json

import http_ece
from cryptography.hazmat.primitives.asymmetric import ec
from flask import Flask, request
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from ops.fakes.push.devices import decoded, deliver, encoded, triggered_error_status
from ops.fakes.store import Document, Store


def add_to(app: Flask, store: Store, *, origin: str) -> None:
    def receive(device_id: str) -> tuple[str, int]:
        with store.transaction() as db:
            if status := triggered_error_status(db):
                return "", status
            device = db.get(device_id, "device")
            if device is None:
                return "", 410
            if not request.headers.get("TTL", "").isdecimal():
                return "TTL is missing", 400
            if not _is_signed(request.headers.get("Authorization", ""), origin):
                return "not signed according to RFC 8292", 403
            try:
                message = _decrypted(device, request.get_data())
            except (http_ece.ECEException, ValueError):
                return "cannot be decrypted", 400
            deliver(db, device, {**message, "topic": request.headers.get("Topic")})
            return "", 201

    app.add_url_rule("/push/<device_id>", view_func=receive, methods=["POST"])


def _is_signed(authorization: str, origin: str) -> bool:
    """Return whether the header has the form ``vapid t=<token>, k=<public key>`` with a valid token for this
    service.
    """
    scheme, _, rest = authorization.partition(" ")
    fields = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    if scheme != "vapid" or not {"t", "k"} <= fields.keys():
        return False
    point = decoded(fields["k"])
    key = ECKey.import_key({"kty": "EC", "crv": "P-256", "x": encoded(point[1:33]), "y": encoded(point[33:65])})
    try:
        claims = jwt.decode(fields["t"], key, algorithms=["ES256"]).claims
        jwt.JWTClaimsRegistry(aud={"essential": True, "value": origin}, exp={"essential": True}).validate(claims)
    except (JoseError, ValueError):
        return False
    return str(claims.get("sub", "")).startswith(("mailto:", "https:"))


def _decrypted(device: Document, body: bytes) -> Document:
    key = ec.derive_private_key(int(device["secret"], 16), ec.SECP256R1())
    clear = http_ece.decrypt(body, private_key=key, auth_secret=decoded(device["auth"]), version="aes128gcm")
    return dict(json.loads(clear))
