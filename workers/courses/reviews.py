"""Course reviews by learners, replies of instructors, and moderation by staff."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from core.bus.outbox import record
from core.db import utc_now
from models.commands.courses import Caller, ReviewCursor
from models.courses.catalogue import CatalogueEntry
from models.courses.course import Course
from models.courses.enrollments import Enrollment
from models.courses.reviews import Review
from models.courses.versions import CourseVersion
from models.errors import NotEnrolled, NotFound
from models.events import CourseRated, RatingRemoved
from workers import task


@task
def review_course(session: Session, *, user_id: UUID, course_id: UUID, rating: int, text: str) -> dict[str, Any]:
    """Create or replace the learner's review of a course. Raises NotEnrolled without current access."""
    enrollment = Enrollment.find(session, user_id, course_id, for_update=True)
    if enrollment is None or not enrollment.has_access(utc_now()):
        raise NotEnrolled(str(course_id))
    at = utc_now()
    review = Review.upsert(session, course_id=course_id, user_id=user_id, rating=rating, text=text, at=at)
    if review.hidden_at is None:
        CatalogueEntry.recalculate_rating(session, course_id)
        # The event belongs to the enrollment. As an event of the course it would increment the version that authors
        # edit.
        record(session, enrollment, _rated(review, at=at))
    return review.to_response()


@task
def list_reviews(
    session: Session, *, course_id: UUID, after: ReviewCursor | None, limit: int, hidden: bool = False
) -> dict[str, Any]:
    """Return a page of the reviews of a course, the newest first: {"items", "next"}.

    Those that are shown, or with ``hidden`` the others. Raises NotFound if the course was never published.
    """
    CourseVersion.require_published(session, course_id)
    reviews, following = Review.list_page(session, course_id, after, limit, hidden=hidden)
    return {"items": [review.to_response() for review in reviews], "next": following}


@task
def show_own_review(session: Session, *, user_id: UUID, course_id: UUID) -> dict[str, Any]:
    """Return the learner's review of a course. Raises NotFound."""
    return Review.find_own(session, course_id, user_id).to_response()


@task
def remove_review(session: Session, *, user_id: UUID, course_id: UUID) -> None:
    """Delete the learner's review of a course, with its reply. What is written next stays hidden if this one was.

    Raises NotFound.
    """
    enrollment = Enrollment.find(session, user_id, course_id, for_update=True)
    review = Review.find_own(session, course_id, user_id)
    review.delete(session, at=utc_now())
    if review.hidden_at is None:
        _stop_counting(session, enrollment, reason="deleted")


@task
def reply_to_review(
    session: Session, *, course_id: UUID, review_id: UUID, caller: Caller, text: str | None
) -> dict[str, Any]:
    """Set the reply of an instructor of the course to a review; without a text, remove it. Raises NotFound."""
    if not Course.get(session, str(course_id)).is_taught_by(caller):
        raise NotFound("review", str(review_id))
    review = Review.get(session, course_id, review_id, for_update=True)
    if review.deleted_at:
        raise NotFound("review", str(review_id))
    review.reply, review.replied_at = text, utc_now() if text is not None else None
    return review.to_response()


@task
def moderate_review(session: Session, *, course_id: UUID, review_id: UUID, reason: str | None) -> dict[str, Any]:
    """Hide a review with a reason, or show it again: what is hidden does not count. Idempotent.

    To show a review that its learner has deleted removes it: the next review of the learner is shown. Raises NotFound.
    """
    learner_id = Review.get(session, course_id, review_id).user_id
    enrollment = Enrollment.find(session, learner_id, course_id, for_update=True)  # locked first, as by the learner
    review = Review.get(session, course_id, review_id, for_update=True)
    was_hidden, at = review.hidden_at is not None, utc_now()
    review.hidden_reason = reason
    if was_hidden != (reason is not None):
        review.hidden_at = at if reason is not None else None
        session.flush()
        if reason is not None:
            _stop_counting(session, enrollment, reason="hidden")
        elif review.deleted_at:
            session.delete(review)
        else:
            CatalogueEntry.recalculate_rating(session, course_id)
            assert enrollment is not None
            record(session, enrollment, _rated(review, at=at))
    return review.to_response()


def _rated(review: Review, *, at: datetime) -> CourseRated:
    return CourseRated(user_id=review.user_id, course_id=review.course_id, rating=review.rating, rated_at=at)


def _stop_counting(session: Session, enrollment: Enrollment | None, *, reason: str) -> None:
    """Recalculate the rating of the course without the review, and record the event."""
    assert enrollment is not None  # enrollments are deleted with the reviews of their learner
    session.flush()
    CatalogueEntry.recalculate_rating(session, enrollment.course_id)
    ids = {"user_id": enrollment.user_id, "course_id": enrollment.course_id}
    record(session, enrollment, RatingRemoved(**ids, reason=reason, removed_at=utc_now()))
