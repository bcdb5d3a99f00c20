"""Serve discovery, the JWKS and ``POST /oauth/token``; the control endpoints are ``/__rotate`` and ``/__mint``."""

import hmac
import time

from flask import Flask, Response, jsonify, request

import settings
from ops.fakes import faults
from ops.fakes.store import Document, Documents, Store

from . import codes, device, keys, users
from .codes import OAuthError
from .demo_users import PASSWORD

TOKEN_SECONDS = 24 * 3600
PASSWORD_GRANTS = ("password", "http://auth0.com/oauth/grant-type/password-realm")
MANAGEMENT_AUDIENCE = f"{settings.AUTH0_ISSUER}api/v2/"
MANAGEMENT_SCOPES = (
    "read:users update:users delete:users read:roles create:roles create:role_members delete:role_members"
)
DEFAULT_CLIENT = "coursebus-web"


def add_to(app: Flask, store: Store) -> None:
    @app.get("/.well-known/openid-configuration")
    def discovery() -> Document:
        return _discovery()

    @app.get("/.well-known/jwks.json")
    def jwks() -> tuple[Document, int]:
        with store.transaction() as db:
            db.increment("jwks_fetches")
            if faults.should_trigger(db, "error_500"):
                return {"error": "server_error"}, 500
            delay_seconds, published = faults.delay_seconds(db), keys.jwks(db)
        time.sleep(delay_seconds)
        return published, 200

    @app.post("/oauth/token")
    def token() -> tuple[Document, int]:
        return _answer_token_request(store, request.get_json(silent=True) or request.form.to_dict())

    @app.get("/__state")
    def state() -> Document:
        with store.transaction() as db:
            counts = {name: db.value(name, 0) for name in ("jwks_fetches", "tokens")}
            return counts | {"kids": [key["kid"] for key in keys.jwks(db)["keys"]]}

    @app.post("/__rotate")
    def rotate() -> Document:
        with store.transaction() as db:
            return {"kid": keys.rotate(db), "jwks_fetches": db.value("jwks_fetches", 0)}

    @app.post("/__mint")
    def mint() -> tuple[Response, int]:
        """Sign a token from ``{"claims", "header", "unpublished_key"}``, see keys.sign."""
        wanted = request.get_json(force=True)
        unpublished_key = bool(wanted.get("unpublished_key", False))
        try:
            with store.transaction() as db:
                signed = keys.sign(db, wanted.get("claims", {}), wanted.get("header"), unpublished_key=unpublished_key)
        except keys.UnknownAlgorithmError as error:
            return jsonify({"error": f"cannot sign with {error}"}), 400
        return jsonify({"token": signed, "access_token": signed, "token_type": "Bearer"}), 200


def _discovery() -> Document:
    issuer = settings.AUTH0_ISSUER
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}authorize",
        "token_endpoint": f"{issuer}oauth/token",
        "userinfo_endpoint": f"{issuer}userinfo",
        "jwks_uri": f"{issuer}.well-known/jwks.json",
        "device_authorization_endpoint": f"{issuer}oauth/device/code",
        "end_session_endpoint": f"{issuer}oidc/logout",
        "code_challenge_methods_supported": ["S256"],
        "grant_types_supported": ["authorization_code", "client_credentials", device.GRANT, *PASSWORD_GRANTS],
        "response_types_supported": ["code", "token", "id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
    }


def _answer_token_request(store: Store, message: Document) -> tuple[Document, int]:
    try:
        with store.transaction() as db:
            db.increment("tokens")
            try:
                return _grant_token(db, message), 200
            except device.NotConfirmedError as error:  # commits the time of the question
                return error.body, error.status
    except OAuthError as error:
        return error.body, error.status


def _grant_token(db: Documents, message: Document) -> Document:
    grant_type = message.get("grant_type")
    if not grant_type:
        raise OAuthError(400, "invalid_request", "Missing required parameter: grant_type")
    if grant_type in PASSWORD_GRANTS:
        return _grant_to_user(db, message)
    if grant_type == "client_credentials":
        return _grant_to_client(db, message)
    if grant_type == "authorization_code":
        return _grant_for_code(db, message)
    if grant_type == device.GRANT:
        return _tokens_of_request(db, device.redeem(db, message))
    raise OAuthError(403, "unsupported_grant_type", f"Unsupported grant type: {grant_type}")


