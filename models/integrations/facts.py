"""Facts for statistics: what an event says about a course or the shop, in any order and however often it arrives.

A trigger of the database keeps their sums (``Statistic``) in the same transaction.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Index, delete, or_, select, tuple_
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base
from models.events import (
    CourseCompleted,
    CourseRated,
    EnrollmentCreated,
    Event,
    LessonCompleted,
    LessonReopened,
    PaymentRefunded,
    PaymentSucceeded,
    QuizAttempted,
    RatingRemoved,
    RefundReversed,
)

NO_ID = UUID(int=0)  # as a course: the whole shop; as a lesson: the whole course
ENROLLMENT, COMPLETION, LESSON, ACTIVE = "enrollment", "completion", "lesson", "active"
ATTEMPT, PASS, RATING, SALE, REFUND = "attempt", "pass", "rating", "sale", "refund"
_BY_COURSE_AND_LEARNER = (ATTEMPT, PASS, RATING)

# By the driver, because every event is applied by it and SQLAlchemy need not compile it. A fact of a newer version
# replaces one of an older version; facts of users who were erased are left out.
_APPLY = """
    INSERT INTO integrations.facts AS stored
        (kind, key, source, course_id, lesson_id, user_id, day, value, currency, version, counts)
    SELECT DISTINCT ON (kind, key)
        kind, key, source, course_id, lesson_id, user_id, day, value, currency, version, counts
    FROM jsonb_to_recordset(%(facts)s::jsonb) AS fact (
        kind text, key text, source text, course_id uuid, lesson_id uuid, user_id uuid, day date, value bigint,
        currency text, version bigint, counts boolean
    )
    WHERE NOT EXISTS (
        SELECT FROM bus.data_subjects AS subject
        WHERE subject.service = 'integrations' AND subject.user_id = fact.user_id AND subject.erased_at IS NOT NULL
    )
    ORDER BY kind, key, version DESC
    ON CONFLICT (kind, key) DO UPDATE SET
        source = excluded.source, course_id = excluded.course_id, lesson_id = excluded.lesson_id,
        user_id = excluded.user_id, day = excluded.day, value = excluded.value, currency = excluded.currency,
        version = excluded.version, counts = excluded.counts
    WHERE stored.version < excluded.version
"""


class Fact(Base):
    """One thing that happened, by its key within its kind. Its ``version`` decides between events about it."""

    __tablename__ = "facts"
    __table_args__ = (
        Index("ix_facts_source", "source"),
        Index("ix_facts_user_id", "user_id", "course_id"),
        {"schema": "integrations"},
    )

    kind: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    source: Mapped[str]  # the aggregate of its event, which a rebuild replaces as a whole
    course_id: Mapped[UUID]
    lesson_id: Mapped[UUID]
    user_id: Mapped[UUID | None]
    day: Mapped[date]
    value: Mapped[int | None]  # summed up beside the number of facts
    currency: Mapped[str]
    version: Mapped[int]
    counts: Mapped[bool]  # False: it was undone

    @classmethod
    def apply(cls, session: Session, facts: Iterable["NewFact"]) -> None:
        """Store facts, unless a newer event about the same thing was applied before."""
        rows = [asdict(fact) for fact in facts]
        if rows:
            session.connection().exec_driver_sql(_APPLY, {"facts": msgspec.json.encode(rows).decode()})

    @classmethod
    def clear(cls, session: Session, source: str) -> None:
        """Delete the facts of an aggregate, for a rebuild."""
        session.execute(delete(cls).where(cls.source == source))

    @classmethod
    def clear_enrollment(cls, session: Session, enrollment_id: str) -> None:
        """Delete the facts of an enrollment and of the learner's quizzes and rating in that course."""
        enrolled = select(cls.user_id, cls.course_id).where(cls.kind == ENROLLMENT, cls.source == enrollment_id)
        theirs = cls.kind.in_(_BY_COURSE_AND_LEARNER) & tuple_(cls.user_id, cls.course_id).in_(enrolled)
        keys = session.execute(select(cls.kind, cls.key).where(or_(cls.source == enrollment_id, theirs))).all()
        session.execute(delete(cls).where(tuple_(cls.kind, cls.key).in_([tuple(key) for key in keys])))

    @classmethod
    def erase(cls, session: Session, user_id: UUID) -> int:
        """Delete the facts of a user; return their number. They no longer count in the statistics."""
        return len(session.scalars(delete(cls).where(cls.user_id == user_id).returning(cls.key)).all())


@dataclass(frozen=True, kw_only=True)
class NewFact:
    """A fact as an event states it."""

    kind: str
    key: str
    source: str
    course_id: UUID
    day: date
    version: int
    lesson_id: UUID = NO_ID
    user_id: UUID | None = None
    value: int | None = None
    currency: str = ""
    counts: bool = True


