"""Render the texts of notifications in the user's language. Feed, plain-text mail and HTML mail share them.

Each language is a file in templates/. For each notification it has ``title`` and ``lead``, which the feed shows, and
``more``, the further paragraphs of the mail.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template, pass_context, select_autoescape
from jinja2.runtime import Context

import settings
from core.localization import format_money, format_time
from core.text import is_line, strip_directional_formatting
from models.notifications import Contact

TEMPLATES = Path(__file__).parent / "templates"
LANGUAGES = tuple(sorted(path.stem for path in TEMPLATES.glob("*.toml")))
FALLBACK_LANGUAGE = "en"

NAME_MAX_LENGTH = 60  # of a name in a mail; longer names may be abused for messages
_LIKE_A_LINK = re.compile(r"[/:\\@]|\.\w")


@dataclass(frozen=True)
class RenderedMessage:
    """Texts of one notification: plain text without line breaks."""

    language: str
    greeting: str
    title: str
    lead: str
    more: list[str]
    closing: str
    unsubscribe: str


def render(template: str, contact: Contact, data: Mapping[str, Any]) -> RenderedMessage:
    """Render the notification ``template`` for ``contact`` with ``data``.

    ``rest`` of ``data`` are further paragraphs, which are shown as they are.
    """
    language = language_of(contact.locale)
    texts = _texts(language)
    render_line = _line_renderer(contact, data)
    parts = texts[template]
    return RenderedMessage(
        language=language,
        greeting=render_line(texts["greeting"]),
        title=render_line(parts["title"]),
        lead=render_line(parts["lead"]),
        more=[
            *(render_line(each) for each in parts["more"]),
            *(_plain(each) for each in data.get("rest", [])),
            *([render_line(texts["links"][parts["link"]])] if _has_link(parts, data) else []),
        ],
        closing=render_line(texts["closing"]),
        unsubscribe=render_line(texts["unsubscribe"]),
    )


def _has_link(parts: Mapping[str, Any], data: Mapping[str, Any]) -> bool:
    """Return whether the link of a mail has an address. Data that an older version stored may lack the id."""
    needed = {"course": "course_id", "order": "order_id"}.get(parts.get("link", ""))
    return "link" in parts and bool(settings.WEB_URL) and (needed is None or needed in data)


def render_note(template: str, contact: Contact, data: Mapping[str, Any]) -> tuple[str, str]:
    """Render the title and the lead of ``template``, which are all that the feed shows."""
    render_line, parts = _line_renderer(contact, data), _texts(language_of(contact.locale))[template]
    return render_line(parts["title"]), render_line(parts["lead"])


def _line_renderer(contact: Contact, data: Mapping[str, Any]) -> Callable[[str], str]:
    context = {
        **data,
        "name": name_of(contact),
        "timezone": contact.timezone,
        "public_url": settings.PUBLIC_URL,
        "web_url": settings.WEB_URL,
        "language": language_of(contact.locale),
    }

    def render_line(text: str) -> str:
        return _plain(_compiled(text).render(context))

    return render_line


def _plain(text: str) -> str:
    """Remove line breaks and bidirectional controls: data from users must not forge lines or reverse later text."""
    return strip_directional_formatting(" ".join(text.split()))


def name_of(contact: Contact) -> str:
    """Return the name by which mails address ``contact``; empty if it could carry a message or link (spam).

    It is also empty for unverified addresses: mails to them contain no text written by the user.
    """
    if not contact.email_verified:
        return ""
    name = strip_directional_formatting(" ".join((contact.name or "").split()))
    harmless = len(name) <= NAME_MAX_LENGTH and not _LIKE_A_LINK.search(name) and is_line(name)
    return name if harmless else ""


def language_of(locale: str) -> str:
    """Return the language for ``locale``: ru for ru-RU, FALLBACK_LANGUAGE if there are no texts in that language."""
    language = locale.partition("-")[0]
    return language if language in LANGUAGES else FALLBACK_LANGUAGE


def render_layout(layout: str, message: RenderedMessage, *, unsubscribe_url: str | None) -> str:
    """Render ``message`` into the file ``layout`` of templates/; values in .html files are escaped."""
    return _environment().get_template(layout).render(message=message, unsubscribe_url=unsubscribe_url)


@cache
def _texts(language: str) -> dict[str, Any]:
    return tomllib.loads((TEMPLATES / f"{language}.toml").read_text())


@cache
def _compiled(text: str) -> Template:
    return _environment().from_string(text)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        # Texts stay plain text; they are escaped when an HTML layout is rendered.
        autoescape=select_autoescape(["html"], default_for_string=False),
        undefined=StrictUndefined,  # a missing value is a bug: raise instead of sending a mail with a gap
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(money=_money, local_time=_format_time)
    return environment


@pass_context
def _money(context: Context, amount_minor: int, currency: str) -> str:
    return format_money(amount_minor, currency, context["language"])


@pass_context
def _format_time(context: Context, at: str) -> str:
    local_time = format_time(datetime.fromisoformat(at), ZoneInfo(context["timezone"]), context["language"])
    return f"{local_time} ({context['timezone']})"
