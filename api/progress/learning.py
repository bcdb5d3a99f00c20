"""Progress routes: completions, playback positions, offline progress and streaks."""

from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

import marshmallow as ma
import msgspec
from flask.views import MethodView

from api.auth import current_caller, require_auth
from api.blueprints import Blueprint
from api.learner_access import call_as_learner, start_if_enrolled
from api.pagination import Page, PageQuery, page_response, page_schema
from api.read_cache import cached_page_view
from api.rpc import call, call_without_idempotency_key
from api.schemas import OPTIONAL, Line, Schema, Timestamp, UtcDateTime
from api.users.profiles import get_profile
from api.view_attributes import set_existence_check
from core.cache import progress_version_key
from models.commands import (
    CompleteLesson,
    ListProgress,
    MovePosition,
    ReopenLesson,
    ShowPosition,
    ShowProgress,
    ShowStreak,
    SyncOfflineProgress,
)
from models.commands.progress import OfflineEvent
from models.errors import NotEnrolled

blp = Blueprint("progress", __name__, url_prefix="/v1", description="Progress, playback positions and streaks.")

View = TypeVar("View", bound=Callable[..., Any])

_MAX_POSITION_SECONDS = 10**6  # maximum playback position


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


def _from_seconds() -> ma.fields.Int:
    described = "Where the part began that was watched up to the position. Without it, the last 30 seconds count."
    return ma.fields.Int(
        strict=True, validate=ma.validate.Range(min=0, max=_MAX_POSITION_SECONDS), metadata={"description": described}
    )


def _require_part(position: dict[str, Any]) -> None:
    """Raise ValidationError if the watched part ends before it begins."""
    if position.get("from_seconds", 0) > (position.get("position_seconds") or 0):
        raise ma.ValidationError("Must not be after position_seconds.", "from_seconds")


class PositionFieldsSchema(Schema):
    position_seconds = ma.fields.Int(
        strict=True,
        required=True,
        validate=ma.validate.Range(min=0, max=_MAX_POSITION_SECONDS),
        metadata={"example": 95},
    )
    from_seconds = _from_seconds()

    @ma.validates_schema
    def _validate_part(self, position: dict[str, Any], **_: Any) -> None:
        _require_part(position)


class PositionSchema(Schema):
    lesson_id = ma.fields.UUID()
    position_seconds = ma.fields.Int(metadata={"description": "The latest position."})
    furthest_seconds = ma.fields.Int(metadata={"description": "The furthest position; never decreases."})
    watched_seconds = ma.fields.Int(
        metadata={"description": "How much was watched, after an update of the position.", **OPTIONAL}
    )
    moved_at = Timestamp(allow_none=True)


_REPEATED_ID = {"id": ["Another event in this batch has the same id."]}


class OfflineEventSchema(Schema):
    """An event recorded on a device while it was offline. The device assigns the ``id``."""

    id = Line(required=True, max_length=100)
    course_id = ma.fields.UUID(required=True)
    lesson_id = ma.fields.UUID(required=True)
    kind = ma.fields.Str(required=True, validate=ma.validate.OneOf(["completed", "position"]))
    position_seconds = ma.fields.Int(strict=True, validate=ma.validate.Range(min=0, max=_MAX_POSITION_SECONDS))
    from_seconds = _from_seconds()
    at = UtcDateTime(required=True)

    @ma.validates_schema
    def _validate_position_seconds(self, event: dict[str, Any], **_: Any) -> None:
        if (event["kind"] == "position") != ("position_seconds" in event):
            raise ma.ValidationError("Required if kind is position, not allowed otherwise.", "position_seconds")
        _require_part(event)


class OfflineBatchSchema(Schema):
    events = ma.fields.List(
        ma.fields.Nested(OfflineEventSchema), required=True, validate=ma.validate.Length(min=1, max=500)
    )

    @ma.validates_schema
    def _ids_are_unique(self, batch: dict[str, Any], **_: Any) -> None:
        ids = [event["id"] for event in batch["events"]]
        if repeated := {index: _REPEATED_ID for index, each in enumerate(ids) if each in ids[:index]}:
            raise ma.ValidationError({"events": repeated})


class OfflineResultSchema(Schema):
    id = ma.fields.Str()
    merged = ma.fields.Bool()
    code = ma.fields.Str(allow_none=True, metadata={"description": "Error code if the event was rejected."})
    detail = ma.fields.Str(allow_none=True)


class OfflineBatchResultSchema(Schema):
    results = ma.fields.List(ma.fields.Nested(OfflineResultSchema))


class StreakSchema(Schema):
    current_days = ma.fields.Int()
    longest_days = ma.fields.Int()
    last_active_on = ma.fields.Str(allow_none=True, metadata={"format": "date"})


def own_progress_version_key() -> str:
    return progress_version_key(current_caller().id)


def require_lesson_access(view: View) -> View:
    """Make a malformed request answer 403 or 404 first if the caller has no access to the lesson."""
    set_existence_check(view, _find_lesson)
    return view


def _find_lesson(*, course_id: UUID, lesson_id: UUID) -> None:
    command = ShowPosition(user_id=current_caller().id, course_id=course_id, lesson_id=lesson_id)
    # Not as an operation: with Prefer: respond-async, the refused request would be accepted.
    call_as_learner(command, user_id=command.user_id, course_id=course_id, send=call_without_idempotency_key)