def facts_of(event: Event, *, version: int) -> Iterator[NewFact]:
    """Yield the facts that an event states; none for an event of another type."""
    match event:
        case EnrollmentCreated():
            yield from _enrollment(event, version)
        case LessonCompleted() | LessonReopened():
            yield from _lesson(event, version)
        case CourseCompleted():
            yield from _completion(event, version)
        case QuizAttempted():
            yield from _attempt(event, version)
        case CourseRated():
            yield _rating(event, event.rated_at, value=event.rating)
        case RatingRemoved():
            yield _rating(event, event.removed_at, value=None)
        case PaymentSucceeded():
            yield from _money(event, SALE, str(event.payment_id), event.paid_at, version)
        case PaymentRefunded():
            yield from _money(event, REFUND, str(event.refund_id), event.refunded_at, version)
        case RefundReversed():
            yield from _money(event, REFUND, str(event.refund_id), event.reversed_at, version, counts=False)


def _enrollment(event: EnrollmentCreated, version: int) -> Iterator[NewFact]:
    """Yield the first enrollment of a learner in a course: a later one, after a refund was returned, is no second."""
    for course_id in (event.course_id, NO_ID):
        yield NewFact(
            kind=ENROLLMENT,
            key=_key(event.enrollment_id, course_id),
            source=str(event.enrollment_id),
            course_id=course_id,
            user_id=event.user_id,
            day=event.enrolled_at.date(),
            version=-version,
        )


def _lesson(event: LessonCompleted | LessonReopened, version: int) -> Iterator[NewFact]:
    is_completed = isinstance(event, LessonCompleted)
    at = event.completed_at if isinstance(event, LessonCompleted) else event.reopened_at
    source = _key(event.user_id, event.course_id)
    for lesson_id in (event.lesson_id, NO_ID):
        yield NewFact(
            kind=LESSON,
            key=_key(event.user_id, event.course_id, event.lesson_id, lesson_id),
            source=source,
            course_id=event.course_id,
            lesson_id=lesson_id,
            user_id=event.user_id,
            day=at.date(),
            version=version,
            counts=is_completed,
        )
    yield NewFact(
        kind=ACTIVE,
        key=_key(event.course_id, at.date(), event.user_id),
        source=source,
        course_id=event.course_id,
        user_id=event.user_id,
        day=at.date(),
        version=0,
    )


def _completion(event: CourseCompleted, version: int) -> Iterator[NewFact]:
    took = event.completed_at - event.started_at if event.started_at else None
    for course_id in (event.course_id, NO_ID):
        yield NewFact(
            kind=COMPLETION,
            key=_key(event.user_id, event.course_id, course_id),
            source=_key(event.user_id, event.course_id),
            course_id=course_id,
            user_id=event.user_id,
            day=event.completed_at.date(),
            value=max(0, int(took.total_seconds())) if took else None,
            version=version,
        )


def _attempt(event: QuizAttempted, version: int) -> Iterator[NewFact]:
    for kind in (ATTEMPT, PASS) if event.passed else (ATTEMPT,):
        yield NewFact(
            kind=kind,
            key=_key(event.user_id, event.course_id, event.lesson_id, event.attempt),
            source=f"quiz {event.user_id}:{event.course_id}",
            course_id=event.course_id,
            lesson_id=event.lesson_id,
            user_id=event.user_id,
            day=event.attempted_at.date(),
            value=event.score_percent,
            version=version,
        )


def _rating(event: CourseRated | RatingRemoved, at: datetime, *, value: int | None) -> NewFact:
    """Return the rating of a learner; without a value it no longer counts."""
    return NewFact(
        kind=RATING,
        key=_key(event.user_id, event.course_id),
        source=f"rating {event.user_id}:{event.course_id}",
        course_id=event.course_id,
        user_id=event.user_id,
        day=at.date(),
        value=value,
        version=int(at.timestamp() * 1_000_000),
        counts=value is not None,
    )


def _money(
    event: PaymentSucceeded | PaymentRefunded | RefundReversed,
    kind: str,
    key: str,
    at: datetime,
    version: int,
    *,
    counts: bool = True,
) -> Iterator[NewFact]:
    """Yield the amount for the shop, and an equal share of it for each course; the first one gets the rest."""
    courses = sorted(event.course_ids)
    share, rest = divmod(event.amount_minor, len(courses) or 1)
    shares = dict.fromkeys(courses, share)
    if courses:
        shares[courses[0]] += rest
    for course_id, amount_minor in {NO_ID: event.amount_minor, **shares}.items():
        yield NewFact(
            kind=kind,
            key=_key(key, course_id),
            source=str(event.order_id),
            course_id=course_id,
            day=at.date(),
            value=amount_minor,
            currency=event.currency,
            version=version,
            counts=counts,
        )


def _key(*parts: Any) -> str:
    return ":".join(str(part) for part in parts)
