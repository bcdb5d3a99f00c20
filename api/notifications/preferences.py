"""The caller's notification preferences: channels per category, and quiet hours."""

from typing import Any

import marshmallow as ma
import msgspec
from flask import Response
from flask.views import MethodView

from api.auth import current_caller, require_auth
from api.conditional_requests import if_match, versioned_response
from api.rpc import call
from api.schemas import Flag, Schema
from models.commands import ChangePreferences, ShowPreferences
from models.notification_preferences import Preferences as NotificationPreferences

from .blueprint import blp

CATEGORIES = ("account", "courses", "announcements", "progress", "reminders", "receipts", "security")
_is_time_of_day = ma.validate.Regexp(r"([01][0-9]|2[0-3]):[0-5][0-9]\Z", error="A time of day such as 22:00.")


class ChannelsSchema(Schema):
    email = Flag(load_default=True)
    push = Flag(load_default=True)
    in_app = Flag(load_default=True)


class _QuietHoursBase(Schema):
    @ma.validates_schema
    def _validate_not_empty(self, hours: dict[str, str], **_: Any) -> None:
        if hours["from"] == hours["to"]:
            raise ma.ValidationError("Must differ from the start.", "to")


# Built with from_dict, because the keyword "from" cannot be an attribute name in a class body.
QuietHoursSchema = _QuietHoursBase.from_dict(
    {name: ma.fields.Str(required=True, validate=_is_time_of_day) for name in ("from", "to")}, name="QuietHours"
)
CategoriesSchema = Schema.from_dict({name: ma.fields.Nested(ChannelsSchema) for name in CATEGORIES}, name="Categories")


class PreferencesSchema(Schema):
    """Notification preferences. Receipts and security notifications are sent regardless of them."""

    categories = ma.fields.Nested(
        CategoriesSchema, required=True, metadata={"description": "Channels that are omitted are on."}
    )
    quiet_hours = ma.fields.Nested(
        QuietHoursSchema,
        load_default=None,
        allow_none=True,
        metadata={"description": "In the caller's time zone. E-mails and push messages are held until the end."},
    )
    digest = ma.fields.Str(load_default="off", validate=ma.validate.OneOf(["off"]))


class VersionedPreferencesSchema(PreferencesSchema):
    """Notification preferences with their version, which If-Match takes."""

    version = ma.fields.Int(dump_only=True)


def _with_version(reply: dict[str, Any]) -> Response:
    return versioned_response({**reply, "view": {**reply["view"], "version": reply["version"]}})


@blp.route("/me/notification-preferences")
class Preferences(MethodView):
    @require_auth()
    @blp.doc(operationId="getNotificationPreferences")
    @blp.response(200, VersionedPreferencesSchema)
    def get(self) -> Response:
        """Retrieve notification preferences

        All channels of all categories; what the user has not chosen is on.
        """
        return _with_version(call(ShowPreferences(user_id=current_caller().id)))

    @require_auth()
    @if_match
    @blp.arguments(PreferencesSchema)
    @blp.doc(operationId="replaceNotificationPreferences")
    @blp.response(200, VersionedPreferencesSchema)
    def put(self, preferences: dict[str, Any], *, expected_version: int) -> Response:
        """Replace notification preferences

        Applies also to notifications that wait, for example for the end of quiet hours.
        """
        changed = call(
            ChangePreferences(
                user_id=current_caller().id,
                expected_version=expected_version,
                preferences=msgspec.convert(preferences, NotificationPreferences),
            )
        )
        return _with_version(changed)
