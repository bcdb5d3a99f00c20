"""The caller's devices, to which push messages are sent."""

from typing import Any
from uuid import UUID

import marshmallow as ma
import msgspec
from flask.views import MethodView

from api.auth import current_caller, require_auth
from api.pagination import Page, PageQuery, page_response, page_schema
from api.rpc import call
from api.schemas import Schema, Timestamp
from models.commands import ListDevices, RegisterDevice, RemoveDevice
from models.commands.notifications import WebPushSubscription

from .blueprint import blp

KINDS = ["fcm", "web_push"]
_VISIBLE_ASCII = ma.validate.Regexp(r"[\x21-\x7e]+\Z", error="Visible ASCII characters without spaces.")
_BASE64URL = r"[A-Za-z0-9_-]{%d}={0,2}\Z"


class WebPushKeysSchema(Schema):
    p256dh = ma.fields.Str(required=True, validate=ma.validate.Regexp(_BASE64URL % 87, error="A P-256 point."))
    auth = ma.fields.Str(required=True, validate=ma.validate.Regexp(_BASE64URL % 22, error="16 bytes as base64url."))


class WebPushSubscriptionSchema(Schema):
    """The JSON form of the PushSubscription that a browser's pushManager.subscribe() returns."""

    endpoint = ma.fields.Str(required=True, validate=[ma.validate.Length(max=2000), _VISIBLE_ASCII])
    keys = ma.fields.Nested(WebPushKeysSchema, required=True)
    expirationTime = ma.fields.Int(strict=True, load_only=True, allow_none=True)  # noqa: N815 as browsers spell it


class NewDeviceSchema(Schema):
    kind = ma.fields.Str(required=True, validate=ma.validate.OneOf(KINDS))
    token = ma.fields.Str(
        validate=[ma.validate.Length(max=1000), _VISIBLE_ASCII],
        metadata={"description": "For kind fcm: the registration token."},
    )
    subscription = ma.fields.Nested(WebPushSubscriptionSchema, metadata={"description": "For kind web_push."})

    @ma.validates_schema
    def _validate_kind(self, device: dict[str, Any], **_: Any) -> None:
        wanted, other = ("token", "subscription") if device["kind"] == "fcm" else ("subscription", "token")
        if wanted not in device:
            raise ma.ValidationError(f"A device of kind {device['kind']} requires this field.", wanted)
        if other in device:
            raise ma.ValidationError(f"A device of kind {device['kind']} does not have this field.", other)


class DeviceSchema(Schema):
    id = ma.fields.UUID()
    kind = ma.fields.Str(validate=ma.validate.OneOf(KINDS))
    created_at = Timestamp()


class DevicesSchema(page_schema(DeviceSchema)):  # type: ignore[misc]  # made at run time
    web_push_key = ma.fields.Str(
        allow_none=True, metadata={"description": "The applicationServerKey that browsers subscribe with."}
    )


@blp.route("/me/devices")
class Devices(MethodView):
    @require_auth()
    @blp.arguments(PageQuery, location="query")
    @blp.doc(operationId="listOwnDevices")
    @blp.response(200, DevicesSchema)
    def get(self, query: dict[str, Any]) -> Page:
        """List the caller's devices

        Oldest first.
        """
        found = call(ListDevices(user_id=current_caller().id, **query))
        body, status, headers = page_response(found)
        return {**body, "web_push_key": found["web_push_key"]}, status, headers

    @require_auth()
    @blp.arguments(NewDeviceSchema)
    @blp.doc(operationId="registerDevice")
    @blp.response(201, DeviceSchema)
    def post(self, device: dict[str, Any]) -> Any:
        """Register a device

        Push messages are sent to it from now on. A device registered by another user is reassigned. Idempotent.
        """
        return call(
            RegisterDevice(
                user_id=current_caller().id,
                token=device.get("token"),
                subscription=msgspec.convert(device.get("subscription"), WebPushSubscription | None),
            )
        )


@blp.route("/me/devices/<uuid:device_id>")
class Device(MethodView):
    @require_auth()
    @blp.doc(operationId="deleteDevice")
    @blp.response(204)
    def delete(self, device_id: UUID) -> None:
        """Delete a device

        Stops push messages to it.
        """
        call(RemoveDevice(user_id=current_caller().id, device_id=device_id))
