"""Users: the caller's own profile."""

import functools
import zoneinfo
from typing import Any

import marshmallow as ma
from flask import Response
from flask.views import MethodView
from flask_smorest import Blueprint

from models.cache import profile_key

from .auth import me, requires
from .etags import if_match
from .reads import cached, changed
from .schemas import Schema, Timestamp

blp = Blueprint("users", __name__, url_prefix="/v1", description="Who you are to Coursebus.")

# Control characters, line separators, and halves of surrogate pairs, which JSON can spell and no store can keep.
_UNWRITABLE = "\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ud800-\\udfff"


@functools.cache  # it walks the whole time zone database
def _time_zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def _is_time_zone(name: str) -> None:
    if name not in _time_zones():
        raise ma.ValidationError("Not a time zone of the IANA database.")


class ProfileSchema(Schema):
    id = ma.fields.UUID()
    email = ma.fields.Str(allow_none=True)
    name = ma.fields.Str(allow_none=True)
    locale = ma.fields.Str()
    timezone = ma.fields.Str()
    avatar_url = ma.fields.Str(allow_none=True)
    roles = ma.fields.List(ma.fields.Str())
    created_at = Timestamp()
    version = ma.fields.Int()


class ProfileChangesSchema(Schema):
    name = ma.fields.Str(
        validate=[
            ma.validate.Length(max=200),
            ma.validate.Regexp(rf"(?=.*\S)[^{_UNWRITABLE}]+\Z", error="A line of text."),
        ]
    )
    locale = ma.fields.Str(
        validate=ma.validate.Regexp(
            r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?\Z", error="A language tag such as en or pt-BR."
        )
    )
    timezone = ma.fields.Str(validate=_is_time_zone, metadata={"example": "Europe/Berlin"})
    avatar_url = ma.fields.Url(schemes={"https"}, allow_none=True, validate=ma.validate.Length(max=2048))


@blp.route("/me")
class Me(MethodView):
    @requires()
    @blp.response(200, ProfileSchema)
    def get(self) -> Response:
        """Show the caller's profile; one that is still being made is shown from the token's claims."""
        caller = me()
        return cached(
            profile_key(caller.id), "users.show_profile", user_id=caller.id, email=caller.email, name=caller.name
        )

    @requires()
    @if_match
    @blp.arguments(ProfileChangesSchema)
    @blp.response(200, ProfileSchema)
    def patch(self, changes: dict[str, Any], *, expected_version: int) -> Response:
        """Change the caller's profile: what is named. Needs If-Match."""
        return changed(
            profile_key(me().id),
            "users.change_profile",
            user_id=me().id,
            expected_version=expected_version,
            changes=changes,
        )
