"""Filters of the templates: money, dates, durations, and names of categories."""

from datetime import UTC, datetime
from typing import Any

from babel.numbers import format_decimal
from flask import Flask
from markupsafe import Markup, escape

from core.localization import format_date, format_money, format_time

from .covers import draw_cover
from .language import _, current_language, mark
from .markdown import markdown

LEVELS = {"beginner": mark("Beginner"), "intermediate": mark("Intermediate"), "advanced": mark("Advanced")}
LANGUAGE_NAMES = {"en": mark("English"), "ru": mark("Russian"), "de": mark("German")}
CATEGORIES = {
    "programming": mark("Programming"),
    "data": mark("Data"),
    "design": mark("Design"),
    "business": mark("Business"),
    "languages": mark("Languages"),
    "photography": mark("Photography"),
    "science": mark("Science"),
    "music": mark("Music"),
    "marketing": mark("Marketing"),
}


def init_app(app: Flask) -> None:
    """Add the filters."""
    for each in (money, number, date, moment, duration, paragraphs, markdown, category_name, level_name, language_name):
        app.add_template_filter(each)
    app.add_template_global(draw_cover)


def money(value: Any, currency: str | None = None) -> str:
    """Return ``Money``, or an amount in minor units with its currency, as text."""
    amount, code = (value, currency) if currency else (value.amount_minor, value.currency)
    return format_money(amount, str(code), current_language())


def number(value: float) -> str:
    """Return a number with at most one decimal place: "4.5" in English, "4,5" in Russian."""
    return format_decimal(value, "#,##0.#", current_language())


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


def category_name(name: str) -> str:
    """Return the name of a category; a category of the shop's own is shown as it is."""
    return _(CATEGORIES[name]) if name in CATEGORIES else name.capitalize()


def level_name(name: str) -> str:
    return _(LEVELS.get(name, name))


def language_name(code: str) -> str:
    """Return the name of the language that a course is taught in."""
    return _(LANGUAGE_NAMES.get(code, code))
