"""Implement the part of Auth0's management API that the users service calls: users and their roles."""

import time
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, jsonify, request
from joserfc import jwt
from joserfc.errors import JoseError

from ops.fakes import faults
from ops.fakes.auth0.tokens import MANAGEMENT_AUDIENCE
from ops.fakes.store import Document, Documents, Store

from . import keys, users

ERRORS = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
    429: "Too Many Requests",
}
CHANGEABLE = ("name", "nickname", "picture", "blocked", "email", "email_verified", "app_metadata", "user_metadata")
LARGEST_PAGE = 100
LIMIT = 50  # requests in a burst, reported in the headers

JsonResponse = tuple[Any, int]


class ManagementError(Exception):
    """An error response of Auth0: ``{"statusCode", "error", "message", "errorCode"}``."""

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"statusCode": status, "error": ERRORS[status], "message": message, "errorCode": code}


LIMITED = ManagementError(429, "Global limit has been reached", "too_many_requests")


def add_to(app: Flask, store: Store) -> None:
    def route(method: str, rule: str, scope: str, view: Callable[..., JsonResponse]) -> None:
        def serve(**path: str) -> Response:
            with store.transaction() as db:
                limited = faults.should_trigger(db, "error_429")
            if limited:
                return _respond(LIMITED.body, LIMITED.status)
            try:
                with store.transaction() as db:
                    _require_management_token(db, scope)
                    body, status = view(db, **path)
            except ManagementError as error:
                body, status = error.body, error.status
            return _respond(body, status)

        app.add_url_rule(f"/api/v2{rule}", f"{method} {rule}", serve, methods=[method])

    route("GET", "/users", "read:users", list_users)
    route("GET", "/users/<user_id>", "read:users", get_user)
    route("PATCH", "/users/<user_id>", "update:users", patch_user)
    route("DELETE", "/users/<user_id>", "delete:users", delete_user)
    route("GET", "/users/<user_id>/roles", "read:roles", get_roles)
    route("POST", "/users/<user_id>/roles", "create:role_members", add_roles)
    route("DELETE", "/users/<user_id>/roles", "delete:role_members", remove_roles)
    route("GET", "/roles", "read:roles", list_roles)
    route("POST", "/roles", "create:roles", create_role)


def _respond(body: Any, status: int) -> Response:
    response = Response(status=204) if status == 204 else jsonify(body)
    response.status_code = status
    remaining = 0 if status == 429 else LIMIT - 1
    response.headers["x-ratelimit-limit"] = str(LIMIT)
    response.headers["x-ratelimit-remaining"] = str(remaining)
    response.headers["x-ratelimit-reset"] = str(int(time.time()) + 1)
    return response


def _require_management_token(db: Documents, scope: str) -> None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise ManagementError(401, "Missing authentication", "missing_authentication")
    if scope not in _scopes(db, token):
        raise ManagementError(403, f"Insufficient scope, expected any of: {scope}", "insufficient_scope")


def _scopes(db: Documents, token: str) -> list[str]:
    try:
        claims = jwt.decode(token, keys.key_set(db), algorithms=["RS256"]).claims
        jwt.JWTClaimsRegistry(aud={"essential": True, "value": MANAGEMENT_AUDIENCE}, exp={"essential": True}).validate(
            claims
        )
    except (JoseError, ValueError):
        raise ManagementError(401, "Invalid token", "invalid_token") from None
    return str(claims.get("scope", "")).split()


def _user(db: Documents, user_id: str) -> Document:
    user = db.get(user_id, "user")
    if user is None:
        raise ManagementError(404, "The user does not exist.", "inexistent_user")
    return user


def _public_user(user: Document) -> Document:
    return {name: value for name, value in user.items() if name != "id" and not name.startswith("_")}


def list_users(db: Documents) -> JsonResponse:
    """Return a page of ``per_page`` users; pages start at 0. Supports ``q=email:"…"`` and ``include_totals=true``."""
    query = request.args.get("q", "")
    filters = {"email": query.removeprefix("email:").strip('"').lower()} if query.startswith("email:") else {}
    found = db.find("user", **filters)
    start, size = _page()
    shown = [_public_user(user) for user in found[start : start + size]]
    if request.args.get("include_totals") != "true":
        return shown, 200
    return {"start": start, "limit": size, "length": len(shown), "total": len(found), "users": shown}, 200


def _page() -> tuple[int, int]:
    """Return the start of the requested page and its size: 50 by default, at most 100."""
    size = request.args.get("per_page", 50, int)
    if size > LARGEST_PAGE:
        message = f"Query validation error: 'Value {size} is greater than maximum {LARGEST_PAGE}' on property per_page."
        raise ManagementError(400, message, "invalid_query_string")
    return request.args.get("page", 0, int) * size, size


def get_user(db: Documents, user_id: str) -> JsonResponse:
    return _public_user(_user(db, user_id)), 200


def patch_user(db: Documents, user_id: str) -> JsonResponse:
    user, changes = _user(db, user_id), dict(request.get_json(force=True))
    for name, value in changes.items():
        if name not in CHANGEABLE:
            message = f"Payload validation error: 'Additional properties not allowed: {name}'."
            raise ManagementError(400, message, "invalid_body")
        # Metadata is merged at the first level; null removes an entry.
        merged = (
            {key: kept for key, kept in (user[name] | value).items() if kept is not None}
            if "metadata" in name
            else value
        )
        user[name] = merged
    return _public_user(users.save(db, user | {"updated_at": users.timestamp(db)})), 200


def delete_user(db: Documents, user_id: str) -> JsonResponse:
    if db.get(user_id, "user"):  # Auth0 responds with 204 for an unknown user as well
        db.delete(user_id)
    return None, 204


def get_roles(db: Documents, user_id: str) -> JsonResponse:
    start, size = _page()
    known = users.roles(db)
    return [_role(role_id, known) for role_id in _user(db, user_id)["_roles"][start : start + size]], 200


def add_roles(db: Documents, user_id: str) -> JsonResponse:
    user = _user(db, user_id)
    users.save(db, user | {"_roles": [*dict.fromkeys([*user["_roles"], *_named_roles(db)])]})
    return None, 204


def remove_roles(db: Documents, user_id: str) -> JsonResponse:
    user, gone = _user(db, user_id), _named_roles(db)
    users.save(db, user | {"_roles": [role_id for role_id in user["_roles"] if role_id not in gone]})
    return None, 204


def list_roles(db: Documents) -> JsonResponse:
    start, size = _page()
    known = users.roles(db)
    return [_role(role_id, known) for role_id in list(known)[start : start + size]], 200


def create_role(db: Documents) -> JsonResponse:
    name = str(request.get_json(force=True)["name"])
    known = users.roles(db)
    if name in {role["name"] for role in known.values()}:
        raise ManagementError(409, "The role name is already used.", "role_conflict")
    role_id = f"rol_{len(known):016d}"
    db.save("role", {"id": role_id, "name": name, "permissions": []})
    return _role(role_id, users.roles(db)), 200


def _role(role_id: str, known: dict[str, Document]) -> Document:
    name = known[role_id]["name"]
    return {"id": role_id, "name": name, "description": name.capitalize()}


def _named_roles(db: Documents) -> list[str]:
    role_ids = list(request.get_json(force=True).get("roles", []))
    known = users.roles(db)
    if unknown := [role_id for role_id in role_ids if role_id not in known]:
        raise ManagementError(404, f"The role does not exist: {unknown[0]}", "inexistent_role")
    return role_ids
