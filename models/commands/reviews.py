"""Commands of the courses service on reviews, besides those of courses.py."""

from uuid import UUID

from core.commands import Command

from .courses import Caller


class ShowOwnReview(Command, service="courses"):
    """Return the learner's review of a course."""

    user_id: UUID
    course_id: UUID


class RemoveReview(Command, service="courses"):
    """Delete the learner's review of a course."""

    user_id: UUID
    course_id: UUID


class ReplyToReview(Command, service="courses"):
    """Set the reply of an instructor to a review; without a text, remove it."""

    course_id: UUID
    review_id: UUID
    caller: Caller
    text: str | None


class ModerateReview(Command, service="courses"):
    """Hide a review with a reason; without one, show it again."""

    course_id: UUID
    review_id: UUID
    reason: str | None
