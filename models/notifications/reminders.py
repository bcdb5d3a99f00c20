"""What learners may be reminded of, and what they have been reminded of."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any, Self
from uuid import UUID

from sqlalchemy import ColumnElement, Date, case, delete, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.base import Base, new_id

from .contacts import Contact

INACTIVITY, STREAK, ABANDONED_CHECKOUT = "inactivity", "streak", "abandoned_checkout"
KEPT = timedelta(days=90)  # longer than anything is reminded of, so that nothing is twice


class Learning(Base):
    """A learner's access to a course, as the courses service told it, and their steps, as progress did.

    Each topic sees to columns of its own, so that either can be told again without the other.
    """

    __tablename__ = "learnings"
    __table_args__ = ({"schema": "notifications"},)

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    course_id: Mapped[UUID] = mapped_column(primary_key=True)
    course_title: Mapped[str]
    # Of courses.
    enrollment_id: Mapped[UUID | None]
    enrolled_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]  # access is gone
    # Of progress.
    studied_at: Mapped[datetime | None]  # the last step
    studied_on: Mapped[list[date]] = mapped_column(ARRAY(Date))  # days of the learner's calendar on which there was one
    completed_at: Mapped[datetime | None]

    @property
    def active_at(self) -> datetime | None:
        """When the learner began the course or went on in it last; None where only its end has arrived."""
        return max((at for at in (self.enrolled_at, self.studied_at) if at), default=None)

    @classmethod
    def enroll(
        cls, session: Session, user_id: UUID, course_id: UUID, *, enrollment_id: UUID, title: str, at: datetime
    ) -> None:
        """Store that access began or is back; an end that is later, and a later beginning, stay as they are."""
        over = case((cls.ended_at < at, None), else_=cls.ended_at)
        told = {"course_title": title, "enrollment_id": enrollment_id, "enrolled_at": at}
        cls._keep(
            session,
            user_id,
            course_id,
            told,
            also={"ended_at": over, "enrolled_at": func.greatest(cls.enrolled_at, at)},
        )

    @classmethod
    def end(cls, session: Session, user_id: UUID, course_id: UUID, *, at: datetime) -> None:
        """Store that access ended, also where its beginning has not arrived; a later beginning stays."""
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
    def study(cls, session: Session, user_id: UUID, course_id: UUID, *, title: str, at: datetime, day: date) -> None:
        """A step, on a day of the learner's calendar; told twice, it is one."""
        days = case((cls.studied_on.contains([day]), cls.studied_on), else_=func.array_append(cls.studied_on, day))
        later = {"studied_at": func.greatest(cls.studied_at, at), "studied_on": days}
        told = {"course_title": title, "studied_at": at, "studied_on": [day]}
        cls._keep(session, user_id, course_id, told, also=later)

    @classmethod
    def complete(cls, session: Session, user_id: UUID, course_id: UUID, *, title: str, at: datetime) -> None:
        told = {"course_title": title, "studied_at": at, "completed_at": at}
        cls._keep(session, user_id, course_id, told, also={"studied_at": func.greatest(cls.studied_at, at)})

    @classmethod
    def _keep(
        cls, session: Session, user_id: UUID, course_id: UUID, told: dict[str, Any], *, also: dict[str, Any]
    ) -> None:
        made = insert(cls).values(user_id=user_id, course_id=course_id, **{"studied_on": [], **told})
        session.execute(made.on_conflict_do_update(index_elements=["user_id", "course_id"], set_={**told, **also}))

    @classmethod
    def forget_access(cls, session: Session, enrollment_id: str) -> None:
        """Take away what courses told of an enrolment, for a rebuild."""
        its = cls.enrollment_id == UUID(enrollment_id)
        cls._forget(session, its, {"enrollment_id": None, "enrolled_at": None, "ended_at": None})

    @classmethod
    def forget_studies(cls, session: Session, key: str) -> None:
        """Take away what progress told of a learner and a course, for a rebuild."""
        user_id, _, course_id = key.partition(":")
        its = (cls.user_id == UUID(user_id)) & (cls.course_id == UUID(course_id))
        cls._forget(session, its, {"studied_at": None, "studied_on": [], "completed_at": None})

    @classmethod
    def _forget(cls, session: Session, its: ColumnElement[bool], nothing: dict[str, Any]) -> None:
        theirs = Contact.user_id.in_(select(cls.user_id).where(its))
        session.execute(select(Contact.user_id).where(theirs).with_for_update())  # first, as whoever handles events
        gone = session.scalars(update(cls).where(its).values(nothing).returning(cls.user_id)).all()
        empty = cls.enrolled_at.is_(None) & cls.studied_at.is_(None)
        session.execute(delete(cls).where(cls.user_id.in_(gone), empty))
        # What was worked out of all courses of the learner is worked out anew by the first event that comes back.
        session.execute(delete(Wait).where(Wait.kind.in_((INACTIVITY, STREAK)), Wait.about.in_(gone)))
        session.expire_all()

    @classmethod
    def all_of(cls, session: Session, user_id: UUID) -> Sequence[Self]:
        """A learner's courses."""
        mine = select(cls).where(cls.user_id == user_id).execution_options(populate_existing=True)
        return session.scalars(mine).all()

    @classmethod
    def unfinished(cls, session: Session, user_id: UUID) -> Self | None:
        """The course that a learner would go on with: of those that are open, the last one."""
        mine = select(cls).where(cls.user_id == user_id, cls.completed_at.is_(None), cls.ended_at.is_(None))
        last_first = func.greatest(cls.enrolled_at, cls.studied_at).desc()
        return session.scalars(mine.order_by(last_first).limit(1)).one_or_none()

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
        """It lasts since ``since``, with these ``facts``. Said again it changes nothing, the next reminder least."""
        row = {"kind": kind, "about": about, "facts": {}, **row}
        begun = insert(cls).values(row)
        renewed = {"ended_at": None} | {name: row[name] for name in ("since", "due_at", "facts")}
        another = (cls.since != begun.excluded.since) | (cls.facts != begun.excluded.facts)
        session.execute(begun.on_conflict_do_update(index_elements=["kind", "about"], set_=renewed, where=another))

    @classmethod
    def end_checkout(cls, session: Session, order_id: UUID, *, user_id: UUID, at: datetime) -> None:
        """End the reminders of a checkout, also where its beginning has not arrived yet."""
        kind = ABANDONED_CHECKOUT
        ended = insert(cls).values(
            kind=kind, about=order_id, user_id=user_id, since=at, due_at=None, ended_at=at, facts={}
        )
        over = {"due_at": None, "ended_at": func.coalesce(cls.ended_at, at)}
        session.execute(ended.on_conflict_do_update(index_elements=["kind", "about"], set_=over))

    @classmethod
    def begin_checkout(cls, session: Session, order_id: UUID, **row: Any) -> None:
        """Remind of a checkout. One that is known already, or over, stays as it is."""
        begun = insert(cls).values(kind=ABANDONED_CHECKOUT, about=order_id, **row)
        session.execute(begun.on_conflict_do_nothing(index_elements=["kind", "about"]))

    @classmethod
    def forget_checkout(cls, session: Session, order_id: str) -> None:
        """Take away what is known of a checkout, for a rebuild."""
        session.execute(delete(cls).where(cls.kind == ABANDONED_CHECKOUT, cls.about == UUID(order_id)))

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


def outdated(at: datetime) -> dict[type[Base], ColumnElement[bool]]:
    """By table, what nobody is reminded of any more by ``at``, and what need not be remembered."""
    before = at - KEPT
    return {
        Learning: Learning.ended_at < before,
        Wait: (Wait.kind == ABANDONED_CHECKOUT) & (Wait.since < before),
        Reminder: Reminder.local_day < before.date(),
    }


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
