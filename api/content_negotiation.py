"""Content negotiation for printable documents: JSON or an HTML page, by the Accept header."""

from collections.abc import Mapping
from typing import Any

from flask import Response, jsonify, render_template_string, request

# The page has inline styles only and loads nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


def json_or_html(template: str, data: Mapping[str, Any]) -> Response:
    """Return ``data`` as JSON, or rendered with the Jinja2 template ``template`` if Accept prefers HTML."""
    wants_html = request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html"
    response = Response(render_template_string(template, **data)) if wants_html else jsonify(data)
    if wants_html:
        response.content_type = "text/html; charset=utf-8"
        response.headers["Content-Security-Policy"] = _POLICY
    response.vary.add("Accept")
    return response
