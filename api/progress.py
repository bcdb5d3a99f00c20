"""Progress: what a learner has done in a course."""

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask.views import MethodView

from .auth import me, requires
from .blueprints import Blueprint
from .queue import ask
from .schemas import Schema, Timestamp

blp = Blueprint("progress", __name__, url_prefix="/v1", description="What a learner has done in a course.")


class CourseProgressSchema(Schema):
    course_id = ma.fields.UUID()
    status = ma.fields.Str(validate=ma.validate.OneOf(["in_progress", "completed"]))
    percent = ma.fields.Int()
    lessons_completed = ma.fields.Int()
    lessons_total = ma.fields.Int()
    next_lesson_id = ma.fields.UUID(allow_none=True)
    last_lesson_id = ma.fields.UUID(allow_none=True)
    started_at = Timestamp()
    completed_at = Timestamp(allow_none=True)
    version = ma.fields.Int()


@blp.route("/courses/<uuid:course_id>/progress")
class CourseProgress(MethodView):
    @requires()
    @blp.response(200, CourseProgressSchema)
    def get(self, course_id: UUID) -> Any:
        """Show the caller's progress in a course."""
        return ask("progress.show_progress", user_id=me().id, course_id=course_id)


@blp.route("/courses/<uuid:course_id>/lessons/<uuid:lesson_id>/completion")
class LessonCompletion(MethodView):
    @requires()
    @blp.response(200, CourseProgressSchema)
    def put(self, course_id: UUID, lesson_id: UUID) -> Any:
        """Mark a lesson complete. Repeating it changes nothing."""
        return ask("progress.complete_lesson", user_id=me().id, course_id=course_id, lesson_id=lesson_id)
