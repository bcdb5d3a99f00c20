"""What all schemas share: strict bases, flags, money, times."""

from typing import Any

import marshmallow as ma


class Schema(ma.Schema):
    """A body, a query or an answer; unknown fields are refused."""

    class Meta:
        unknown = ma.RAISE


class Flag(ma.fields.Bool):
    """true or false of JSON, and nothing that resembles them."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> bool:  # noqa: ARG002 marshmallow's signature
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class Money(Schema):
    """An amount in minor units of an ISO 4217 currency."""

    amount_minor = ma.fields.Int(strict=True, required=True, validate=ma.validate.Range(min=0, max=10**12))
    currency = ma.fields.Str(required=True, validate=ma.validate.Regexp(r"[A-Z]{3}\Z", error="An ISO 4217 code."))


class Timestamp(ma.fields.Str):
    """An RFC 3339 time with ``Z``, as the workers send it."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**{"metadata": {"format": "date-time"}, **kwargs})  # type: ignore[arg-type]
