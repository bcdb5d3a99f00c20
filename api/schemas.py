"""What all schemas share: strict bases, flags, money, times."""

from typing import Any

import marshmallow as ma

from models.money import currencies
from models.text import LINE_MAX_LENGTH, LINE_PATTERN, is_line


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


class Line(ma.fields.Str):
    """A line of text with something to see in it (models/text.py)."""

    def __init__(self, *, longest: int = LINE_MAX_LENGTH, **kwargs: Any) -> None:
        fits = ma.validate.Regexp(LINE_PATTERN, error="A line of text.")
        super().__init__(validate=[ma.validate.Length(max=longest), fits, _is_line], **kwargs)


def _is_line(text: str) -> None:
    if not is_line(text):
        raise ma.ValidationError("A line of text.")


class Currency(ma.fields.Str):
    """A currency of ISO 4217 that a price can be in."""

    def __init__(self, **kwargs: Any) -> None:
        described = {"pattern": "^[A-Z]{3}$"}
        super().__init__(**{"validate": _is_currency, "metadata": described, **kwargs})


def _is_currency(code: str) -> None:
    if code not in currencies():
        raise ma.ValidationError("An ISO 4217 code of a currency in use, such as EUR.")


class Money(Schema):
    """An amount in minor units of an ISO 4217 currency."""

    amount_minor = ma.fields.Int(strict=True, required=True, validate=ma.validate.Range(min=0, max=10**12))
    currency = Currency(required=True)


class Timestamp(ma.fields.Str):
    """An RFC 3339 time with ``Z``, as the workers send it."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**{"metadata": {"format": "date-time"}, **kwargs})  # type: ignore[arg-type]
