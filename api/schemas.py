"""What all schemas share: strict bases, money, times, and the OpenAPI document made of them."""

import marshmallow as ma
from flask import Response
from flask_smorest import Api
from werkzeug.exceptions import HTTPException

from . import problems


class Rest(Api):
    """flask-smorest with RFC 9457 problems in place of its own errors."""

    def handle_http_exception(self, error: HTTPException) -> Response:
        return problems.http_error(error)


class Schema(ma.Schema):
    """A body, a query or an answer; unknown fields are refused."""

    class Meta:
        unknown = ma.RAISE


class Money(Schema):
    """An amount in minor units of an ISO 4217 currency."""

    amount_minor = ma.fields.Int(strict=True, required=True, validate=ma.validate.Range(min=0, max=10**12))
    currency = ma.fields.Str(required=True, validate=ma.validate.Regexp(r"^[A-Z]{3}$", error="An ISO 4217 code."))


class Timestamp(ma.fields.Str):
    """An RFC 3339 time with ``Z``, as the workers send it."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**{"metadata": {"format": "date-time"}, **kwargs})  # type: ignore[arg-type]
