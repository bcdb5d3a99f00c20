"""Pending reminders of learners, the data they depend on, and the reminders that were sent."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Self
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, Date, UniqueConstraint, Uuid, bindparam, delete, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base, new_id

from .contacts import Contact

INACTIVITY, STREAK, ABANDONED_CHECKOUT = "inactivity", "streak", "abandoned_checkout"
RETENTION = timedelta(days=90)  # longer than the period of any reminder, so that none is sent twice

# By the driver, because SQLAlchemy need not compile them. One statement for all rows of a message.
_RECORD_ACTIVITIES = """
    INSERT INTO notifications.learning_activity AS known (user_id, course_id, course_title, studied_at, studied_on)
    SELECT user_id, course_id, title, at, days
    FROM jsonb_to_recordset(%(lessons)s::jsonb)
        AS lesson (user_id uuid, course_id uuid, title text, at timestamptz, days date[])
    ON CONFLICT (user_id, course_id) DO UPDATE SET
        course_title = excluded.course_title,
        studied_at = greatest(known.studied_at, excluded.studied_at),
        studied_on = known.studied_on
            || ARRAY(SELECT day FROM unnest(excluded.studied_on) AS day WHERE day <> ALL (known.studied_on))
"""
_RECORD_ACCESS_STARTS = """
    INSERT INTO notifications.learning_activity AS known
        (user_id, course_id, course_title, enrollment_id, enrolled_at, studied_on)
    SELECT user_id, course_id, title, enrollment_id, at, '{}'
    FROM jsonb_to_recordset(%(started)s::jsonb)
        AS started (user_id uuid, course_id uuid, title text, enrollment_id uuid, at timestamptz)
    ON CONFLICT (user_id, course_id) DO UPDATE SET
        course_title = excluded.course_title,
        enrollment_id = excluded.enrollment_id,
        enrolled_at = greatest(known.enrolled_at, excluded.enrolled_at),
        ended_at = CASE WHEN known.ended_at >= excluded.enrolled_at THEN known.ended_at END
"""
_UPSERT_WAITS = """
    INSERT INTO notifications.pending_reminders AS known (kind, about, user_id, since, due_at, facts)
    SELECT kind, user_id, user_id, since, due_at, facts
    FROM jsonb_to_recordset(%(waits)s::jsonb)
        AS wait (kind text, user_id uuid, since timestamptz, due_at timestamptz, facts jsonb)
    ON CONFLICT (kind, about) DO UPDATE
        SET ended_at = NULL, since = excluded.since, due_at = excluded.due_at, facts = excluded.facts
        WHERE known.since <> excluded.since OR known.facts <> excluded.facts
"""


class CompletedLesson(msgspec.Struct, frozen=True):
    """The activity of a learner in a course, on days in the learner's time zone."""

    user_id: UUID
    course_id: UUID
    title: str  # of the course
    at: datetime
    days: tuple[date, ...]

    def merged_with(self, earlier: "CompletedLesson") -> "CompletedLesson":
        """Return both activities in one, because a statement cannot change a row twice."""
        days = tuple(dict.fromkeys((*earlier.days, *self.days)))
        return msgspec.structs.replace(self, at=max(earlier.at, self.at), days=days)


class StartedAccess(msgspec.Struct, frozen=True):
    """The start of a learner's access to a course, or its return."""

    user_id: UUID
    course_id: UUID
    enrollment_id: UUID
    title: str  # of the course
    at: datetime


class Wait(msgspec.Struct, frozen=True):
    """A condition of a learner that leads to reminders of ``kind`` since ``since``."""

    kind: str
    user_id: UUID
    since: datetime
    due_at: datetime | None
    facts: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class StudiedCourse:
    """When a learner started and studied a course."""

    enrolled_at: datetime | None
    studied_at: datetime | None
    studied_on: list[date]

    @property
    def active_at(self) -> datetime | None:
        """Return when the learner last started or continued the course; None if only its end has arrived."""
        return max((at for at in (self.enrolled_at, self.studied_at) if at), default=None)


