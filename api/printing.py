"""What a program reads as JSON and a person prints as a page: the Accept header tells them apart."""

from collections.abc import Mapping
from typing import Any

from flask import Response, jsonify, render_template_string, request

# Nothing from elsewhere.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


def printable(page: str, facts: Mapping[str, Any]) -> Response:
    """``facts`` as JSON, or laid out by the Jinja2 template ``page`` for who would rather have HTML."""
    wants_page = request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html"
    response = Response(render_template_string(page, **facts)) if wants_page else jsonify(facts)
    if wants_page:
        response.content_type = "text/html; charset=utf-8"
        response.headers["Content-Security-Policy"] = _POLICY
    response.vary.add("Accept")
    return response
