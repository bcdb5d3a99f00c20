"""Sums of facts by day and in total, of a course, a lesson or the whole shop; and how far the event log is counted."""

from collections.abc import Iterator
from datetime import date
from typing import Any, Self
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base

from .event_log import EventLogEntry
from .facts import NO_ID

_TOTAL = text("day = '-infinity'")  # which Python's date cannot represent


class Statistic(Base):
    """A sum. Only the trigger of the facts writes it."""

    __tablename__ = "statistics"
    __table_args__ = ({"schema": "integrations"},)

    course_id: Mapped[UUID] = mapped_column(primary_key=True)
    lesson_id: Mapped[UUID] = mapped_column(primary_key=True)
    metric: Mapped[str] = mapped_column(primary_key=True)
    currency: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    value: Mapped[int]

    @classmethod
    def list_days(cls, session: Session, course_id: UUID, *, since: date, until: date) -> list[tuple[Any, ...]]:
        """Return (day, metric, currency, value) of a course, or of the shop, for the days since … until."""
        found = select(cls.day, cls.metric, cls.currency, cls.value).where(
            cls.course_id == course_id, cls.lesson_id == NO_ID, cls.day >= since, cls.day <= until, cls.value != 0
        )
        return [tuple(row) for row in session.execute(found)]

    @classmethod
    def list_totals(cls, session: Session, course_id: UUID) -> list[tuple[Any, ...]]:
        """Return (lesson_id, metric, currency, value) of a course and its lessons, or of the shop, in total."""
        found = select(cls.lesson_id, cls.metric, cls.currency, cls.value).where(cls.course_id == course_id, _TOTAL)
        return [tuple(row) for row in session.execute(found.where(cls.value != 0))]


class StatisticsCursor(Base):
    """The position in the event log up to which facts are stored. One row."""

    __tablename__ = "statistics_cursor"
    __table_args__ = ({"schema": "integrations"},)

    id: Mapped[int] = mapped_column(primary_key=True)
    position: Mapped[int]

    @classmethod
    def get_for_update(cls, session: Session) -> Self:
        """Return the row, locked; created at the start of the log if there is none."""
        session.execute(insert(cls).values(id=1, position=0).on_conflict_do_nothing())
        return session.get_one(cls, 1, with_for_update=True, populate_existing=True)

    def next_entries(self, session: Session, types: frozenset[str], *, limit: int) -> Iterator[EventLogEntry]:
        """Yield the entries of these types among the next ``limit`` positions, and advance. None at the end."""
        wanted = select(EventLogEntry.position).where(EventLogEntry.position > self.position)
        positions = list(session.scalars(wanted.order_by(EventLogEntry.position).limit(limit)))
        if not positions:
            return
        entries = select(EventLogEntry).where(
            EventLogEntry.position > self.position,
            EventLogEntry.position <= positions[-1],
            EventLogEntry.type.in_(types),
        )
        self.position = positions[-1]
        yield from session.scalars(entries.order_by(EventLogEntry.position))
