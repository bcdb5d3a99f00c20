"""Headers of every page, the form token against cross-site requests, and pages for people who are signed in."""

import hmac
import secrets
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, cast
from urllib.parse import urlsplit

from flask import Flask, Response, abort, redirect, request, session, url_for
from flask.typing import ResponseReturnValue

import settings

from .api import is_signed_in
from .navigation import current_path

P = ParamSpec("P")

FORM_TOKEN = "form_token"  # noqa: S105 the name of the field
_SAFE = {"GET", "HEAD", "OPTIONS"}


def content_security_policy() -> str:
    """Return the policy: no inline script or style, nothing of other hosts but videos and pictures.

    Browsers apply form-action to redirects after a form as well: signing out leads to the identity provider.
    """
    media = "'self' https:" if settings.PRODUCTION else "'self' https: http:"  # videos and covers are on any host
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            f"img-src {media}",
            f"media-src {media}",
            " ".join(
                ("connect-src 'self'", *map(_origin, filter(None, (settings.STREAM_URL, settings.STORAGE_PUBLIC_URL))))
            ),
            f"form-action 'self' {_origin(settings.OIDC_ISSUER)}",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        )
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def init_app(app: Flask) -> None:
    """Check the form token of every POST, and add the headers to every response."""
    headers = {
        "Content-Security-Policy": content_security_policy(),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    }
    if settings.WEB_URL.startswith("https://"):
        headers["Strict-Transport-Security"] = "max-age=31536000"

    @app.before_request
    def require_form_token() -> None:
        if request.method not in _SAFE and not _has_form_token():
            abort(400, "form_token")

    @app.after_request
    def add_headers(response: Response) -> Response:
        for name, value in headers.items():
            response.headers.setdefault(name, value)
        # Pages of a person must not stay in a cache of the browser after the sign-out.
        response.headers.setdefault("Cache-Control", "no-store" if session else "no-cache")
        return response

    app.add_template_global(form_token)
    app.add_template_global(is_signed_in)
    app.add_template_global(has_permission)
    app.add_template_global(current_path)


def form_token() -> str:
    """Return the token that every form of this session contains."""
    if FORM_TOKEN not in session:
        session[FORM_TOKEN] = secrets.token_urlsafe(24)
    return str(session[FORM_TOKEN])


def _has_form_token() -> bool:
    expected = session.get(FORM_TOKEN)
    given = request.form.get(FORM_TOKEN) or request.headers.get("X-Form-Token", "")
    return bool(expected) and hmac.compare_digest(str(expected), given)


def sign_in_required(view: Callable[P, ResponseReturnValue]) -> Callable[P, ResponseReturnValue]:
    """Send visitors to the sign-in, and back to this page afterwards."""

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
        if is_signed_in():
            return view(*args, **kwargs)
        return redirect(url_for("sign_in", next=current_path() if request.method == "GET" else "/"), 303)

    return guarded


def has_permission(*names: str) -> bool:
    """Return whether the signed-in person has one of these permissions. The API checks them again."""
    return bool(set(names) & set(cast("list[str]", session.get("permissions", []))))
