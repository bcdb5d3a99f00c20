"""Filters of the templates: money, dates, durations, and colours of generated covers."""

import hashlib
from datetime import UTC, datetime
from typing import Any

from flask import Flask
from markupsafe import Markup, escape

from core.localization import format_date, format_money, format_time

from .language import _, current_language

_HUES = (168, 205, 232, 262, 318, 12, 32, 84, 142)


def init_app(app: Flask) -> None:
    """Add the filters."""
    for each in (money, date, moment, duration, paragraphs, cover):
        app.add_template_filter(each)


def money(value: Any, currency: str | None = None) -> str:
    """Return ``Money``, or an amount in minor units with its currency, as text. Nothing is "Free"."""
    amount, code = (value, currency) if currency else (value.amount_minor, value.currency)
    return format_money(amount, str(code), current_language())


def date(text: str) -> str:
    """Return the day of a timestamp of the API."""
    return format_date(datetime.fromisoformat(text), current_language())


def moment(text: str) -> str:
    """Return the day and time of a timestamp of the API, in UTC."""
    return f"{format_time(datetime.fromisoformat(text), UTC, current_language())} UTC"


def duration(seconds: int | None) -> str:
    """Return a duration: "1 h 20 min"."""
    hours, minutes = divmod(max(round((seconds or 0) / 60), 1), 60)
    parts = []
    if hours:
        parts.append(_("%(hours)d h") % {"hours": hours})
    if minutes:
        parts.append(_("%(minutes)d min") % {"minutes": minutes})
    return " ".join(parts)


def paragraphs(text: str) -> Markup:
    """Return a text with its paragraphs, and with `code` in backquotes."""
    found = []
    for block in text.split("\n\n"):
        parts = block.split("`")
        marked = "".join(
            f"<code>{escape(part)}</code>" if number % 2 else str(escape(part)) for number, part in enumerate(parts)
        )
        found.append(f"<p>{marked}</p>")
    return Markup("".join(found))  # noqa: S704 every part is escaped


def cover(seed: str) -> dict[str, Any]:
    """Return hues and numbers for the generated cover of a course: the same for the same id."""
    digest = hashlib.sha256(seed.encode()).digest()
    hue = _HUES[digest[0] % len(_HUES)]
    return {
        "hue": hue,
        "second": (hue + 25 + digest[1] % 30) % 360,
        "shape": digest[2] % 4,
        "numbers": [each / 255 for each in digest[3:12]],
    }
