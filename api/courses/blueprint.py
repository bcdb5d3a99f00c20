"""The courses blueprint, existence checks and response helpers shared by its routes."""

from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

from api.auth import Caller, current_caller
from api.blueprints import Blueprint
from api.learner_access import call_as_learner, call_with_access
from api.rpc import call, call_without_idempotency_key
from api.view_attributes import set_existence_check
from models.commands import CheckCourseEditable, CheckLessonOpen, ShowAccess, ShowCourse, ShowLesson
from models.commands.courses import Caller as CourseCaller
from models.errors import NotEnrolled

blp = Blueprint("courses", "courses", url_prefix="/v1", description="Catalogue, authoring, enrollment and reviews.")

View = TypeVar("View", bound=Callable[..., Any])


def require_own_course(view: View) -> View:
    """Answer 404 instead of a validation error if the caller has no such course to change."""
    set_existence_check(view, _find_own_course)
    return view


def _find_own_course(*, ref: str | None = None, course_id: UUID | None = None, **_: object) -> None:
    call_without_idempotency_key(CheckCourseEditable(ref=ref or str(course_id), caller=course_caller(current_caller())))


def get_working_copy(course_id: UUID) -> dict[str, Any]:
    """Return the working copy of a course that the caller may change. Raises NotFound."""
    caller = course_caller(current_caller())
    call_without_idempotency_key(CheckCourseEditable(ref=str(course_id), caller=caller))
    course: dict[str, Any] = call(ShowCourse(ref=str(course_id), caller=caller))
    return course


def get_taught_course(course_id: UUID) -> None:
    """Check that the caller may change a course. Raises NotFound."""
    _find_own_course(course_id=course_id)


def require_course_access(view: View) -> View:
    """Answer 403 or 404 instead of a validation error if the caller has no access to the course."""
    set_existence_check(view, _find_access)
    return view


def _find_access(*, course_id: UUID, **_: object) -> None:
    if not call_without_idempotency_key(ShowAccess(user_id=current_caller().id, course_id=course_id))["access"]:
        raise NotEnrolled(str(course_id))


def require_lesson_access(view: View) -> View:
    """Answer 403 or 404 instead of a validation error if the caller has no access to the lesson."""
    set_existence_check(view, _find_lesson)
    return view


def _find_lesson(*, course_id: UUID, lesson_id: UUID) -> None:
    show_lesson(course_id, lesson_id, current_caller())


def show_lesson(course_id: UUID, lesson_id: UUID, caller: Caller | None) -> dict[str, Any]:
    """Return the lesson as the caller may see it now: {"version", "view"}. Raises the errors of both commands."""
    course_author = course_caller(caller) if caller else None
    command = ShowLesson(course_id=course_id, lesson_id=lesson_id, caller=course_author, defer_locks=True)
    if caller is None:
        return dict(call_without_idempotency_key(command))
    learner: dict[str, Any] = {"user_id": caller.id, "course_id": course_id, "send": call_without_idempotency_key}
    reply: dict[str, Any] = call_with_access(command, **learner)
    if reply.get("check_locks"):
        check = CheckLessonOpen(user_id=caller.id, course_id=course_id, lesson_id=lesson_id)
        call_as_learner(check, **learner)
    return reply


def course_caller(caller: Caller) -> CourseCaller:
    """Return the fields of the caller that the courses service needs to authorize a request."""
    return CourseCaller(user_id=caller.id, admin="courses:admin" in caller.permissions)
