"""Announcements of a course to its learners."""

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask.views import MethodView

from api.auth import current_caller, require_auth
from api.pagination import Page, PageQuery, page_response, page_schema
from api.rpc import call
from api.schemas import Line, Prose, Schema, Timestamp
from models.commands import CreateAnnouncement, ListAnnouncements, ShowAnnouncement

from .blueprint import blp, course_caller, require_own_course

STATUSES = ["sending", "sent"]


class AnnouncementFieldsSchema(Schema):
    subject = Line(required=True, max_length=150, metadata={"description": "Subject of the mail, and title."})
    body = Prose(
        required=True,
        max_length=5000,
        not_blank=True,
        metadata={"description": "Plain text; each line is a paragraph. The in-app notification shows the first one."},
    )


class AnnouncementSchema(Schema):
    id = ma.fields.UUID()
    course_id = ma.fields.UUID()
    author_id = ma.fields.UUID(metadata={"description": "Id of the user who sent it."})
    subject = ma.fields.Str(metadata={"description": "Subject of the mail, and title."})
    body = ma.fields.Str(metadata={"description": "The text."})
    status = ma.fields.Str(validate=ma.validate.OneOf(STATUSES))
    recipients_total = ma.fields.Int(metadata={"description": "Learners who had access when it was created."})
    recipients_done = ma.fields.Int(metadata={"description": "Learners whose notification has been created."})
    created_at = Timestamp()
    finished_at = Timestamp(allow_none=True)


@blp.route("/courses/<uuid:course_id>/announcements")
class Announcements(MethodView):
    @require_auth("courses:write")
    @require_own_course
    @blp.arguments(PageQuery, location="query")
    @blp.doc(operationId="listAnnouncements")
    @blp.response(200, page_schema(AnnouncementSchema))
    def get(self, query: dict[str, Any], course_id: UUID) -> Page:
        """List the announcements of a course

        Newest first.
        """
        caller = course_caller(current_caller())
        return page_response(call(ListAnnouncements(course_id=course_id, caller=caller, **query)))

    @require_auth("courses:write")
    @require_own_course
    @blp.arguments(AnnouncementFieldsSchema)
    @blp.doc(operationId="createAnnouncement")
    @blp.response(201, AnnouncementSchema, headers={"Location": "Location"})
    def post(self, fields: dict[str, str], course_id: UUID) -> Page:
        """Send an announcement to the learners of a course

        To everyone who has access now, as their preferences allow (category `announcements`). It is sent in the
        background: `recipients_done` shows the progress. A few a day for each course (`announcement_limit_reached`).
        """
        created = call(CreateAnnouncement(course_id=course_id, caller=course_caller(current_caller()), **fields))
        location = f"/v1/courses/{course_id}/announcements/{created['id']}"
        return created, 201, {"Location": location}


@blp.route("/courses/<uuid:course_id>/announcements/<uuid:announcement_id>")
class AnnouncementView(MethodView):
    @require_auth("courses:write")
    @blp.doc(operationId="getAnnouncement")
    @blp.response(200, AnnouncementSchema)
    def get(self, course_id: UUID, announcement_id: UUID) -> Any:
        """Retrieve an announcement

        With its progress.
        """
        caller = course_caller(current_caller())
        return call(ShowAnnouncement(course_id=course_id, announcement_id=announcement_id, caller=caller))
