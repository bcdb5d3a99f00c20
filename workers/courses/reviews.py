"""Course reviews by learners."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from core.bus.outbox import record
from core.db import utc_now
from models.commands.courses import ReviewCursor
from models.courses.catalogue import CatalogueEntry
from models.courses.enrollments import Enrollment
from models.courses.reviews import Review
from models.courses.versions import CourseVersion
from models.errors import NotEnrolled
from models.events import CourseRated
from workers import task


@task
def review_course(session: Session, *, user_id: UUID, course_id: UUID, rating: int, text: str) -> dict[str, Any]:
    """Create or replace the learner's review of a course. Raises NotEnrolled without current access."""
    enrollment = Enrollment.find(session, user_id, course_id, for_update=True)
    if enrollment is None or not enrollment.has_access(utc_now()):
        raise NotEnrolled(str(course_id))
    at = utc_now()
    review = Review.upsert(session, course_id=course_id, user_id=user_id, rating=rating, text=text, at=at)
    CatalogueEntry.recalculate_rating(session, course_id)
    # The event belongs to the enrollment. As an event of the course it would increment the version that authors edit.
    record(session, enrollment, CourseRated(user_id=user_id, course_id=course_id, rating=rating, rated_at=at))
    return review.to_response()


@task
def list_reviews(session: Session, *, course_id: UUID, after: ReviewCursor | None, limit: int) -> dict[str, Any]:
    """Return a page of the reviews of a course, the newest first: {"items", "next"}.

    Raises NotFound if the course was never published.
    """
    CourseVersion.get_latest(session, course_id)
    reviews, following = Review.list_page(session, course_id, after, limit)
    return {"items": [review.to_response() for review in reviews], "next": following}
