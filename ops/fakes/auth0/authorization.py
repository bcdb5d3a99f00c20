"""Implement the authorization code flow with PKCE for browsers, with the sign-in page and the logout."""

import secrets
from functools import partial
from urllib.parse import urlencode

from flask import Flask, Response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

import settings
from ops.fakes.store import Store

from . import codes, users
from .demo_users import DEMO_ROLES, PASSWORD

COOKIE = "auth0_fake"
CALLBACKS = (f"{settings.WEB_URL}/sign-in/callback",)  # the allowed callback URLs of the client
LOGOUT_URLS = (f"{settings.WEB_URL}/",)
ROLES_SHOWN = {"learner": "buys and learns", "instructor": "writes courses", "admin": "may do everything"}


def add_to(app: Flask, store: Store) -> None:
    app.add_url_rule("/authorize", view_func=partial(authorize, store), endpoint="authorize", methods=["GET"])
    app.add_url_rule("/authorize", view_func=partial(sign_in, store), endpoint="sign_in", methods=["POST"])
    app.add_url_rule("/oidc/logout", view_func=partial(logout, store), endpoint="logout", methods=["GET"])


def authorize(store: Store) -> AnyResponse:
    """Show the sign-in page, or return a code at once to a browser that is signed in."""
    if refused := _refusal():
        return refused
    with store.transaction() as db:
        session = db.get(request.cookies.get(COOKIE, ""), "session")
        if session and request.args.get("prompt") != "login":
            return _redirect(code=codes.issue(db, request.args, session["user_id"]))
    if request.args.get("prompt") == "none":
        return _redirect(error="login_required", error_description="Login required")
    return sign_in_page()


def sign_in(store: Store) -> AnyResponse:
    """Sign in the user of the form, or sign up a new one, and return a code."""
    if refused := _refusal():
        return refused
    email = request.form.get("email", "").strip()
    if "@" not in email or request.form.get("password") != PASSWORD:
        return sign_in_page("Wrong email or password. Every account has the password demo.")
    session_id = secrets.token_urlsafe(24)
    with store.transaction() as db:
        user = users.get_or_sign_up(db, email)
        if user["blocked"]:
            return _redirect(error="unauthorized", error_description="user is blocked")
        users.save(db, user | {"logins_count": user["logins_count"] + 1})
        db.save("session", {"id": session_id, "user_id": user["user_id"]})
        response = _redirect(code=codes.issue(db, request.args, user["user_id"]))
    response.set_cookie(COOKIE, session_id, httponly=True, samesite="Lax")
    return response


def logout(store: Store) -> AnyResponse:
    """End the session at the tenant (https://auth0.com/docs/authenticate/login/logout/log-users-out-of-auth0)."""
    target = request.args.get("post_logout_redirect_uri", "")
    if request.args.get("client_id") != settings.WEB_CLIENT_ID or target not in LOGOUT_URLS:
        return _error_page("The post_logout_redirect_uri is not in the list of allowed logout URLs.")
    with store.transaction() as db:
        if session := db.get(request.cookies.get(COOKIE, ""), "session"):
            db.delete(session["id"])
    state = {"state": request.args["state"]} if "state" in request.args else {}
    response = redirect(f"{target}?{urlencode(state)}" if state else target)
    response.delete_cookie(COOKIE)
    return response


def _refusal() -> AnyResponse | None:
    """Return the error of an invalid request. Only a registered callback gets a redirect."""
    if request.args.get("client_id") != settings.WEB_CLIENT_ID:
        return _error_page("Unknown client.")
    if request.args.get("redirect_uri") not in CALLBACKS:
        return _error_page("Callback URL mismatch: the redirect_uri is not in the list of allowed callback URLs.")
    if request.args.get("response_type") != "code":
        return _redirect(error="unsupported_response_type", error_description="Only response_type=code is supported")
    if request.args.get("code_challenge_method") != "S256" or not request.args.get("code_challenge"):
        return _redirect(error="invalid_request", error_description="PKCE with the method S256 is required")
    return None


def _redirect(**answer: str) -> AnyResponse:
    state = {"state": request.args["state"]} if "state" in request.args else {}
    return redirect(f"{request.args['redirect_uri']}?{urlencode(answer | state)}")


def sign_in_page(problem: str | None = None) -> Response:
    """Return the page with the demo users; its form posts to the address of the page."""
    people = [
        (email, users.ROLES[role_ids[0]]["name"], ROLES_SHOWN[str(users.ROLES[role_ids[0]]["name"])])
        for email, role_ids in DEMO_ROLES.items()
    ]
    sign_up = request.args.get("screen_hint") == "signup"
    page = render_template("sign_in.html", people=people, problem=problem, password=PASSWORD, sign_up=sign_up)
    return Response(page, status=400 if problem else 200, headers={"Cache-Control": "no-store"})


def _error_page(text: str) -> Response:
    return Response(f"<!doctype html><title>Error</title><p>{text}", status=400)
