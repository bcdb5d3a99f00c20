"""Content negotiation by the Accept header: JSON, an HTML page, a PDF, a CSV table."""

from collections.abc import Collection
from typing import Any

from flask import Response, render_template, request
from werkzeug.exceptions import NotAcceptable

JSON, HTML, PDF, CSV = "application/json", "text/html", "application/pdf", "text/csv"
# The page has inline styles only and loads nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


def media_types(*others: str) -> dict[str, Any]:
    """Return the documentation of a route that also has these media types, for ``Blueprint.doc``."""
    schemas = {HTML: {"type": "string"}, PDF: {"type": "string", "format": "binary"}, CSV: {"type": "string"}}
    content = {name: {"schema": schemas[name]} for name in others}
    return {"responses": {200: {"content": content}, 406: "Problem406"}}


def negotiate(*offered: str) -> str:
    """Return the media type that Accept prefers, by default the first one. Raises NotAcceptable."""
    if not request.accept_mimetypes:
        return offered[0]
    if (best := request.accept_mimetypes.best_match(offered)) is None:
        raise NotAcceptable(f"Available: {', '.join(offered)}.")
    return best


def preferred_language(languages: Collection[str]) -> str:
    """Return the language that Accept-Language prefers, otherwise English."""
    return request.accept_languages.best_match(sorted(languages), default="en")


def html_page(template: str, **variables: Any) -> Response:
    """Return a printable page."""
    response = Response(render_template(template, **variables), content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = _POLICY
    return response


def varied(response: Response, languages: Collection[str]) -> Response:
    """Return ``response`` with the header that names what it depends on, for caches."""
    response.vary.update(["Accept", "Accept-Language"] if len(languages) > 1 else ["Accept"])
    return response
