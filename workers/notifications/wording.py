"""The words of a notification, in the user's language. Each is said once, for feed, mail text and mail HTML alike.

A language is a file of templates/: for each notification ``title`` and ``lead``, which are all that the feed shows, and
``more``, further paragraphs of the mail.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template, pass_context, select_autoescape
from jinja2.runtime import Context

import settings
from models.money import format_amount
from models.notifications import Contact
from models.text import is_line, undirected

TEMPLATES = Path(__file__).parent / "templates"
LANGUAGES = tuple(sorted(path.stem for path in TEMPLATES.glob("*.toml")))
FALLBACK_LANGUAGE = "en"

NAME_MAX_LENGTH = 60  # of a name in a mail: longer ones are text
_LIKE_A_LINK = re.compile(r"[/:\\@]|\.\w")


@dataclass(frozen=True)
class Words:
    """A notification as plain text, a line each."""

    language: str
    greeting: str
    title: str
    lead: str
    more: list[str]
    closing: str
    unsubscribe: str


def words(template: str, contact: Contact, data: Mapping[str, Any]) -> Words:
    """The notification ``template`` for ``contact``, telling of ``data``."""
    language = language_of(contact.locale)
    texts = _texts(language)
    context = {
        **data,
        "name": name_of(contact),
        "timezone": contact.timezone,
        "public_url": settings.PUBLIC_URL,
        "decimal_mark": texts["decimal_mark"],
    }

    def said(text: str) -> str:
        # Text from outside starts no line of its own, and does not turn the direction of what follows it.
        return undirected(" ".join(_compiled(text).render(context).split()))

    parts = texts[template]
    return Words(
        language=language,
        greeting=said(texts["greeting"]),
        title=said(parts["title"]),
        lead=said(parts["lead"]),
        more=[said(paragraph) for paragraph in parts["more"]],
        closing=said(texts["closing"]),
        unsubscribe=said(texts["unsubscribe"]),
    )


def name_of(contact: Contact) -> str:
    """Return the name that mails call ``contact`` by; empty where it might carry a message or a link of a stranger.

    To an address that is not verified nothing is sent that its user has written.
    """
    if not contact.email_verified:
        return ""
    name = undirected(" ".join((contact.name or "").split()))
    harmless = len(name) <= NAME_MAX_LENGTH and not _LIKE_A_LINK.search(name) and is_line(name)
    return name if harmless else ""


def language_of(locale: str) -> str:
    """The language that we speak best to someone of ``locale``: ru for ru-RU, en for whom we do not know to address."""
    language = locale.partition("-")[0]
    return language if language in LANGUAGES else FALLBACK_LANGUAGE


def laid_out(layout: str, words: Words, *, unsubscribe_url: str | None) -> str:
    """``words`` in the file ``layout`` of templates/; in an .html file they are escaped."""
    return _environment().get_template(layout).render(words=words, unsubscribe_url=unsubscribe_url)


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
        # Texts are plain until they are laid out; what is laid out as HTML is escaped.
        autoescape=select_autoescape(["html"], default_for_string=False),
        undefined=StrictUndefined,  # a hole in a mail is a bug
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(money=_money, moment=_moment)
    return environment


@pass_context
def _money(context: Context, amount_minor: int, currency: str) -> str:
    amount = format_amount(amount_minor, currency).replace(".", context["decimal_mark"])
    return f"{amount} {currency}"


@pass_context
def _moment(context: Context, at: str) -> str:
    local = datetime.fromisoformat(at).astimezone(ZoneInfo(context["timezone"]))
    return f"{local:%Y-%m-%d %H:%M} ({context['timezone']})"
