"""Content negotiation for printable documents: JSON or an HTML page, by the Accept header."""

from collections.abc import Mapping
from typing import Any

from flask import Response, jsonify, render_template_string, request

# The page has inline styles only and loads nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


def printable(page: str, facts: Mapping[str, Any]) -> Response:
    """Return ``facts`` as JSON, or rendered with the Jinja2 template ``page`` if Accept prefers HTML."""
    wants_page = request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html"
    response = Response(render_template_string(page, **facts)) if wants_page else jsonify(facts)
    if wants_page:
        response.content_type = "text/html; charset=utf-8"
        response.headers["Content-Security-Policy"] = _POLICY
    response.vary.add("Accept")
    return response
