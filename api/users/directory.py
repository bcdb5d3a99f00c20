"""Routes of staff: find users, change their profiles and roles, erase accounts."""

from typing import Any
from uuid import UUID

import marshmallow as ma
import msgspec
from flask import Response
from flask.views import MethodView

from api.auth import current_caller, require_auth
from api.conditional_requests import if_match, json_response
from api.operations import OperationSchema
from api.pagination import Page, PageQuery, page_response, page_schema
from api.read_cache import call_and_cache
from api.rpc import call, call_async
from api.schemas import Schema, unique_items
from core.cache import CachedView, profile_key
from models.accounts import ROLES
from models.commands import (
    ChangeProfile,
    EraseUser,
    ListUsers,
    SetRoles,
    ShowProfile,
)
from models.commands.users import ProfileChanges

from .blueprint import blp
from .profiles import ProfileChangesSchema, ProfileSchema, require_existing_user


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
