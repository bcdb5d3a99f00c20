"""Content negotiation for printable documents: JSON or an HTML page, by the Accept header."""

from collections.abc import Callable, Collection
from typing import Any

from flask import Response, jsonify, render_template, request

# The page has inline styles only and loads nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


# For ``Blueprint.doc``: the second media type of a route that uses json_or_html.
HTML_TOO = {"responses": {200: {"content": {"text/html": {"schema": {"type": "string"}}}}}}


def json_or_html(
    template: str,
    data: dict[str, Any],
    *,
    languages: Collection[str],
    context: Callable[[dict[str, Any], str], dict[str, Any]],
) -> Response:
    """Return ``data`` as JSON, or as a page rendered from ``template`` if Accept prefers HTML.

    The page is in the one of ``languages`` that Accept-Language prefers, otherwise in English. ``context`` returns
    further variables of the template.
    """
    if request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html":
        language = request.accept_languages.best_match(sorted(languages), default="en")
        page = render_template(template, **data, language=language, **context(data, language))
        response = Response(page, content_type="text/html; charset=utf-8")
        response.headers["Content-Security-Policy"] = _POLICY
    else:
        response = jsonify(data)
    response.vary.update(["Accept", "Accept-Language"] if len(languages) > 1 else ["Accept"])
    return response
