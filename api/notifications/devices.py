"""The caller's devices, to which push messages are sent."""

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask.views import MethodView

from api.auth import me, requires
from api.pages import Page, PageQuery, page, page_of
from api.queue import ask
from api.schemas import Schema, Timestamp

from .blueprint import blp

KINDS = ["fcm", "web_push"]
_VISIBLE_ASCII = ma.validate.Regexp(r"[\x21-\x7e]+\Z", error="ASCII letters without spaces.")
_BASE64URL = r"[A-Za-z0-9_-]{%d}={0,2}\Z"


class SubscriptionKeysSchema(Schema):
    p256dh = ma.fields.Str(required=True, validate=ma.validate.Regexp(_BASE64URL % 87, error="A P-256 point."))
    auth = ma.fields.Str(required=True, validate=ma.validate.Regexp(_BASE64URL % 22, error="16 bytes as base64url."))


class SubscriptionSchema(Schema):
    """The JSON form of the PushSubscription that a browser's pushManager.subscribe() returns."""

    endpoint = ma.fields.Str(required=True, validate=[ma.validate.Length(max=2000), _VISIBLE_ASCII])
    keys = ma.fields.Nested(SubscriptionKeysSchema, required=True)
    expirationTime = ma.fields.Int(strict=True, load_only=True, allow_none=True)  # noqa: N815 as browsers spell it


class NewDeviceSchema(Schema):
    kind = ma.fields.Str(required=True, validate=ma.validate.OneOf(KINDS))
    token = ma.fields.Str(
        validate=[ma.validate.Length(max=1000), _VISIBLE_ASCII],
        metadata={"description": "Of kind fcm: the registration token."},
    )
    subscription = ma.fields.Nested(SubscriptionSchema, metadata={"description": "Of kind web_push."})

    @ma.validates_schema
    def _has_what_its_kind_needs(self, device: dict[str, Any], **_: Any) -> None:
        wanted, other = ("token", "subscription") if device["kind"] == "fcm" else ("subscription", "token")
        if wanted not in device:
            raise ma.ValidationError(f"A device of kind {device['kind']} needs it.", wanted)
        if other in device:
            raise ma.ValidationError(f"A device of kind {device['kind']} has none.", other)


class DeviceSchema(Schema):
    id = ma.fields.UUID()
    kind = ma.fields.Str(validate=ma.validate.OneOf(KINDS))
    created_at = Timestamp()


class DevicesSchema(page_of(DeviceSchema)):  # type: ignore[misc]  # made at run time
    web_push_key = ma.fields.Str(
        allow_none=True, metadata={"description": "The applicationServerKey that browsers subscribe with."}
    )


@blp.route("/me/devices")
class Devices(MethodView):
    @requires()
    @blp.arguments(PageQuery, location="query")
    @blp.response(200, DevicesSchema)
    def get(self, query: dict[str, Any]) -> Page:
        """List the caller's devices

        Oldest first.
        """
        found = ask("notifications.list_devices", user_id=me().id, **query)
        body, status, headers = page(found)
        return {**body, "web_push_key": found["web_push_key"]}, status, headers

    @requires()
    @blp.arguments(NewDeviceSchema)
    @blp.response(201, DeviceSchema)
    def post(self, device: dict[str, Any]) -> Any:
        """Register a device

        Push messages are sent to it from now on. A device registered by another user is reassigned. Idempotent.
        """
        if subscription := device.get("subscription"):
            subscription.pop("expirationTime", None)
        return ask(
            "notifications.register_device", user_id=me().id, token=device.get("token"), subscription=subscription
        )


@blp.route("/me/devices/<uuid:device_id>")
class Device(MethodView):
    @requires()
    @blp.response(204)
    def delete(self, device_id: UUID) -> None:
        """Delete a device

        Stops push messages to it.
        """
        ask("notifications.remove_device", user_id=me().id, device_id=device_id)
