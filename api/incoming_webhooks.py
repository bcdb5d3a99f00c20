"""Bodies of incoming webhooks, and the response to them."""

import marshmallow as ma
from flask import request
from werkzeug.exceptions import RequestEntityTooLarge

from .schemas import Schema

WEBHOOK_BYTES_MAX = 256 * 1024  # several times the largest event that a provider documents


class WebhookReceivedSchema(Schema):
    received = ma.fields.Bool()


def webhook_body() -> bytes:
    """Return the raw body, which signatures cover. Raises RequestEntityTooLarge above WEBHOOK_BYTES_MAX."""
    if (request.content_length or 0) > WEBHOOK_BYTES_MAX:
        raise RequestEntityTooLarge
    body: bytes = request.get_data()
    if len(body) > WEBHOOK_BYTES_MAX:
        raise RequestEntityTooLarge
    return body
