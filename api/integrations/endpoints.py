"""Webhook endpoints: URLs to which events are sent, signed as in Standard Webhooks."""

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response
from flask.views import MethodView

from api.auth import require_auth
from api.conditional_requests import CREATED_HEADERS, created, if_match, json_response, require_existing
from api.pagination import Page, PageQuery, page_response, page_schema
from api.rpc import call
from api.schemas import Flag, Prose, Schema, Timestamp, Url, UtcDateTime, unique_items
from core.cache import CachedView
from models.commands import (
    ChangeEndpoint,
    CreateEndpoint,
    DeleteEndpoint,
    ListDeliveries,
    ListEndpoints,
    ReplayDelivery,
    ReplayEvents,
    RotateSecret,
    SendTestWebhook,
    ShowEndpoint,
)

from .blueprint import blp

_TYPES_MAX = 100
_EventTypes = ma.fields.List(
    ma.fields.Str(validate=ma.validate.Regexp(r"[A-Z][A-Z_]{0,99}\Z", error="Must be an event type.")),
    validate=[ma.validate.Length(max=_TYPES_MAX), unique_items],
    metadata={"example": ["COURSE_PURCHASED"], "description": "Empty: all events."},
)


def _url(*, required: bool = False) -> Url:
    return Url(
        required=required,
        schemes={"http", "https"},
        require_tld=False,
        max_length=2000,
        metadata={"example": "https://example.com/coursebus", "description": "https, at a public address."},
    )


class WebhookEndpointFieldsSchema(Schema):
    url = _url(required=True)
    description = Prose(max_length=500)
    event_types = _EventTypes


class WebhookEndpointChangesSchema(Schema):
    url = _url()
    description = Prose(max_length=500)
    event_types = _EventTypes
    enabled = Flag(metadata={"description": "true also resets the failure count."})


class WebhookEndpointSchema(Schema):
    id = ma.fields.UUID()
    url = ma.fields.Str()
    description = ma.fields.Str()
    event_types = ma.fields.List(ma.fields.Str())
    enabled = ma.fields.Bool()
    disabled_reason = ma.fields.Str(
        allow_none=True,
        validate=ma.validate.OneOf(["manual", "failing", "gone"]),
        metadata={"description": "failing: no success for three days. gone: the receiver responded with 410."},
    )
    disabled_at = Timestamp(allow_none=True)
    failures = ma.fields.Int(metadata={"description": "Consecutive failures since the last success."})
    failing_since = Timestamp(allow_none=True)
    previous_secret_until = Timestamp(allow_none=True)
    created_at = Timestamp()
    version = ma.fields.Int()


class WebhookEndpointWithSecretSchema(WebhookEndpointSchema):
    secret = ma.fields.Str(metadata={"description": "whsec_…: returned only once."})


class WebhookDeliverySchema(Schema):
    id = ma.fields.UUID()
    event_id = ma.fields.UUID(metadata={"description": "Sent as webhook-id."})
    event_type = ma.fields.Str()
    status = ma.fields.Str(validate=ma.validate.OneOf(["pending", "delivered", "failed"]))
    attempts = ma.fields.Int()
    next_attempt_at = Timestamp(allow_none=True)
    status_code = ma.fields.Int(allow_none=True, metadata={"description": "HTTP status of the last attempt."})
    error = ma.fields.Str(allow_none=True, metadata={"example": "timeout"})
    duration_ms = ma.fields.Int(allow_none=True)
    created_at = Timestamp()
    attempted_at = Timestamp(allow_none=True)
    ended_at = Timestamp(allow_none=True)


class DeliveryQuery(PageQuery):
    status = ma.fields.Str(load_default=None, validate=ma.validate.OneOf(["pending", "delivered", "failed"]))


class ReplayRequestSchema(Schema):
    since = UtcDateTime(required=True, metadata={"example": "2026-01-31T00:00:00Z"})
    until = UtcDateTime(metadata={"description": "Default: now."})
    all_events = Flag(
        load_default=False,
        metadata={"description": "Also send events that the endpoint has accepted already."},
    )


class ReplayScheduledSchema(Schema):
    scheduled = ma.fields.Int(metadata={"description": "Number of deliveries that were scheduled."})


class WebhookTestResultSchema(Schema):
    webhook_id = ma.fields.UUID()
    delivered = ma.fields.Bool()
    status_code = ma.fields.Int(allow_none=True)
    error = ma.fields.Str(allow_none=True)
    duration_ms = ma.fields.Int()


@blp.route("/webhook-endpoints")
class Endpoints(MethodView):
    @require_auth("ops:admin", machines=True)
    @blp.arguments(PageQuery, location="query")
    @blp.doc(operationId="listWebhookEndpoints")
    @blp.response(200, page_schema(WebhookEndpointSchema))
    def get(self, query: dict[str, Any]) -> Page:
        """List webhook endpoints

        Newest first.
        """
        return page_response(call(ListEndpoints(**query)))

    @require_auth("ops:admin", machines=True, returns_secret=True)
    @blp.arguments(WebhookEndpointFieldsSchema)
    @blp.doc(operationId="createWebhookEndpoint")
    @blp.response(201, WebhookEndpointWithSecretSchema, headers=CREATED_HEADERS)
    def post(self, fields: dict[str, Any]) -> Response:
        """Create a webhook endpoint

        Events are sent to its URL. The signing secret is only returned here.
        """
        view = call(
            CreateEndpoint(
                url=fields["url"], description=fields.get("description", ""), event_types=fields.get("event_types", [])
            )
        )
        return created(view, f"/v1/webhook-endpoints/{view['id']}")


