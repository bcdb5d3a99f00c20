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
from models.accounts import ROLES
from models.cache import Stored, profile_key
from models.errors import DomainError
from models.webhooks import verify_auth0

from .auth import me, requires, signed
from .blueprints import Blueprint
from .etags import if_match, respond
from .fanout import Question, gather_all
from .incoming import webhook_body
from .operations import OperationSchema
from .pages import Page, PageQuery, page, page_of
from .queue import ask, ask_for_webhook, look_up, tell
from .reads import cached, changed, own_profile, stored
from .schemas import Line, Schema, Timestamp

blp = Blueprint("users", __name__, url_prefix="/v1", description="Who you are to Coursebus.")

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
        metadata={"description": "To an address that is not verified no mail is sent, but for the welcome."}
    )
    name = ma.fields.Str(allow_none=True)
    locale = ma.fields.Str()
    timezone = ma.fields.Str()
    avatar_url = ma.fields.Str(allow_none=True)
    roles = ma.fields.List(ma.fields.Str())
    created_at = Timestamp()
    version = ma.fields.Int()


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
    avatar_url = ma.fields.Url(schemes={"https"}, allow_none=True, validate=ma.validate.Length(max=2048))


class RolesSchema(Schema):
    roles = ma.fields.List(
        ma.fields.Str(validate=ma.validate.OneOf(ROLES)), required=True, validate=ma.validate.Length(max=len(ROLES))
    )


class UserQuery(PageQuery):
    q = ma.fields.Str(
        load_default="",
        validate=ma.validate.Length(max=200),
        metadata={"description": "Parts of name or e-mail address; all of them have to be there."},
    )
    role = ma.fields.Str(load_default=None, validate=ma.validate.OneOf(ROLES))
    total = ma.fields.Bool(load_default=False, metadata={"description": "Count all that fit."})


class UserPageSchema(page_of(ProfileSchema)):  # type: ignore[misc]  # made at run time
    total = ma.fields.Int(allow_none=True)


class ExportSchema(Schema):
    id = ma.fields.UUID()
    requested_at = Timestamp()
    finished_at = Timestamp()
    services = ma.fields.Dict(metadata={"description": "By service, all that it keeps of you."})


class HookReceivedSchema(Schema):
    received = ma.fields.Bool()


def profile_of(user_id: UUID | str, *, email: str | None = None, name: str | None = None) -> dict[str, Any]:
    """Return the profile of a user, from the cache or the users service. Raises NotFound."""
    view = stored(profile_key(user_id), "users.show_profile", user_id=user_id, email=email, name=name)
    profile: dict[str, Any] = msgspec.json.decode(view.body)
    return profile


def _confirmed(profile: Stored) -> Stored:
    """Return the caller's profile, after marking the e-mail address as verified if the token says so.

    If that fails, returns the profile unchanged.
    """
    caller = me()
    if not (caller.claims.email_verified and caller.email and b'"email_verified":false' in profile.body):
        return profile
    try:
        return Stored.of(look_up("users.confirm_email", user_id=caller.id, email=caller.email))
    except DomainError:  # the next request retries
        return profile


@blp.route("/me")
class Me(MethodView):
    @requires()
    @blp.response(200, ProfileSchema)
    def get(self) -> Response:
        """Retrieve the caller's profile

        Until the profile is created, it is built from the claims of the token.
        """
        caller = me()
        if profile := own_profile(caller.sub):
            return respond(_confirmed(profile))
        return cached(profile_key(caller.id), "users.show_profile", user_id=caller.id, **caller.identity)

    @requires()
    @if_match
    @blp.arguments(ProfileChangesSchema)
    @blp.response(200, ProfileSchema)
    def patch(self, changes: dict[str, Any], *, expected_version: int) -> Response:
        """Update the caller's profile"""
        return changed(
            profile_key(me().id),
            "users.change_profile",
            user_id=me().id,
            expected_version=expected_version,
            changes=changes,
        )

    @requires()
    @if_match
    @blp.response(202, OperationSchema)
    def delete(self, *, expected_version: int) -> None:
        """Erase the caller's account

        Erases personal data in every service. The result of the operation is the receipt, which lists data retained
        by law and the reasons. The token stays valid for reading it.
        """
        tell("users.erase_me", sub=me().sub, expected_version=expected_version)


