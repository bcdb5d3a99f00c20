"""Texts in English and Russian: gettext messages, English in the templates, Russian in the files ``ru.po``.

The language is that of the cookie, else the best of Accept-Language. ``web/ru.po`` has the texts of the storefront; a
package of pages, such as the console, has a ``ru.po`` of its own for the texts that no other file has. The files are
compiled when the process starts, so the repository has no binary file.
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
CATALOGUES = sorted(Path(__file__).parent.rglob("ru.po"))


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


def pgettext(context: str, text: str) -> str:
    """Return ``text`` as it is translated in ``context``, where the same English text has several translations."""
    return str(_translations(current_language()).pgettext(context, text))


def mark(text: str) -> str:
    """Mark a text for translation that is translated later, by ``_``."""
    return text


def ngettext(one: str, many: str, count: int) -> str:
    """Return the text for ``count``, without the number filled in."""
    return _translations(current_language()).ngettext(one, many, count)


@cache
def _translations(language: str) -> NullTranslations:
    if language == "en":
        return NullTranslations()
    first, *others = (_compile(path, language) for path in CATALOGUES)
    for each in others:
        first.merge(each)
    return first


def _compile(path: Path, language: str) -> Translations:
    with path.open("rb") as source:
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
    install(_, ngettext, newstyle=True, pgettext=pgettext)
    app.add_template_global(current_language)
    app.jinja_env.globals["LANGUAGES"] = LANGUAGES

    @app.get("/language/<code>")
    def set_language(code: str) -> Response:
        response = redirect_back()
        if code in LANGUAGES:
            response.set_cookie(_COOKIE, code, max_age=_YEAR_SECONDS, httponly=True, samesite="Lax")
        return response
