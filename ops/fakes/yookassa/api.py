"""Define the conventions of YooKassa's API: Basic auth, JSON, Idempotence-Key on every POST."""

import hmac
import uuid

from flask import Response, request

import settings
from ops.fakes.calls import ApiError, ApiResponse, Call, ProviderApi
from ops.fakes.store import Document

from . import errors, objects


class YooKassaApi(ProviderApi):
    def authenticate(self) -> None:
        given = request.authorization
        pair = f"{given.username}:{given.password}" if given and given.type == "basic" else ""
        expected = f"{settings.YOOKASSA_SHOP_ID}:{settings.YOOKASSA_SECRET_KEY}"
        if not hmac.compare_digest(pair.encode(), expected.encode()):
            raise errors.unauthorized()

    def idempotency_key(self) -> str | None:
        if request.method != "POST":
            return None
        key = request.headers.get("Idempotence-Key", "")
        if not 1 <= len(key) <= 64:
            raise errors.invalid("Idempotence key of 1 to 64 characters is required.", "Idempotence-Key")
        return key

    def read_message(self) -> Document:
        if request.method == "GET":
            return request.args.to_dict()
        if not request.data:
            return {}
        message = request.get_json(silent=True, force=True)
        # The SDK sends the JSON value null for a capture without a body.
        if message is not None and not isinstance(message, dict):
            raise errors.invalid("The body must be a JSON object.")
        return message or {}

    def error(self, reason: str) -> ApiError:
        return {
            "key_reused": errors.key_reused,
            "key_in_use": errors.key_in_use,
            "rate_limited": errors.rate_limited,
            "server_error": errors.server_error,
        }[reason]()

    def present(self, call: Call, document: Document) -> Document:
        return objects.public_view(document)

    def respond(self, answer: ApiResponse, request_id: str, key: str | None) -> Response:
        response = Response(answer.body, answer.status, content_type="application/json;charset=UTF-8")
        response.headers["Request-Id"] = request_id
        return response

    def new_request_id(self) -> str:
        return str(uuid.uuid4())