class LearningActivity(Base):
    """A learner's access to a course and their activity in it: a projection of two topics.

    Each topic writes its own columns, so that each can be rebuilt without the other.
    """

    __tablename__ = "learning_activity"
    __table_args__ = ({"schema": "notifications"},)

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    course_id: Mapped[UUID] = mapped_column(primary_key=True)
    course_title: Mapped[str]
    # From events of the courses service.
    enrollment_id: Mapped[UUID | None]
    enrolled_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]  # access has ended
    # From events of the progress service.
    studied_at: Mapped[datetime | None]  # the last completed lesson
    studied_on: Mapped[list[date]] = mapped_column(ARRAY(Date))  # dates in the learner's time zone with activity
    completed_at: Mapped[datetime | None]

    @classmethod
    def record_access_starts(cls, session: Session, started: Iterable[StartedAccess]) -> None:
        """Store that access started or was restored; a later end or a later start is kept."""
        by_course = dict[tuple[UUID, UUID], StartedAccess]()  # a statement cannot change a row twice
        for each in started:
            place = (each.user_id, each.course_id)
            at = max(each.at, by_course[place].at) if place in by_course else each.at
            by_course[place] = msgspec.structs.replace(each, at=at)
        # In one order, so that two transactions do not deadlock.
        rows = [by_course[place] for place in sorted(by_course)]
        session.connection().exec_driver_sql(_RECORD_ACCESS_STARTS, {"started": msgspec.json.encode(rows).decode()})

    @classmethod
    def record_access_end(cls, session: Session, user_id: UUID, course_id: UUID, *, at: datetime) -> None:
        """Store that access ended, also if its start has not arrived yet; a later start is kept."""
        ended = insert(cls).values(user_id=user_id, course_id=course_id, course_title="", studied_on=[], ended_at=at)
        is_newer = cls.enrolled_at.is_(None) | (cls.enrolled_at <= at)
        session.execute(
            ended.on_conflict_do_update(
                index_elements=["user_id", "course_id"],
                set_={"ended_at": func.greatest(cls.ended_at, at)},
                where=is_newer,
            )
        )

    @classmethod
    def record_activities(cls, session: Session, lessons: Iterable[CompletedLesson]) -> None:
        """Store activities on days in the time zones of the learners. Idempotent."""
        by_course = dict[tuple[UUID, UUID], CompletedLesson]()
        for lesson in lessons:
            place = (lesson.user_id, lesson.course_id)
            by_course[place] = lesson.merged_with(by_course[place]) if place in by_course else lesson
        # In one order, so that two transactions do not deadlock.
        rows = [by_course[place] for place in sorted(by_course)]
        session.connection().exec_driver_sql(_RECORD_ACTIVITIES, {"lessons": msgspec.json.encode(rows).decode()})

    @classmethod
    def record_completion(cls, session: Session, user_id: UUID, course_id: UUID, *, title: str, at: datetime) -> None:
        """Store that the learner completed the course."""
        row = {"course_title": title, "studied_at": at, "completed_at": at}
        cls._upsert(session, user_id, course_id, row, also={"studied_at": func.greatest(cls.studied_at, at)})

    @classmethod
    def _upsert(
        cls, session: Session, user_id: UUID, course_id: UUID, row: dict[str, Any], *, also: dict[str, Any]
    ) -> None:
        # ``also`` replaces values of ``row`` where the row exists already.
        new = insert(cls).values(user_id=user_id, course_id=course_id, **{"studied_on": [], **row})
        session.execute(new.on_conflict_do_update(index_elements=["user_id", "course_id"], set_={**row, **also}))

    @classmethod
    def clear_access(cls, session: Session, enrollment_id: str) -> None:
        """Clear the columns from the courses service for an enrollment, for a rebuild of the projection."""
        its = cls.enrollment_id == UUID(enrollment_id)
        cls._clear(session, its, {"enrollment_id": None, "enrolled_at": None, "ended_at": None})

    @classmethod
    def clear_activity(cls, session: Session, key: str) -> None:
        """Clear the columns from the progress service for a learner and course, for a rebuild of the projection."""
        user_id, _, course_id = key.partition(":")
        its = (cls.user_id == UUID(user_id)) & (cls.course_id == UUID(course_id))
        cls._clear(session, its, {"studied_at": None, "studied_on": [], "completed_at": None})

    @classmethod
    def _clear(cls, session: Session, its: ColumnElement[bool], empty_values: dict[str, Any]) -> None:
        theirs = Contact.user_id.in_(select(cls.user_id).where(its))
        session.execute(select(Contact.user_id).where(theirs).with_for_update())  # as handlers do
        users = session.scalars(update(cls).where(its).values(empty_values).returning(cls.user_id)).all()
        empty = cls.enrolled_at.is_(None) & cls.studied_at.is_(None)
        session.execute(delete(cls).where(cls.user_id.in_(users), empty))
        # Derived from all courses of a learner; the first event that is applied again recalculates these rows.
        session.execute(
            delete(PendingReminder).where(
                PendingReminder.kind.in_((INACTIVITY, STREAK)), PendingReminder.about.in_(users)
            )
        )
        session.expire_all()

    @classmethod
    def list_for_users(cls, session: Session, user_ids: Collection[UUID]) -> dict[UUID, list[StudiedCourse]]:
        """Return the start and the activity in all courses of each learner who has any."""
        found = defaultdict[UUID, list[StudiedCourse]](list)
        rows = session.connection().execute(_OF_USERS, {"users": list(user_ids)})
        for user_id, enrolled_at, studied_at, studied_on in rows:
            found[user_id].append(StudiedCourse(enrolled_at, studied_at, studied_on))
        return found

    @classmethod
    def find_incomplete(cls, session: Session, user_id: UUID) -> Self | None:
        """Return the accessible, uncompleted course in which the learner was last active."""
        mine = select(cls).where(cls.user_id == user_id, cls.completed_at.is_(None), cls.ended_at.is_(None))
        last_first = func.greatest(cls.enrolled_at, cls.studied_at).desc()
        return session.scalars(mine.order_by(last_first).limit(1)).one_or_none()

    @classmethod
    def has_access(cls, session: Session, user_id: UUID, course_id: UUID) -> bool:
        """Return whether the learner has access to the course."""
        found = session.get(cls, (user_id, course_id), populate_existing=True)
        return found is not None and found.ended_at is None


