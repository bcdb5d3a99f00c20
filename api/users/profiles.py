"""Profile routes: the caller's profile and erasure; profiles for other routes."""

import functools
import zoneinfo
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

import marshmallow as ma
import msgspec
from flask import Response
from flask.views import MethodView

from api.auth import current_caller, require_auth
from api.conditional_requests import if_match, json_response
from api.operations import OperationSchema
from api.read_cache import call_and_cache, get_cached_profile, get_or_fetch
from api.rpc import call_async, call_without_idempotency_key
from api.schemas import OPTIONAL, Line, Prose, Schema, Timestamp, Url
from api.view_attributes import set_existence_check
from core.cache import CachedView, profile_key
from models.commands import (
    ChangeProfile,
    ConfirmEmail,
    EraseOwnAccount,
    ShowProfile,
)
from models.commands.users import ProfileChanges
from models.errors import DomainError

from .blueprint import blp

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


def require_existing_user(view: View) -> View:
    """Make a malformed request answer 404 first if the user does not exist."""
    set_existence_check(view, _find_user)
    return view


def _find_user(*, user_id: UUID, **_: object) -> None:
    call_without_idempotency_key(ShowProfile(user_id=user_id, email=None, name=None))


def require_user(user_id: UUID) -> None:
    """Raise NotFound if there is no such user."""
    get_profile(user_id)
