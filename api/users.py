"""User routes: own profile, user administration, data export and erasure, and the Auth0 webhook."""

import functools
import zoneinfo
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

import marshmallow as ma
import msgspec
from flask import Response, request
from flask.views import MethodView

import settings
from core.cache import CachedView, profile_key
from core.webhook_signatures import verify_auth0
from models.accounts import ROLES
from models.commands import (
    ChangeProfile,
    ConfirmEmail,
    EraseOwnAccount,
    EraseUser,
    ListUsers,
    ReceiveAuth0Webhook,
    RequestExport,
    SetRoles,
    ShowExport,
    ShowExportPart,
    ShowProfile,
)
from models.commands.users import ProfileChanges
from models.errors import DomainError

from .auth import current_caller, raw_webhook, require_auth
from .blueprints import Blueprint
from .conditional_requests import if_match, json_response
from .fanout import Call, gather_all
from .incoming_webhooks import WebhookReceivedSchema, webhook_body
from .operations import OperationSchema
from .pagination import Page, PageQuery, page_response, page_schema
from .read_cache import call_and_cache, get_cached_profile, get_or_fetch
from .rpc import call, call_async, call_for_webhook, call_without_idempotency_key
from .schemas import OPTIONAL, Line, Prose, Schema, Timestamp, Url, unique_items
from .view_attributes import set_existence_check

blp = Blueprint(
    "users", __name__, url_prefix="/v1", description="Profiles, user administration, data export and account erasure."
)

View = TypeVar("View", bound=Callable[..., Any])


@functools.cache  # reading the time zone database is slow
def _time_zones() -> frozenset[str]:
    # Exclude names without a fixed meaning (localtime, Factory) and the copies of the database in posix/ and right/.
    known = zoneinfo.available_timezones() - {"localtime", "Factory"}
    return frozenset(name for name in known if not name.startswith(("posix/", "right/")))


def _is_time_zone(name: str) -> None:
    if name not in _time_zones():
        raise ma.ValidationError("Not a time zone of the IANA database.")


class ProfileSchema(Schema):
    id = ma.fields.UUID()
    email = ma.fields.Str(allow_none=True)
    email_verified = ma.fields.Bool(
        metadata={"description": "E-mails are sent to verified addresses only, except for the welcome e-mail."}
    )
    name = ma.fields.Str(allow_none=True)
    locale = ma.fields.Str()
    timezone = ma.fields.Str()
    avatar_url = ma.fields.Str(allow_none=True)
    bio = ma.fields.Str(allow_none=True, metadata={"description": "Markdown. Public for instructors.", **OPTIONAL})
    roles = ma.fields.List(ma.fields.Str())
    created_at = Timestamp()
    version = ma.fields.Int()


class OwnProfileSchema(ProfileSchema):
    permissions = ma.fields.List(
        ma.fields.Str(), metadata={"description": "What the token may do, such as `courses:write`."}
    )


class ProfileChangesSchema(Schema):
    name = Line()
    locale = ma.fields.Str(
        validate=ma.validate.Regexp(
            r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?\Z", error="A language tag such as en or pt-BR."
        )
    )
    timezone = ma.fields.Str(
        validate=_is_time_zone, metadata={"example": "Europe/Berlin", "pattern": "^[A-Za-z0-9_+/-]+$"}
    )
    avatar_url = Url(schemes={"https"}, allow_none=True, max_length=2048)
    bio = Prose(max_length=5000, allow_none=True, metadata={"description": "Markdown. Public for instructors."})


class RolesSchema(Schema):
    roles = ma.fields.List(
        ma.fields.Str(validate=ma.validate.OneOf(ROLES)),
        required=True,
        validate=[ma.validate.Length(max=len(ROLES)), unique_items],
    )


class UserRolesSchema(Schema):
    roles = ma.fields.List(ma.fields.Str(validate=ma.validate.OneOf(ROLES)))


class UserQuery(PageQuery):
    q = ma.fields.Str(
        load_default="",
        validate=ma.validate.Length(max=200),
        metadata={"description": "Parts of the name or e-mail address; all must match."},
    )
    role = ma.fields.Str(load_default=None, validate=ma.validate.OneOf(ROLES))
    email = ma.fields.Str(
        load_default=None,
        validate=ma.validate.Length(min=1, max=320),
        metadata={"description": "The whole e-mail address, in any case.", "example": "ann@example.com"},
    )
    email_prefix = ma.fields.Str(
        load_default=None,
        validate=ma.validate.Length(min=1, max=320),
        metadata={"description": "The beginning of the e-mail address, in any case.", "example": "ann@"},
    )
    total = ma.fields.Bool(load_default=False, metadata={"description": "Also count all matching users."})


