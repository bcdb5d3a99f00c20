"""The learners of a course, for its author and for staff."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from core.db import utc_now
from models.commands.courses import Caller, LearnerFilters
from models.courses.course import Course
from models.courses.learners import list_learners as list_with_filters
from models.errors import NotFound
from workers import task
from workers.runtime.dependencies import RecordPeople


@task
def list_learners(
    session: Session,
    record_people: RecordPeople,
    *,
    course_id: UUID,
    caller: Caller,
    filters: LearnerFilters,
    limit: int,
) -> dict[str, Any]:
    """Return a page of the learners of a course, latest enrollment first: {"items", "next"}.

    Raises NotFound, also for a course of another author.
    """
    course = Course.get(session, str(course_id))
    if not course.is_taught_by(caller):  # an archived course still has learners
        raise NotFound("course", str(course_id))
    at = utc_now()
    learners, following = list_with_filters(session, course_id, filters, at=at, limit=limit)
    record_people(learner.user_id for learner in learners)
    return {"items": [learner.to_learner_response(at=at) for learner in learners], "next": following}
