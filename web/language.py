"""Texts in English and Russian: gettext messages, English in the templates, Russian in ``ru.po``.

The language is that of the cookie, else the best of Accept-Language. The catalogue is compiled when the process starts,
so the repository has no binary file.
"""

import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import cast

from babel.messages import mofile, pofile
from babel.support import NullTranslations, Translations
from flask import Flask, g, request
from werkzeug import Response

from .navigation import redirect_back

LANGUAGES = {"en": "English", "ru": "Русский"}
_COOKIE = "language"
_YEAR_SECONDS = 365 * 24 * 3600
CATALOGUE = Path(__file__).parent / "ru.po"


def current_language() -> str:
    """Return the language of the current request."""
    language: str | None = g.get("language")
    if language is None:
        chosen = request.cookies.get(_COOKIE)
        language = chosen if chosen in LANGUAGES else request.accept_languages.best_match(LANGUAGES, "en")
        g.language = language
    return language


def _(text: str) -> str:
    """Return ``text`` in the language of the current request."""
    return _translations(current_language()).gettext(text)


def mark(text: str) -> str:
    """Mark a text for translation that is translated later, by ``_``."""
    return text


def _plural(one: str, many: str, count: int) -> str:
    return _translations(current_language()).ngettext(one, many, count)


@cache
def _translations(language: str) -> NullTranslations:
    if language == "en":
        return NullTranslations()
    with CATALOGUE.open("rb") as source:
        catalogue = pofile.read_po(source, locale=language)
    compiled = io.BytesIO()
    mofile.write_mo(compiled, catalogue)
    compiled.seek(0)
    return Translations(compiled)


def init_app(app: Flask) -> None:
    """Translate templates, and add the page that switches the language."""
    app.jinja_env.add_extension("jinja2.ext.i18n")
    # newstyle: values are inserted after the translation, and are escaped.
    install = cast("Callable[..., None]", app.jinja_env.install_gettext_callables)  # type: ignore[attr-defined]
    install(_, _plural, newstyle=True)
    app.add_template_global(current_language)
    app.jinja_env.globals["LANGUAGES"] = LANGUAGES

    @app.get("/language/<code>")
    def set_language(code: str) -> Response:
        response = redirect_back()
        if code in LANGUAGES:
            response.set_cookie(_COOKIE, code, max_age=_YEAR_SECONDS, httponly=True, samesite="Lax")
        return response
