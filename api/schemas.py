"""The base schema and the shared fields: flags, text, money and times."""

from collections.abc import Collection
from datetime import UTC, date, datetime
from typing import Any

import marshmallow as ma

from core.money import currencies
from core.text import LINE_MAX_LENGTH, LINE_PATTERN, is_line, is_visible


class Schema(ma.Schema):
    """Base of all schemas of bodies, queries and responses. Refuses unknown fields."""

    class Meta:
        unknown = ma.RAISE

    body_required = False  # whether a request without a body is a 400; set by Blueprint.arguments


# Metadata of a field that a response may lack. The OpenAPI document declares all others as required.
OPTIONAL = {"x-optional": True}


class Flag(ma.fields.Bool):
    """A JSON boolean. Refuses values such as 1 or "true", which marshmallow's Boolean accepts."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> bool:  # noqa: ARG002 marshmallow's signature
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class Line(ma.fields.Str):
    """A line of text that has a visible character (core/text.py)."""

    def __init__(self, *, max_length: int = LINE_MAX_LENGTH, **kwargs: Any) -> None:
        super().__init__(validate=[ma.validate.Length(max=max_length), _IsLine(LINE_PATTERN)], **kwargs)


class _IsLine(ma.validate.Regexp):
    """Validates with ``is_line``; the pattern is for the OpenAPI document."""

    def __call__(self, value: Any) -> Any:
        if not is_line(value):
            raise ma.ValidationError("Must be a single line of text.")
        return value


class Currency(ma.fields.Str):
    """The ISO 4217 code of a currency that prices may use."""

    def __init__(self, **kwargs: Any) -> None:
        described = {"pattern": "^[A-Z]{3}$"}
        super().__init__(**{"validate": _is_currency, "metadata": described, **kwargs})


def _is_currency(code: str) -> None:
    if code not in currencies():
        raise ma.ValidationError("An ISO 4217 code of a currency in use, such as EUR.")


class Money(Schema):
    """An amount of money in minor units of its currency."""

    amount_minor = ma.fields.Int(strict=True, required=True, validate=ma.validate.Range(min=0, max=10**12))
    currency = Currency(required=True)


# Range of times that all stores, drivers and time zones can represent. A time outside could be stored, but not read.
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


class UtcDateTime(ma.fields.AwareDateTime):
    """An RFC 3339 time with offset in a request, from EARLIEST to before LATEST; deserialized as UTC."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"format": "iso", "validate": _is_storable, **kwargs})

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        moment: datetime = super()._deserialize(value, attr, data, **kwargs)
        try:
            return moment.astimezone(UTC)
        except OverflowError:
            raise ma.ValidationError(_OUT_OF_RANGE) from None


_OUT_OF_RANGE = "A time between 1970 and 2200. Omit the field, or send null, for no limit."


def _is_storable(moment: datetime) -> None:
    if not EARLIEST <= moment < LATEST:
        raise ma.ValidationError(_OUT_OF_RANGE)


# Control characters except tab and line breaks, and the line separators of Unicode.
_CONTROL_CHARACTERS = "\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\u2028\\u2029"


_WITHOUT_CONTROL_CHARACTERS = ma.validate.Regexp(
    rf"[^{_CONTROL_CHARACTERS}]*\Z", error="Text without control characters."
)


class Prose(ma.fields.Str):
    """Text of any number of lines, without control characters."""

    def __init__(self, *, max_length: int, not_blank: bool = False, **kwargs: Any) -> None:
        validators = [ma.validate.Length(max=max_length), _WITHOUT_CONTROL_CHARACTERS]
        super().__init__(validate=[*validators, _is_not_blank] if not_blank else validators, **kwargs)


def _is_not_blank(text: str) -> None:
    if not any(is_visible(line) for line in text.split()):
        raise ma.ValidationError("Must not be blank.")


class Url(ma.fields.Url):
    """A URL without control characters, which marshmallow's own field accepts."""

    def __init__(self, *, max_length: int, **kwargs: Any) -> None:
        described = {"format": "uri", **kwargs.pop("metadata", {})}  # apispec calls it "url", which is no format
        validators = [ma.validate.Length(max=max_length), _WITHOUT_CONTROL_CHARACTERS]
        super().__init__(validate=validators, metadata=described, **kwargs)


def unique_items(items: Collection[Any]) -> None:
    """Raise ValidationError if ``items`` has duplicates."""
    if len(set(items)) < len(items):
        raise ma.ValidationError("Items must be unique.")


class Day(ma.fields.Date):
    """A day in a request, from EARLIEST to before LATEST."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"validate": _is_storable_day, **kwargs})


def _is_storable_day(day: date) -> None:
    if not EARLIEST.date() <= day < LATEST.date():
        raise ma.ValidationError("A day between 1970 and 2200.")


class Timestamp(ma.fields.Str):
    """An RFC 3339 time in UTC in a response; workers send it as text."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**{"metadata": {"format": "date-time"}, **kwargs})  # type: ignore[arg-type]
