"""Manage the devices that tests create, read and delete.

POST   /__devices {"kind": "fcm" or "web_push"}   {"id", and its registration: "token" or "subscription"}
GET    /__devices/{id}/messages                    the received messages, oldest first
DELETE /__devices/{id}                             removes the device: its push service reports it as unregistered
"""

import base64
import secrets

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask import Flask, Response, jsonify, request

from ops.fakes import faults
from ops.fakes.store import Document, Documents, Store


def add_to(app: Flask, store: Store, *, origin: str) -> None:
    def make() -> tuple[Response, int]:
        kind = request.get_json(force=True)["kind"]
        device: Document = {"id": secrets.token_hex(8), "kind": kind, "messages": []}
        if kind == "fcm":
            device["token"] = f"{device['id']}:{secrets.token_urlsafe(90)}"
        else:
            device |= _new_subscription(f"{origin}/push/{device['id']}")
        with store.transaction() as db:
            db.save("device", device)
        return jsonify({name: device[name] for name in ("id", "token", "subscription") if name in device}), 201

    def messages(device_id: str) -> Response:
        with store.transaction() as db:
            return jsonify((db.get(device_id) or {"messages": []})["messages"])

    def delete_device(device_id: str) -> tuple[str, int]:
        with store.transaction() as db:
            db.delete(device_id)
        return "", 204

    app.add_url_rule("/__devices", view_func=make, methods=["POST"])
    app.add_url_rule("/__devices/<device_id>/messages", view_func=messages)
    app.add_url_rule("/__devices/<device_id>", view_func=delete_device, methods=["DELETE"])


def deliver(db: Documents, device: Document, message: Document) -> None:
    """Store a message that the device received."""
    db.save("device", {**device, "messages": [*device["messages"], message]})


def triggered_error_status(db: Documents) -> int | None:
    """Return the status of an injected fault, or None."""
    return next((int(name[-3:]) for name in ("error_500", "error_429") if faults.should_trigger(db, name)), None)


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _new_subscription(endpoint: str) -> Document:
    """Return what a browser stores of a subscription, and the part that it sends to the server."""
    key, auth = ec.generate_private_key(ec.SECP256R1()), secrets.token_bytes(16)
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    given = {"endpoint": endpoint, "expirationTime": None, "keys": {"p256dh": encoded(point), "auth": encoded(auth)}}
    return {"subscription": given, "secret": hex(key.private_numbers().private_value), "auth": encoded(auth)}
