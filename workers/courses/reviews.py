"""Course reviews by learners."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from models.base import now
from models.courses.catalogue import CatalogueEntry
from models.courses.enrollments import Enrollment
from models.courses.reviews import Review, ReviewPosition
from models.courses.versions import CourseVersion
from models.errors import NotEnrolled
from models.events import CourseRated
from models.outbox import record
from workers import task


@task
def review_course(session: Session, *, user_id: UUID, course_id: UUID, rating: int, text: str) -> dict[str, Any]:
    """Create or replace the learner's review of a course. Raises NotEnrolled without current access."""
    enrollment = Enrollment.find(session, user_id, course_id, lock=True)
    if enrollment is None or not enrollment.has_access(now()):
        raise NotEnrolled(str(course_id))
    at = now()
    review = Review.write(session, course_id=course_id, user_id=user_id, rating=rating, text=text, at=at)
    CatalogueEntry.rate(session, course_id)
    # The event belongs to the enrollment. As an event of the course it would increment the version that authors edit.
    record(session, enrollment, CourseRated(user_id=user_id, course_id=course_id, rating=rating, rated_at=at))
    return review.view()


@task
def list_reviews(session: Session, *, course_id: UUID, after: ReviewPosition | None, limit: int) -> dict[str, Any]:
    """Return a page of the reviews of a course, the newest first: {"items", "next"}.

    Raises NotFound if the course was never published.
    """
    CourseVersion.latest(session, course_id)
    reviews, following = Review.page(session, course_id, after, limit)
    return {"items": [review.view() for review in reviews], "next": following}
