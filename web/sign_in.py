"""Sign in at the identity provider by the authorization code flow with PKCE, and sign out here and there."""

import secrets
import time
from typing import Any, cast

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.flask_client import OAuth
from flask import Flask, redirect, request, session, url_for
from joserfc.errors import JoseError
from redis.exceptions import RedisError
from werkzeug import Response

import settings
from core.addresses import client_bucket
from core.log import get_logger
from core.redis import cache_redis

from .api import client
from .errors import error_page
from .language import _
from .navigation import own_path
from .sessions import ServerSession

log = get_logger(__name__)

_TIMEOUT_SECONDS = 10
_STARTS_PER_MINUTE = 120  # from one address, which may be that of an office
_FAILURES = (AuthlibBaseError, JoseError, requests.RequestException, ValueError)


def init_app(app: Flask) -> None:
    """Add the pages of the sign-in."""
    oauth = OAuth(app)
    auth0 = oauth.register(
        "auth0",
        client_id=settings.WEB_CLIENT_ID,
        client_secret=settings.WEB_CLIENT_SECRET,
        server_metadata_url=settings.OIDC_DISCOVERY_URL,
        client_kwargs={
            "scope": "openid profile email",
            "code_challenge_method": "S256",
            "default_timeout": _TIMEOUT_SECONDS,
        },
    )

    @app.get("/sign-in", endpoint="sign_in")
    def sign_in() -> Any:
        """Start the sign-in. ``next`` is the page that follows, ``screen_hint=signup`` asks for a new account."""
        if _starts_too_often():
            return error_page(429)
        session["next"] = own_path(request.args.get("next"))
        hint = {"screen_hint": "signup"} if request.args.get("screen_hint") == "signup" else {}
        try:
            return auth0.authorize_redirect(_callback(), audience=settings.OIDC_AUDIENCE, **hint)
        except _FAILURES as error:
            log.warning("the sign-in cannot start", reason=str(error))
            return error_page(503, _("Signing in is not possible at the moment. Please try again in a minute."))

    @app.get("/sign-in/callback")
    def signed_in() -> Any:
        following = own_path(session.get("next"))
        try:
            tokens = auth0.authorize_access_token()
        except _FAILURES as error:
            log.warning("a sign-in failed", reason=str(error))
            return error_page(400, _("The sign-in was not completed. Please try again."))
        _begin_session(tokens)
        return redirect(following, 303)

    @app.post("/sign-out")
    def sign_out() -> Response:
        """End the session here, then at the identity provider (RP-initiated logout)."""
        session.clear()
        try:
            end = auth0.create_logout_url(f"{settings.WEB_URL}/", client_id=settings.WEB_CLIENT_ID)
        except (RuntimeError, *_FAILURES) as error:  # RuntimeError: the provider has no end of session
            log.warning("not signed out at the identity provider", reason=str(error))
            return redirect(url_for("catalogue.home"), 303)
        return redirect(end["url"], 303)


def _starts_too_often() -> bool:
    """Count the sign-ins that an address starts in this minute: each makes a session."""
    if not settings.RATE_LIMITS:
        return False
    key = f"sign-ins:{client_bucket()}:{int(time.time()) // 60}"
    try:
        with cache_redis().pipeline() as pipeline:
            pipeline.incr(key)
            pipeline.expire(key, 60)
            started = pipeline.execute()[0]
    except RedisError:
        return False  # no session can be made either
    return int(started) > _STARTS_PER_MINUTE


def _callback() -> str:
    # Never from the Host header, which the visitor writes.
    return f"{settings.WEB_URL}/sign-in/callback"


def _begin_session(tokens: dict[str, Any]) -> None:
    """Begin a session with nothing of the one before the sign-in."""
    current = cast("ServerSession", session)
    current.clear()
    current.rotate()
    current["token"] = tokens["access_token"]
    current["form_token"] = secrets.token_urlsafe(24)
    current.expire_in(min(int(tokens.get("expires_in", 3600)), settings.WEB_SESSION_HOURS * 3600))
    profile = client().get_profile()  # creates the profile of a new person
    current["name"] = profile.name or profile.email or ""
    current["permissions"] = profile.permissions  # they decide which links are shown; the API checks them itself