def _grant_to_user(db: Documents, message: Document) -> Document:
    email = str(message.get("username", ""))
    if "@" not in email or message.get("password") != PASSWORD:
        raise OAuthError(403, "invalid_grant", "Wrong email or password.")
    user = users.get_or_sign_up(db, email)
    if user["blocked"]:
        raise OAuthError(403, "unauthorized", "user is blocked")
    users.save(db, user | {"logins_count": user["logins_count"] + 1})
    asked = {"client_id": DEFAULT_CLIENT, **message}
    return _user_tokens(db, user, asked, {"gty": "password"})


def _grant_for_code(db: Documents, message: Document) -> Document:
    """Exchange a code. The client is a regular web application, which has a secret besides PKCE."""
    client_id, secret = _client_credentials(message)
    _require_client(client_id, secret, settings.WEB_CLIENT_ID, settings.WEB_CLIENT_SECRET)
    return _tokens_of_request(db, codes.redeem(db, {**message, "client_id": client_id}))


def _tokens_of_request(db: Documents, asked: Document) -> Document:
    """Return the tokens for the stored request ``asked`` of a user."""
    user = db.get(asked["user_id"], "user")
    if user is None or user["blocked"]:
        raise OAuthError(403, "invalid_grant", "user is blocked")
    return _user_tokens(db, user, asked, {})


def _user_tokens(db: Documents, user: Document, asked: Document, more: Document) -> Document:
    """Return the tokens of ``user`` for the audience, scope, nonce and client of the request ``asked``."""
    audience, scope = asked.get("audience") or settings.AUTH0_AUDIENCE, str(asked.get("scope", ""))
    openid = "openid" in scope.split()
    claims = {
        f"{settings.CLAIMS_NAMESPACE}email": user["email"],
        f"{settings.CLAIMS_NAMESPACE}email_verified": user["email_verified"],
        f"{settings.CLAIMS_NAMESPACE}name": user["name"],
        f"{settings.CLAIMS_NAMESPACE}roles": users.role_names(db, user),
        # With the scope openid the token is valid for /userinfo too, so aud is a list.
        "aud": [audience, f"{settings.AUTH0_ISSUER}userinfo"] if openid else audience,
        "azp": asked["client_id"],
        "permissions": users.permissions(db, user),
        **more,
    }
    answer = _token_response(db, user["user_id"], scope, claims)
    if openid:
        identity = {"aud": asked["client_id"], "email": user["email"], "email_verified": True, "name": user["name"]}
        nonce = {"nonce": asked["nonce"]} if asked.get("nonce") else {}
        answer["id_token"] = keys.sign(db, _claims(user["user_id"], identity | nonce))
    return answer


def _grant_to_client(db: Documents, message: Document) -> Document:
    client_id, secret = _client_credentials(message)
    _require_client(client_id, secret, settings.AUTH0_CLIENT_ID, settings.AUTH0_CLIENT_SECRET)
    audience = message.get("audience") or settings.AUTH0_AUDIENCE
    granted = MANAGEMENT_SCOPES.split() if audience == MANAGEMENT_AUDIENCE else list(users.PERMISSIONS)
    if wanted := str(message.get("scope", "")).split():
        granted = [scope for scope in granted if scope in wanted]
    scope = " ".join(granted)
    claims = {"aud": audience, "azp": client_id, "gty": "client-credentials", "permissions": granted}
    return _token_response(db, f"{client_id}@clients", scope, claims)


def _client_credentials(message: Document) -> tuple[str, str]:
    """Return the id and secret of the calling client, from the Authorization header or from the message."""
    basic = request.authorization
    client_id = (basic and basic.username) or str(message.get("client_id", ""))
    return client_id, (basic and basic.password) or str(message.get("client_secret", ""))


def _require_client(client_id: str, secret: str, known_id: str, known_secret: str) -> None:
    if client_id != known_id or not hmac.compare_digest(secret, known_secret):
        raise OAuthError(401, "access_denied", "Unauthorized")


def _token_response(db: Documents, subject: str, scope: str, claims: Document) -> Document:
    signed = keys.sign(db, _claims(subject, claims | {"scope": scope}))
    return {"access_token": signed, "scope": scope, "expires_in": TOKEN_SECONDS, "token_type": "Bearer"}


def _claims(subject: str, more: Document) -> Document:
    now = int(time.time())
    return {"iss": settings.AUTH0_ISSUER, "sub": subject, "iat": now, "exp": now + TOKEN_SECONDS} | more
