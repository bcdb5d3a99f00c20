"""Events published by the courses service."""

from dataclasses import dataclass, field
from typing import ClassVar
from uuid import UUID

from core.events import AwareDatetime, Event

LESSON_TITLE_MAX_LENGTH = 80


@dataclass(frozen=True, kw_only=True)
class PublishedLesson:
    """A lesson in a published outline, with its rules for unlocking and completion."""

    lesson_id: UUID
    title: str  # at most LESSON_TITLE_MAX_LENGTH characters: a course of 1,000 lessons is one event
    duration_seconds: int | None = None
    completion_rule: str = "manual"  # manual, viewed or min_score (completed by passing its quiz)
    opens_after_days: int | None = None  # after the learner has started the course
    opens_at: AwareDatetime | None = None


@dataclass(frozen=True, kw_only=True)
class PublishedSection:
    section_id: UUID
    lessons: list[PublishedLesson]


@dataclass(frozen=True, kw_only=True)
class CoursePublished(Event, topic="courses", retained_forever=True):
    """A version of a course was published, with this outline and price."""

    schema_version: ClassVar[int] = 2  # version 1 also had titles of sections and kinds of lessons

    course_id: UUID
    course_version: int  # number of the published version: 1, 2, 3 …
    slug: str
    title: str
    instructor_id: UUID
    price_minor: int
    currency: str
    sequential: bool  # lessons must be completed in order
    sections: list[PublishedSection]
    published_at: AwareDatetime
    prerequisites: list[UUID] = field(default_factory=list)  # courses to complete first
    learners: str = "keep"  # keep their version, or move: to this one


@dataclass(frozen=True, kw_only=True)
class CourseCreated(Event, topic="courses"):
    """An author created a course. It is a draft that only its author can see."""

    course_id: UUID
    slug: str
    title: str
    instructor_id: UUID
    created_at: AwareDatetime


@dataclass(frozen=True, kw_only=True)
class CourseUpdated(Event, topic="courses", retained_forever=True):
    """The draft of a course, its price or its availability changed. A new price applies immediately."""

    course_id: UUID
    slug: str
    title: str
    on_sale: bool
    price_minor: int
    currency: str
    updated_at: AwareDatetime


@dataclass(frozen=True, kw_only=True)
class CourseArchived(Event, topic="courses", retained_forever=True):
    """A course was archived: it is no longer on sale or in its author's list. Learners keep their access."""

    course_id: UUID
    archived_at: AwareDatetime


@dataclass(frozen=True, kw_only=True)
class EnrollmentCreated(Event, topic="courses", retained_forever=True):
    """A user gained access to a course."""

    enrollment_id: UUID
    user_id: UUID
    course_id: UUID
    course_title: str
    source: str  # of the grant: order, free, manual …
    source_id: str
    enrolled_at: AwareDatetime
    course_version: int | None = None  # the published version that the learner takes; None: the newest one
    access_ends_at: AwareDatetime | None = None  # None: it has no end


@dataclass(frozen=True, kw_only=True)
class AccessEndChanged(Event, topic="courses"):
    """The access that a user has to a course ends at another time than before."""

    enrollment_id: UUID
    user_id: UUID
    course_id: UUID
    ends_at: AwareDatetime | None  # None: it has no end
    changed_at: AwareDatetime


@dataclass(frozen=True, kw_only=True)
class AccessEnding(Event, topic="courses"):
    """The access of a user to a course ends soon. Published once for each end."""

    enrollment_id: UUID
    user_id: UUID
    course_id: UUID
    course_title: str
    ends_at: AwareDatetime


@dataclass(frozen=True, kw_only=True)
class EnrollmentEnded(Event, topic="courses", retained_forever=True):
    """A user lost access to a course: no active grant is left.

    It comes a second time, with the final reason, when access that was suspended (``disputed``) is revoked.
    """

    enrollment_id: UUID
    user_id: UUID
    course_id: UUID
    reason: str  # refunded, disputed, charged_back, subscription_ended, expired …
    ended_at: AwareDatetime


@dataclass(frozen=True, kw_only=True)
class QuizAttempted(Event, topic="courses", retained_forever=True):
    """A learner submitted answers to a quiz, and they were graded."""

    user_id: UUID
    course_id: UUID
    lesson_id: UUID
    attempt: int  # number of the attempt: 1, 2, 3 …
    score_percent: int
    passed: bool
    attempted_at: AwareDatetime


@dataclass(frozen=True, kw_only=True)
class RatingRemoved(Event, topic="courses", retained_forever=True):
    """A rating no longer counts. If it counts again, COURSE_RATED is published."""

    user_id: UUID
    course_id: UUID
    reason: str  # deleted (by the learner), hidden (by staff)
    removed_at: AwareDatetime


@dataclass(frozen=True, kw_only=True)
class CourseRated(Event, topic="courses", retained_forever=True):
    """A learner rated a course or changed their rating. The latest event of a learner applies."""

    user_id: UUID
    course_id: UUID
    rating: int  # 1 to 5
    rated_at: AwareDatetime


@dataclass(frozen=True, kw_only=True)
class CourseAnnounced(Event, topic="courses"):
    """An announcement is sent to these learners of a course. A large course has several events, one for each page."""

    announcement_id: UUID
    course_id: UUID
    course_title: str
    subject: str
    body: str
    user_ids: list[UUID]
    announced_at: AwareDatetime
