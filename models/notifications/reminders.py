"""What learners may be reminded of, and what they have been reminded of."""

from datetime import date, datetime
from typing import Any, Self
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.base import Base, new_id

INACTIVITY, STREAK, ABANDONED_CHECKOUT = "inactivity", "streak", "abandoned_checkout"


class Learning(Base):
    """A learner's access to a course, and how far they are: in brief, as events told it."""

    __tablename__ = "learnings"
    __table_args__ = ({"schema": "notifications"},)

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    course_id: Mapped[UUID] = mapped_column(primary_key=True)
    course_title: Mapped[str]
    active_at: Mapped[datetime]  # the last step in it
    completed_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]  # access is gone

    @classmethod
    def step(cls, session: Session, user_id: UUID, course_id: UUID, *, title: str, at: datetime) -> None:
        """A learner began a course or went on in it; an older step changes nothing."""
        row = {"user_id": user_id, "course_id": course_id, "course_title": title, "active_at": at}
        made = insert(cls).values(row)
        session.execute(
            made.on_conflict_do_update(
                index_elements=["user_id", "course_id"],
                set_={"course_title": title, "active_at": at},
                where=cls.active_at < at,
            )
        )

    @classmethod
    def reopen(cls, session: Session, user_id: UUID, course_id: UUID, *, at: datetime) -> None:
        """Access is back, if it had ended before."""
        mine = (cls.user_id == user_id) & (cls.course_id == course_id) & (cls.ended_at < at)
        session.execute(update(cls).where(mine).values(ended_at=None))

    @classmethod
    def complete(cls, session: Session, user_id: UUID, course_id: UUID, *, at: datetime) -> None:
        mine = (cls.user_id == user_id) & (cls.course_id == course_id)
        session.execute(update(cls).where(mine).values(completed_at=at))

    @classmethod
    def end(cls, session: Session, user_id: UUID, course_id: UUID, *, at: datetime) -> None:
        """Access is gone."""
        mine = (cls.user_id == user_id) & (cls.course_id == course_id)
        session.execute(update(cls).where(mine).values(ended_at=at))

    @classmethod
    def unfinished(cls, session: Session, user_id: UUID) -> Self | None:
        """The course that a learner would go on with: of those that are open, the last one."""
        mine = select(cls).where(cls.user_id == user_id, cls.completed_at.is_(None), cls.ended_at.is_(None))
        return session.scalars(mine.order_by(cls.active_at.desc()).limit(1)).one_or_none()

    @classmethod
    def has_access(cls, session: Session, user_id: UUID, course_id: UUID) -> bool:
        found = session.get(cls, (user_id, course_id), populate_existing=True)
        return found is not None and found.ended_at is None


class Wait(Base):
    """Something that a learner is reminded of when it lasts: a pause, a streak, an open checkout."""

    __tablename__ = "waits"
    __table_args__ = ({"schema": "notifications"},)

    kind: Mapped[str] = mapped_column(primary_key=True)
    about: Mapped[UUID] = mapped_column(primary_key=True)  # the learner or the order
    user_id: Mapped[UUID]
    since: Mapped[datetime]
    due_at: Mapped[datetime | None]  # of the next reminder; None where there is none any more
    ended_at: Mapped[datetime | None]
    facts: Mapped[dict[str, Any]]

    @classmethod
    def begin(cls, session: Session, kind: str, about: UUID, **row: Any) -> None:
        """It lasts since ``since``: what lasted before is over. What began later stands."""
        row = {"kind": kind, "about": about, **row}
        begun = insert(cls).values(row)
        renewed = {"ended_at": None} | {name: row[name] for name in ("since", "due_at", "facts")}
        session.execute(
            begun.on_conflict_do_update(
                index_elements=["kind", "about"], set_=renewed, where=cls.since < begun.excluded.since
            )
        )

    @classmethod
    def end(cls, session: Session, kind: str, about: UUID, *, at: datetime) -> None:
        """It is over: no more reminders of it."""
        it = (cls.kind == kind) & (cls.about == about)
        session.execute(update(cls).where(it).values(due_at=None, ended_at=at))

    @classmethod
    def find(cls, session: Session, kind: str, about: UUID) -> Self | None:
        """As it is now, locked: for whoever has the contact of its user locked already."""
        return session.get(cls, (kind, about), with_for_update=True)

    @classmethod
    def due(cls, session: Session, *, before: datetime, limit: int) -> list[tuple[str, UUID]]:
        """Kind and object of what should be reminded of, the longest waiting first."""
        waiting = select(cls.kind, cls.about).where(cls.due_at <= before).order_by(cls.due_at).limit(limit)
        return [(kind, about) for kind, about in session.execute(waiting)]


class Reminder(Base):
    """A reminder that went out: one of a kind a day, and one of a step of what it reminds of."""

    __tablename__ = "reminders"
    __table_args__ = ({"schema": "notifications"},)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    kind: Mapped[str]
    local_day: Mapped[date]  # on the learner's calendar; unique with user and kind
    reason: Mapped[str]  # what it reminded of, and which step; unique with user and kind

    @classmethod
    def first(cls, session: Session, user_id: UUID, *, kind: str, local_day: date, reason: str) -> UUID | None:
        """Write a reminder down; its id, or None where there was one that day or for that reason."""
        row = {"id": new_id(), "user_id": user_id, "kind": kind, "local_day": local_day, "reason": reason}
        return session.scalar(insert(cls).values(row).on_conflict_do_nothing().returning(cls.id))


def forget_reminders(session: Session, user_id: UUID) -> int:
    """Forget all of this that is about a user; returns how many rows that was."""
    rows = 0
    for table in (Learning, Wait, Reminder):
        gone = session.scalars(delete(table).where(table.user_id == user_id).returning(table.user_id))
        rows += len(gone.all())
    return rows


def reminders_of(session: Session, user_id: UUID) -> list[dict[str, Any]]:
    """What a user may be reminded of, and since when."""
    waits = session.scalars(select(Wait).where(Wait.user_id == user_id).order_by(Wait.kind, Wait.since))
    return [{"kind": wait.kind, "since": wait.since, "due_at": wait.due_at, **wait.facts} for wait in waits]
