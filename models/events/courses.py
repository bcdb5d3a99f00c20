"""What the courses service tells."""

from dataclasses import dataclass, field
from typing import ClassVar
from uuid import UUID

from .event import Event, Moment

LESSON_TITLE_MAX_LENGTH = 80


@dataclass(frozen=True, kw_only=True)
class PublishedLesson:
    """A lesson's place in a published outline, and the rules for learning it."""

    lesson_id: UUID
    title: str  # up to LESSON_TITLE_MAX_LENGTH: a course of 1,000 lessons is one event
    duration_seconds: int | None = None
    completion_rule: str = "manual"  # manual, viewed, or min_score: then its quiz completes it
    opens_after_days: int | None = None  # after the learner's start
    opens_at: Moment | None = None


@dataclass(frozen=True, kw_only=True)
class PublishedSection:
    section_id: UUID
    lessons: list[PublishedLesson]


@dataclass(frozen=True, kw_only=True)
class CoursePublished(Event, topic="courses", kept_for_good=True):
    """A version of a course went live, with this outline and this price."""

    schema_version: ClassVar[int] = 2  # 1 had titles of sections and kinds of lessons as well

    course_id: UUID
    course_version: int  # counts the published snapshots: 1, 2, 3 …
    slug: str
    title: str
    instructor_id: UUID
    price_minor: int
    currency: str
    sequential: bool  # lessons unlock in order
    sections: list[PublishedSection]
    published_at: Moment
    prerequisites: list[UUID] = field(default_factory=list)  # courses to complete first


@dataclass(frozen=True, kw_only=True)
class CourseCreated(Event, topic="courses"):
    """An author began a course; nobody else sees it yet."""

    course_id: UUID
    slug: str
    title: str
    instructor_id: UUID
    created_at: Moment


@dataclass(frozen=True, kw_only=True)
class CourseUpdated(Event, topic="courses", kept_for_good=True):
    """Something of a course changed: its draft, its price, or whether it is on sale. A price is live at once."""

    course_id: UUID
    slug: str
    title: str
    on_sale: bool
    price_minor: int
    currency: str
    updated_at: Moment


@dataclass(frozen=True, kw_only=True)
class CourseArchived(Event, topic="courses", kept_for_good=True):
    """A course was taken from its author's list and from sale; who has access keeps it."""

    course_id: UUID
    archived_at: Moment


@dataclass(frozen=True, kw_only=True)
class EnrollmentCreated(Event, topic="courses", kept_for_good=True):
    """A user's access to a course began."""

    enrollment_id: UUID
    user_id: UUID
    course_id: UUID
    course_title: str
    source: str  # what gave the access: order, free, manual …
    source_id: str
    enrolled_at: Moment


@dataclass(frozen=True, kw_only=True)
class EnrollmentEnded(Event, topic="courses", kept_for_good=True):
    """The last reason for a user's access to a course is gone."""

    enrollment_id: UUID
    user_id: UUID
    course_id: UUID
    reason: str  # refunded, disputed, charged_back, subscription_ended …
    ended_at: Moment


@dataclass(frozen=True, kw_only=True)
class QuizAttempted(Event, topic="courses"):
    """A learner answered a quiz, and it was graded."""

    user_id: UUID
    course_id: UUID
    lesson_id: UUID
    attempt: int  # counts 1, 2, 3 …
    score_percent: int
    passed: bool
    attempted_at: Moment


@dataclass(frozen=True, kw_only=True)
class CourseRated(Event, topic="courses"):
    """A learner rated a course, for the first time or anew. The last one told of a learner counts."""

    user_id: UUID
    course_id: UUID
    rating: int  # 1 to 5
    rated_at: Moment