class UserPageSchema(page_schema(ProfileSchema)):  # type: ignore[misc]  # made at run time
    total = ma.fields.Int(allow_none=True)


class ExportSchema(Schema):
    id = ma.fields.UUID()
    requested_at = Timestamp()
    finished_at = Timestamp()
    services = ma.fields.Dict(metadata={"description": "The caller's data, by service."})


def get_profile(user_id: UUID, *, email: str | None = None, name: str | None = None) -> dict[str, Any]:
    """Return the profile of a user, from the cache or the users service. Raises NotFound."""
    view = get_or_fetch(profile_key(user_id), ShowProfile(user_id=user_id, email=email, name=name))
    profile: dict[str, Any] = msgspec.json.decode(view.body)
    return profile


def _with_confirmed_email(profile: CachedView) -> CachedView:
    """Return the caller's profile, after marking the e-mail address as verified if the token says so.

    If that fails, returns the profile unchanged.
    """
    caller = current_caller()
    if not (caller.claims.email_verified and caller.email and b'"email_verified":false' in profile.body):
        return profile
    try:
        return CachedView.from_view(call_without_idempotency_key(ConfirmEmail(user_id=caller.id, email=caller.email)))
    except DomainError:  # the next request retries
        return profile


def _own_profile_response(profile: CachedView) -> Response:
    """Return the caller's profile with the roles and permissions of the token, which say what it may do."""
    claims = current_caller().claims
    view = msgspec.json.decode(profile.body)
    view |= {"roles": sorted(claims.roles) or view["roles"], "permissions": sorted(claims.permissions)}
    response = json_response(CachedView(profile.version, msgspec.json.encode(view)))
    response.headers["Vary"] = "Authorization"
    return response


@blp.route("/me")
class OwnProfile(MethodView):
    @require_auth()
    @blp.doc(operationId="getProfile")
    @blp.response(200, OwnProfileSchema)
    def get(self) -> Response:
        """Retrieve the caller's profile

        Until the profile is created, it is built from the claims of the token. `roles` and `permissions` are those of
        the token.
        """
        caller = current_caller()
        if profile := get_cached_profile(caller.sub):
            return _own_profile_response(_with_confirmed_email(profile))
        return _own_profile_response(
            get_or_fetch(profile_key(caller.id), ShowProfile(user_id=caller.id, **caller.identity))
        )

    @require_auth()
    @if_match
    @blp.arguments(ProfileChangesSchema)
    @blp.doc(operationId="updateProfile")
    @blp.response(200, OwnProfileSchema)
    def patch(self, changes: ProfileChanges, *, expected_version: int) -> Response:
        """Update the caller's profile

        Only the given fields. The e-mail address belongs to the identity provider.
        """
        profile = call_and_cache(
            profile_key(current_caller().id),
            ChangeProfile(user_id=current_caller().id, expected_version=expected_version, changes=changes),
        )
        return _own_profile_response(profile)

    @require_auth()
    @if_match
    @blp.doc(operationId="eraseAccount")
    @blp.response(202, OperationSchema, headers={"Location": "Location"})
    def delete(self, *, expected_version: int) -> None:
        """Erase the caller's account

        Erases personal data in every service. The result of the operation is the receipt, which lists data retained
        by law and the reasons. The token stays valid for reading it.
        """
        call_async(EraseOwnAccount(sub=current_caller().sub, expected_version=expected_version))


@blp.route("/me/export")
class Export(MethodView):
    @require_auth()
    @blp.doc(operationId="requestDataExport")
    @blp.response(202, OperationSchema, headers={"Location": "Location"})
    def post(self) -> None:
        """Request a data export

        Every service exports the caller's personal data. The result of the operation says where to find it.
        """
        call_async(RequestExport(user_id=current_caller().id, owner=current_caller().sub))

    @require_auth()
    @blp.doc(operationId="getDataExport")
    @blp.response(200, ExportSchema)
    def get(self) -> Any:
        """Retrieve the latest data export

        What each service stores about the caller. 404 until the first one is finished.
        """
        export = call(ShowExport(user_id=current_caller().id))
        part_query = {"user_id": current_caller().id, "export_id": export["id"]}
        calls = {service: Call(ShowExportPart(service=service, **part_query)) for service in export["services"]}
        return {**export, "services": gather_all(calls, timeout_seconds=settings.READ_TIMEOUT_SECONDS)}


