"""Moves of learners to a newly published version, page by page."""

from datetime import datetime
from typing import Self
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.bus.outbox import record
from core.db import Base

from .completed_lessons import CompletedLesson
from .course_progress import CourseProgress
from .outline import Outline

_FIRST = UUID(int=0)


class VersionMove(Base):
    """A course whose learners are being moved to a version. The row is deleted after the last page."""

    __tablename__ = "version_moves"
    __table_args__ = ({"schema": "progress"},)

    course_id: Mapped[UUID] = mapped_column(primary_key=True)
    course_version: Mapped[int]
    after_user_id: Mapped[UUID]  # the last learner who was moved
    requested_at: Mapped[datetime]

    @classmethod
    def request(cls, session: Session, course_id: UUID, course_version: int, *, at: datetime) -> None:
        """Request the move of all learners of older versions; a move to an older version begins again."""
        row = insert(cls).values(
            course_id=course_id, course_version=course_version, after_user_id=_FIRST, requested_at=at
        )
        newer = {"course_version": row.excluded.course_version, "after_user_id": _FIRST, "requested_at": at}
        session.execute(
            row.on_conflict_do_update(
                index_elements=["course_id"],
                set_=newer,
                where=cls.course_version < row.excluded.course_version,
            )
        )

    @classmethod
    def find_oldest_for_update(cls, session: Session) -> Self | None:
        """Return the move that was requested first, locked; None if there is none or another worker has it."""
        oldest = select(cls).order_by(cls.requested_at, cls.course_id).limit(1).with_for_update(skip_locked=True)
        return session.scalars(oldest).one_or_none()

    def move_page(self, session: Session, *, limit: int, at: datetime) -> list[UUID]:
        """Move the next ``limit`` learners and return their ids; delete the move after the last page."""
        outline = session.get_one(Outline, (self.course_id, self.course_version))
        learners = list(
            session.scalars(
                select(CourseProgress)
                .where(CourseProgress.course_id == self.course_id, CourseProgress.user_id > self.after_user_id)
                .order_by(CourseProgress.user_id)
                .limit(limit)
                .with_for_update()
                .execution_options(populate_existing=True)
            )
        )
        if not learners:
            session.delete(self)
            return []
        older = [each for each in learners if each.course_version < self.course_version]
        move_learners(session, older, outline, at=at)
        self.after_user_id = learners[-1].user_id
        return [each.user_id for each in older]


def move_learners(session: Session, learners: list[CourseProgress], outline: Outline, *, at: datetime) -> None:
    """Move locked learners of one course to another version, with the lessons that they have completed in it."""
    completed = CompletedLesson.list_ids_by_user(session, [each.user_id for each in learners], outline.course_id)
    for learner in learners:
        record(session, learner, *learner.move_to(outline, completed.get(learner.user_id, set()), at=at))
