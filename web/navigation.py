"""Redirects within the pages."""

from urllib.parse import urlsplit

from flask import redirect, request
from werkzeug import Response


def own_path(address: str | None, default: str = "/") -> str:
    """Return ``address`` if it is a path of these pages, else ``default``: no link may lead to another host.

    A browser reads a backslash as a slash, and ignores tabs and line breaks.
    """
    if not address or not address.startswith("/") or any(each in "\\\t\r\n" for each in address):
        return default
    parts = urlsplit(address)
    return default if address.startswith("//") or parts.scheme or parts.netloc else address


def redirect_back() -> Response:
    """Redirect to the page that the query parameter ``next`` names."""
    return redirect(own_path(request.args.get("next")), 303)


def current_path() -> str:
    """Return path and query of the current page."""
    return request.full_path.rstrip("?")