def require_existing_user(view: View) -> View:
    """Make a malformed request answer 404 first if the user does not exist."""
    set_existence_check(view, _find_user)
    return view


def _find_user(*, user_id: UUID, **_: object) -> None:
    call_without_idempotency_key(ShowProfile(user_id=user_id, email=None, name=None))


def require_user(user_id: UUID) -> None:
    """Raise NotFound if there is no such user."""
    get_profile(user_id)


@blp.route("/users")
class Users(MethodView):
    @require_auth("users:admin", reads_personal_data=True)
    @blp.arguments(UserQuery, location="query")
    @blp.doc(operationId="listUsers")
    @blp.response(200, UserPageSchema)
    def get(self, query: dict[str, Any]) -> Page:
        """List users

        Newest first.
        """
        found = call(ListUsers(**query))
        body, status, headers = page_response(found)
        return {**body, "total": found["total"]}, status, headers


@blp.route("/users/<uuid:user_id>")
class User(MethodView):
    @require_auth("users:admin", reads_personal_data=True)
    @blp.doc(operationId="getUser")
    @blp.response(200, ProfileSchema)
    def get(self, user_id: UUID) -> Response:
        """Retrieve a user

        The read is recorded in the audit.
        """
        # Not from the cache: the worker records who reads it.
        profile = call(ShowProfile(user_id=user_id, email=None, name=None))
        return json_response(CachedView.from_view(profile))

    @require_auth("users:admin")
    @require_existing_user
    @if_match
    @blp.arguments(ProfileChangesSchema)
    @blp.doc(operationId="updateUser")
    @blp.response(200, ProfileSchema)
    def patch(self, changes: ProfileChanges, user_id: UUID, *, expected_version: int) -> Response:
        """Update a user

        Only the given fields; recorded in the audit with the state before and after.
        """
        profile = call_and_cache(
            profile_key(user_id),
            ChangeProfile(user_id=user_id, expected_version=expected_version, changes=changes),
        )
        return json_response(profile)

    @require_auth("users:admin")
    @require_existing_user
    @if_match
    @blp.doc(operationId="eraseUser")
    @blp.response(202, OperationSchema, headers={"Location": "Location"})
    def delete(self, user_id: UUID, *, expected_version: int) -> None:
        """Erase a user

        Erases personal data in every service. The result of the operation is the receipt.
        """
        call_async(EraseUser(user_id=user_id, expected_version=expected_version, owner=current_caller().sub))


@blp.route("/users/<uuid:user_id>/roles")
class Roles(MethodView):
    @require_auth("users:admin", reads_personal_data=True)
    @blp.doc(operationId="getRoles")
    @blp.response(200, UserRolesSchema)
    def get(self, user_id: UUID) -> Response:
        """Retrieve a user's roles

        The ETag is that of the user, for `If-Match` of the change.
        """
        profile = call(ShowProfile(user_id=user_id, email=None, name=None))
        return json_response(CachedView(profile["version"], msgspec.json.encode({"roles": profile["roles"]})))

    @require_auth("users:admin")
    @require_existing_user
    @if_match
    @blp.arguments(RolesSchema)
    @blp.doc(operationId="setRoles")
    @blp.response(200, ProfileSchema)
    def put(self, body: dict[str, Any], user_id: UUID, *, expected_version: int) -> Response:
        """Set a user's roles

        Replaces all roles. The user's next token carries the new permissions.
        """
        profile = call_and_cache(
            profile_key(user_id),
            SetRoles(
                user_id=user_id,
                expected_version=expected_version,
                roles=body["roles"],
                actor=current_caller().id,
                actor_token_issued_at=current_caller().claims.issued_at,
            ),
        )
        return json_response(profile)


@blp.route("/webhooks/auth0")
class Auth0Webhook(MethodView):
    @raw_webhook
    @blp.doc(operationId="receiveAuth0Webhook")
    @blp.response(200, WebhookReceivedSchema)
    def post(self) -> Any:
        """Receive an Auth0 webhook

        From an event stream or log stream; verified by the shared token in `Authorization`.
        """
        authorization = request.headers.get("Authorization", "")
        verify_auth0(authorization, settings.AUTH0_WEBHOOK_TOKENS)
        return call_for_webhook(ReceiveAuth0Webhook(body=webhook_body(), authorization=authorization))