LearnerCommand = ShowProgress | ShowPosition | CompleteLesson | ReopenLesson | MovePosition


def _call_as_learner(command: LearnerCommand) -> Any:
    return call_as_learner(command, user_id=command.user_id, course_id=command.course_id, send=call)


@blp.route("/courses/<uuid:course_id>/progress")
class CourseProgress(MethodView):
    @require_auth()
    @cached_page_view(own_progress_version_key)
    @blp.doc(operationId="getCourseProgress")
    @blp.response(200, CourseProgressSchema)
    def get(self, course_id: UUID) -> Any:
        """Retrieve the caller's progress in a course

        The shares of completed lessons, and the lesson to continue with.
        """
        return _call_as_learner(ShowProgress(user_id=current_caller().id, course_id=course_id))


@blp.route("/me/progress")
class Progress(MethodView):
    @require_auth()
    @cached_page_view(own_progress_version_key)
    @blp.arguments(PageQuery, location="query")
    @blp.doc(operationId="listOwnProgress")
    @blp.response(200, page_schema(CourseProgressSchema))
    def get(self, query: dict[str, Any]) -> Page:
        """List the caller's progress

        One entry per course, most recently started first.
        """
        return page_response(call(ListProgress(user_id=current_caller().id, **query)))


@blp.route("/me/progress/batch")
class ProgressBatch(MethodView):
    @require_auth()
    @blp.arguments(OfflineBatchSchema)
    @blp.doc(operationId="mergeOfflineProgress")
    @blp.response(200, OfflineBatchResultSchema)
    def post(self, batch: dict[str, Any]) -> Any:
        """Merge offline progress

        Applies events recorded while a device was offline. Only their own times count: in any order, and however often
        a batch is sent, the progress is the same. Never reverts progress, and what was done before a lesson was
        reopened does not complete it again. In a sequential course, `lesson_locked` means that the lessons before were
        not completed at that time; the event is kept and counts if earlier events of those lessons arrive later.
        """
        events = msgspec.convert(batch["events"], list[OfflineEvent])
        without_access: list[UUID] = []
        while True:
            command = SyncOfflineProgress(user_id=current_caller().id, events=events, without_access=without_access)
            try:
                return call(command)
            except NotEnrolled as refusal:
                course_id = UUID(refusal.args[0])
                if not start_if_enrolled(current_caller().id, course_id):
                    without_access = [*without_access, course_id]


@blp.route("/courses/<uuid:course_id>/lessons/<uuid:lesson_id>/completion")
class LessonCompletion(MethodView):
    @require_auth()
    @blp.doc(operationId="completeLesson")
    @blp.response(200, CourseProgressSchema)
    def put(self, course_id: UUID, lesson_id: UUID) -> Any:
        """Complete a lesson

        Idempotent.
        """
        return _call_as_learner(CompleteLesson(user_id=current_caller().id, course_id=course_id, lesson_id=lesson_id))

    @require_auth()
    @blp.doc(operationId="reopenLesson")
    @blp.response(200, CourseProgressSchema)
    def delete(self, course_id: UUID, lesson_id: UUID) -> Any:
        """Reopen a lesson

        Removes its completion. Issued certificates remain valid.
        """
        return _call_as_learner(ReopenLesson(user_id=current_caller().id, course_id=course_id, lesson_id=lesson_id))


@blp.route("/courses/<uuid:course_id>/lessons/<uuid:lesson_id>/position")
class LessonPosition(MethodView):
    @require_auth()
    @blp.doc(operationId="getPosition")
    @blp.response(200, PositionSchema)
    def get(self, course_id: UUID, lesson_id: UUID) -> Any:
        """Retrieve the playback position in a lesson

        As stored by any device of the caller; 0 if none has been stored.
        """
        return _call_as_learner(ShowPosition(user_id=current_caller().id, course_id=course_id, lesson_id=lesson_id))

    @require_auth()
    @require_lesson_access
    @blp.arguments(PositionFieldsSchema)
    @blp.doc(operationId="updatePosition")
    @blp.response(200, PositionSchema)
    def put(self, position: dict[str, Any], course_id: UUID, lesson_id: UUID) -> Any:
        """Update the playback position in a lesson

        `furthest_seconds` never decreases. A position after the end of the lesson is the end. A lesson whose completion
        rule is `viewed` is completed when 95 % of it were watched: a player reports its position at least every 30
        seconds, or says with `from_seconds` which part was watched.
        """
        return _call_as_learner(
            MovePosition(
                user_id=current_caller().id,
                course_id=course_id,
                lesson_id=lesson_id,
                **position,
            )
        )


@blp.route("/me/streak")
class Streak(MethodView):
    @require_auth()
    @blp.doc(operationId="getStreak")
    @blp.response(200, StreakSchema)
    def get(self) -> Any:
        """Retrieve the caller's streak

        Consecutive days with a completed lesson, in the caller's time zone.
        """
        caller = current_caller()
        profile = get_profile(caller.id, email=caller.email, name=caller.name)
        return call(ShowStreak(user_id=caller.id, timezone=profile["timezone"]))