@blp.route("/me/export")
class Export(MethodView):
    @requires()
    @blp.response(202, OperationSchema)
    def post(self) -> None:
        """Request a data export

        Every service exports the caller's personal data. The result of the operation says where to find it.
        """
        tell("users.request_export", user_id=me().id, owner=me().sub)

    @requires()
    @blp.response(200, ExportSchema)
    def get(self) -> Any:
        """Retrieve the latest data export"""
        export = ask("users.show_export", user_id=me().id)
        of_export = {"user_id": me().id, "export_id": export["id"]}
        questions = {
            service: Question(f"{service}.show_export_part", {"service": service, **of_export})
            for service in export["services"]
        }
        return {**export, "services": gather_all(questions, within_seconds=settings.READ_TIMEOUT_SECONDS)}


def existing_user(view: View) -> View:
    """Make a malformed request answer 404 first if the user does not exist."""
    view.find = _find_user  # type: ignore[attr-defined]  # called by api.auth
    return view


def _find_user(*, user_id: UUID, **_: object) -> None:
    look_up("users.show_profile", user_id=user_id, email=None, name=None)


@blp.route("/users")
class Users(MethodView):
    @requires("users:admin")
    @blp.arguments(UserQuery, location="query")
    @blp.response(200, UserPageSchema)
    def get(self, query: dict[str, Any]) -> Page:
        """List users

        Newest first.
        """
        found = ask("users.list_users", **query)
        body, status, headers = page(found)
        return {**body, "total": found["total"]}, status, headers


@blp.route("/users/<uuid:user_id>")
class User(MethodView):
    @requires("users:admin")
    @blp.response(200, ProfileSchema)
    def get(self, user_id: UUID) -> Response:
        """Retrieve a user"""
        return cached(profile_key(user_id), "users.show_profile", user_id=user_id, email=None, name=None)

    @requires("users:admin")
    @existing_user
    @if_match
    @blp.arguments(ProfileChangesSchema)
    @blp.response(200, ProfileSchema)
    def patch(self, changes: dict[str, Any], user_id: UUID, *, expected_version: int) -> Response:
        """Update a user"""
        return changed(
            profile_key(user_id),
            "users.change_profile",
            user_id=user_id,
            expected_version=expected_version,
            changes=changes,
        )

    @requires("users:admin")
    @existing_user
    @if_match
    @blp.response(202, OperationSchema)
    def delete(self, user_id: UUID, *, expected_version: int) -> None:
        """Erase a user

        Erases personal data in every service. The result of the operation is the receipt.
        """
        tell("users.erase_user", user_id=user_id, expected_version=expected_version, owner=me().sub)


@blp.route("/users/<uuid:user_id>/roles")
class Roles(MethodView):
    @requires("users:admin")
    @existing_user
    @if_match
    @blp.arguments(RolesSchema)
    @blp.response(200, ProfileSchema)
    def put(self, body: dict[str, Any], user_id: UUID, *, expected_version: int) -> Response:
        """Set a user's roles

        Replaces all roles. The user's next token carries the new permissions.
        """
        return changed(
            profile_key(user_id),
            "users.set_roles",
            user_id=user_id,
            expected_version=expected_version,
            roles=body["roles"],
            actor=me().id,
            actor_token_issued_at=me().claims.issued_at,
        )


@blp.route("/webhooks/auth0")
class Auth0Hook(MethodView):
    @signed
    @blp.response(200, HookReceivedSchema)
    def post(self) -> Any:
        """Receive an Auth0 webhook

        From an event stream or log stream; verified by the shared token in `Authorization`.
        """
        authorization = request.headers.get("Authorization", "")
        verify_auth0(authorization, settings.AUTH0_WEBHOOK_TOKENS)
        return ask_for_webhook("users.receive_auth0_hook", body=webhook_body(), authorization=authorization)
