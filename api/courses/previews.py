"""Authors try their course as a learner. Nothing is recorded: no enrollment, progress, attempt, event or statistics."""

import secrets
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response
from flask.views import MethodView

from api.auth import current_caller, require_auth
from api.conditional_requests import versioned_response
from api.rpc import call, call_without_idempotency_key
from api.schemas import Schema
from models.commands import PreviewCourse, PreviewLesson, PreviewQuiz

from .blueprint import blp, course_caller, require_own_course
from .files import has_files
from .learner_courses import LearnerCourseSchema
from .quiz_schemas import AttemptQuestionSchema, answers_field
from .schemas import LessonSchema

_SEED_MAX = 2**31 - 1


class PreviewAttemptFieldsSchema(Schema):
    """Without answers, questions are drawn; with answers and the seed of that draw, they are graded."""

    seed = ma.fields.Int(
        strict=True,
        validate=ma.validate.Range(min=0, max=_SEED_MAX),
        metadata={"description": "The seed of an earlier draw, to get the same questions. By default a new one."},
    )
    answers = answers_field()


class PreviewAttemptSchema(Schema):
    """An attempt of an author, which is not kept."""

    seed = ma.fields.Int(metadata={"description": "Send it with the answers."})
    time_limit_seconds = ma.fields.Int(allow_none=True, metadata={"description": "Null without a limit."})
    pass_percent = ma.fields.Int(metadata={"description": "The score that passes the quiz."})
    points_total = ma.fields.Int()
    points = ma.fields.Float(allow_none=True, metadata={"description": "Earned points; null without answers."})
    score_percent = ma.fields.Int(allow_none=True)
    passed = ma.fields.Bool(allow_none=True)
    questions = ma.fields.List(
        ma.fields.Nested(AttemptQuestionSchema),
        metadata={"description": "With answers they have results, whatever the settings show to learners."},
    )


@blp.route("/courses/<uuid:course_id>/preview")
class CoursePreview(MethodView):
    @require_auth("courses:write")
    @blp.doc(operationId="previewCourse")
    @blp.response(200, LearnerCourseSchema)
    def get(self, course_id: UUID) -> Any:
        """Preview a course as a learner

        The working copy like `GET /v1/me/courses/{course_id}` for a learner who begins now. No lesson is locked, and
        nothing is recorded.
        """
        return call(PreviewCourse(course_id=course_id, caller=course_caller(current_caller())))


@blp.route("/courses/<uuid:course_id>/preview/lessons/<uuid:lesson_id>")
class LessonPreview(MethodView):
    @require_auth("courses:write")
    @blp.doc(operationId="previewLesson")
    @blp.response(200, LessonSchema)
    def get(self, course_id: UUID, lesson_id: UUID) -> Response:
        """Preview a lesson as a learner

        The working copy without the answers of a quiz, with links to its files. Nothing is recorded.
        """
        caller = course_caller(current_caller())
        reply = call(PreviewLesson(course_id=course_id, lesson_id=lesson_id, caller=caller))
        return versioned_response(reply, has_links=has_files(reply["view"]))


@blp.route("/courses/<uuid:course_id>/preview/lessons/<uuid:lesson_id>/attempts")
class QuizPreview(MethodView):
    @require_auth("courses:write")
    @require_own_course
    @blp.arguments(PreviewAttemptFieldsSchema, required=False)
    @blp.doc(operationId="previewQuizAttempt")
    @blp.response(200, PreviewAttemptSchema)
    def post(self, fields: dict[str, Any], course_id: UUID, lesson_id: UUID) -> Any:
        """Try a quiz

        Draws the questions of an attempt; with `answers` and the `seed` of the draw, grades them. Nothing is kept, no
        limit applies, and the response is not stored for its `Idempotency-Key`.
        """
        seed = fields.get("seed", secrets.randbelow(_SEED_MAX))
        return call_without_idempotency_key(
            PreviewQuiz(
                course_id=course_id,
                lesson_id=lesson_id,
                caller=course_caller(current_caller()),
                seed=seed,
                answers=fields.get("answers"),
            )
        )