@blp.route("/webhook-endpoints/<uuid:endpoint_id>")
class Endpoint(MethodView):
    @require_auth("ops:admin", machines=True)
    @blp.doc(operationId="getWebhookEndpoint")
    @blp.response(200, WebhookEndpointSchema)
    def get(self, endpoint_id: UUID) -> Response:
        """Retrieve a webhook endpoint

        Without its secret, which only its creation and a rotation return.
        """
        return json_response(CachedView.from_view(call(ShowEndpoint(endpoint_id=endpoint_id))))

    @require_auth("ops:admin", machines=True)
    @require_existing(ShowEndpoint)
    @if_match
    @blp.arguments(WebhookEndpointChangesSchema)
    @blp.doc(operationId="updateWebhookEndpoint")
    @blp.response(200, WebhookEndpointSchema)
    def patch(self, changes: dict[str, Any], endpoint_id: UUID, *, expected_version: int) -> Response:
        """Update a webhook endpoint

        Also enables or disables it.
        """
        changed = call(ChangeEndpoint(endpoint_id=endpoint_id, expected_version=expected_version, changes=changes))
        return json_response(CachedView.from_view(changed))

    @require_auth("ops:admin", machines=True)
    @blp.doc(operationId="deleteWebhookEndpoint")
    @blp.response(204)
    def delete(self, endpoint_id: UUID) -> None:
        """Delete a webhook endpoint

        Also deletes its deliveries.
        """
        call(DeleteEndpoint(endpoint_id=endpoint_id))


@blp.route("/webhook-endpoints/<uuid:endpoint_id>/rotate-secret")
class SecretRotation(MethodView):
    @require_auth("ops:admin", machines=True, returns_secret=True)
    @blp.doc(operationId="rotateWebhookSecret")
    @blp.response(200, WebhookEndpointWithSecretSchema)
    def post(self, endpoint_id: UUID) -> Any:
        """Rotate the signing secret

        The new secret is only returned here. Webhooks are also signed with the old one for a day.
        """
        return call(RotateSecret(endpoint_id=endpoint_id))


@blp.route("/webhook-endpoints/<uuid:endpoint_id>/test")
class EndpointTest(MethodView):
    @require_auth("ops:admin", machines=True)
    @blp.doc(operationId="testWebhookEndpoint")
    @blp.response(200, WebhookTestResultSchema)
    def post(self, endpoint_id: UUID) -> Any:
        """Send a test webhook

        Sends a `WEBHOOK_TEST` event at once and returns the outcome. Also works for disabled endpoints.
        """
        return call(SendTestWebhook(endpoint_id=endpoint_id))


@blp.route("/webhook-endpoints/<uuid:endpoint_id>/replay")
class EndpointReplay(MethodView):
    @require_auth("ops:admin", machines=True)
    @blp.arguments(ReplayRequestSchema)
    @blp.doc(operationId="replayEvents")
    @blp.response(200, ReplayScheduledSchema)
    def post(self, replay: dict[str, Any], endpoint_id: UUID) -> Any:
        """Replay events to a webhook endpoint

        Sends the events of a period again, as far back as the event feed reaches.
        """
        return call(
            ReplayEvents(
                endpoint_id=endpoint_id,
                since=replay["since"],
                until=replay.get("until"),
                all_events=replay["all_events"],
            )
        )


@blp.route("/webhook-endpoints/<uuid:endpoint_id>/deliveries")
class Deliveries(MethodView):
    @require_auth("ops:admin", machines=True)
    @blp.arguments(DeliveryQuery, location="query")
    @blp.doc(operationId="listWebhookDeliveries")
    @blp.response(200, page_schema(WebhookDeliverySchema))
    def get(self, query: dict[str, Any], endpoint_id: UUID) -> Page:
        """List webhook deliveries

        Newest first.
        """
        return page_response(call(ListDeliveries(endpoint_id=endpoint_id, **query)))


@blp.route("/webhook-endpoints/<uuid:endpoint_id>/deliveries/<uuid:delivery_id>/replay")
class DeliveryReplay(MethodView):
    @require_auth("ops:admin", machines=True)
    @blp.doc(operationId="resendWebhookDelivery")
    @blp.response(200, WebhookDeliverySchema)
    def post(self, endpoint_id: UUID, delivery_id: UUID) -> Any:
        """Resend a webhook delivery

        Keeps its `webhook-id`.
        """
        return call(ReplayDelivery(endpoint_id=endpoint_id, delivery_id=delivery_id))
