"""Define the conventions of Stripe's API: Bearer key, bracketed form fields, Idempotency-Key, Request-Id."""

import hmac

from flask import Response, request

import settings
from ops.fakes.calls import ApiError, ApiResponse, Call, ProviderApi
from ops.fakes.store import Document

from . import errors, forms, objects


class StripeApi(ProviderApi):
    def authenticate(self) -> None:
        # The SDK sends a Bearer token; curl -u sends the key as the user name.
        basic = request.authorization.username if request.authorization else None
        key = basic or request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(key.encode(), settings.STRIPE_SECRET_KEY.encode()):
            raise errors.unauthorized()

    def idempotency_key(self) -> str | None:
        key = request.headers.get("Idempotency-Key") if request.method == "POST" else None
        if key and len(key) > 255:
            raise errors.invalid("Idempotency keys must be at most 255 characters long.")
        return key

    def read_message(self) -> Document:
        pairs = request.args if request.method == "GET" else request.form
        return forms.decode(list(pairs.items(multi=True)))

    def error(self, reason: str) -> ApiError:
        key = request.headers.get("Idempotency-Key", "")
        if reason in ("key_reused", "key_in_use"):
            return errors.key_reused(key) if reason == "key_reused" else errors.key_in_use(key)
        return errors.rate_limited() if reason == "rate_limited" else errors.server_error()

    def present(self, call: Call, document: Document) -> Document:
        expand = call.message.get("expand") or []
        return dict(objects.public_view(objects.expanded(call, document, expand)))

    def respond(self, answer: ApiResponse, request_id: str, key: str | None) -> Response:
        response = Response(answer.body, answer.status, content_type="application/json")
        response.headers["Request-Id"] = request_id
        response.headers["Stripe-Version"] = objects.API_VERSION
        if key:
            response.headers["Idempotency-Key"] = key
        if answer.replayed:
            response.headers["Idempotent-Replayed"] = "true"
        return response

    def new_request_id(self) -> str:
        return objects.new_id("req")