# Built once: building a statement takes longer than executing it.
_OF_USERS = select(
    LearningActivity.user_id, LearningActivity.enrolled_at, LearningActivity.studied_at, LearningActivity.studied_on
).where(LearningActivity.user_id == func.any(bindparam("users", type_=ARRAY(Uuid))))


class PendingReminder(Base):
    """A condition that leads to reminders while it lasts: inactivity, a streak, an open checkout."""

    __tablename__ = "pending_reminders"
    __table_args__ = ({"schema": "notifications"},)

    kind: Mapped[str] = mapped_column(primary_key=True)
    about: Mapped[UUID] = mapped_column(primary_key=True)  # the learner or the order
    user_id: Mapped[UUID]
    since: Mapped[datetime]
    due_at: Mapped[datetime | None]  # of the next reminder; None if there are no more
    ended_at: Mapped[datetime | None]
    facts: Mapped[dict[str, Any]]

    @classmethod
    def upsert_all(cls, session: Session, waits: Sequence[Wait]) -> None:
        """Insert or restart conditions, each of another kind or user.

        If ``since`` and ``facts`` are unchanged, nothing changes, in particular not the time of the next reminder.
        """
        if waits:
            session.connection().exec_driver_sql(_UPSERT_WAITS, {"waits": msgspec.json.encode(waits).decode()})

    @classmethod
    def end_checkout(cls, session: Session, order_id: UUID, *, user_id: UUID, at: datetime) -> None:
        """End the reminders of a checkout, also if its start has not arrived yet."""
        kind = ABANDONED_CHECKOUT
        ended = insert(cls).values(
            kind=kind, about=order_id, user_id=user_id, since=at, due_at=None, ended_at=at, facts={}
        )
        over = {"due_at": None, "ended_at": func.coalesce(cls.ended_at, at)}
        session.execute(ended.on_conflict_do_update(index_elements=["kind", "about"], set_=over))

    @classmethod
    def start_checkout(cls, session: Session, order_id: UUID, **row: Any) -> None:
        """Start the reminders of a checkout. One that was started or ended before stays as it is."""
        new = insert(cls).values(kind=ABANDONED_CHECKOUT, about=order_id, **row)
        session.execute(new.on_conflict_do_nothing(index_elements=["kind", "about"]))

    @classmethod
    def clear_checkout(cls, session: Session, order_id: str) -> None:
        """Delete the reminders of a checkout, for a rebuild of the projection."""
        session.execute(delete(cls).where(cls.kind == ABANDONED_CHECKOUT, cls.about == UUID(order_id)))

    @classmethod
    def get_for_update(cls, session: Session, kind: str, about: UUID) -> Self | None:
        """Return the current row, locked. Lock the contact of its user first."""
        return session.get(cls, (kind, about), with_for_update=True)

    @classmethod
    def due(cls, session: Session, *, before: datetime, limit: int) -> list[tuple[str, UUID]]:
        """Return ``(kind, about)`` of the conditions with a due reminder, the longest overdue first."""
        waiting = select(cls.kind, cls.about).where(cls.due_at <= before).order_by(cls.due_at).limit(limit)
        return [(kind, about) for kind, about in session.execute(waiting)]


class Reminder(Base):
    """A reminder that was sent: at most one per kind and day, and one per kind and reason."""

    __tablename__ = "reminders"
    __table_args__ = (
        UniqueConstraint("user_id", "kind", "local_day"),
        UniqueConstraint("user_id", "kind", "reason"),
        {"schema": "notifications"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    kind: Mapped[str]
    local_day: Mapped[date]  # in the learner's time zone
    reason: Mapped[str]  # the condition and the number of the reminder

    @classmethod
    def insert_once(cls, session: Session, user_id: UUID, *, kind: str, local_day: date, reason: str) -> UUID | None:
        """Insert a reminder; return its id, or None if there was one on that day or for that reason."""
        row = {"id": new_id(), "user_id": user_id, "kind": kind, "local_day": local_day, "reason": reason}
        return session.scalar(insert(cls).values(row).on_conflict_do_nothing().returning(cls.id))


def expired_rows(at: datetime) -> dict[type[Base], ColumnElement[bool]]:
    """Return by table the condition for rows that are not needed any more at ``at``."""
    before = at - RETENTION
    return {
        LearningActivity: LearningActivity.ended_at < before,
        PendingReminder: (PendingReminder.kind == ABANDONED_CHECKOUT) & (PendingReminder.since < before),
        Reminder: Reminder.local_day < before.date(),
    }


def erase_reminders(session: Session, user_id: UUID) -> int:
    """Delete all reminder data of a user; return the number of rows."""
    rows = 0
    for table in (LearningActivity, PendingReminder, Reminder):
        deleted = session.scalars(delete(table).where(table.user_id == user_id).returning(table.user_id))
        rows += len(deleted.all())
    return rows


def export_reminders(session: Session, user_id: UUID) -> list[dict[str, Any]]:
    """Return the pending reminders of a user, for a data export."""
    pending = session.scalars(
        select(PendingReminder)
        .where(PendingReminder.user_id == user_id)
        .order_by(PendingReminder.kind, PendingReminder.since)
    )
    return [
        {"kind": reminder.kind, "since": reminder.since, "due_at": reminder.due_at, **reminder.facts}
        for reminder in pending
    ]
