"""Playback positions, so that learners can resume a lesson where they stopped."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKeyConstraint, case, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base


class PlaybackPosition(Base):
    """A learner's playback position. ``position_seconds`` is the latest one, ``furthest_seconds`` never decreases."""

    __tablename__ = "positions"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    course_id: Mapped[UUID] = mapped_column(primary_key=True)
    lesson_id: Mapped[UUID] = mapped_column(primary_key=True)
    position_seconds: Mapped[int]
    furthest_seconds: Mapped[int]
    moved_at: Mapped[datetime]

    __table_args__ = (
        ForeignKeyConstraint(
            ["user_id", "course_id"], ["progress.course_progress.user_id", "progress.course_progress.course_id"]
        ),
        {"schema": "progress"},
    )

    @classmethod
    def upsert(
        cls, session: Session, *, user_id: UUID, course_id: UUID, lesson_id: UUID, position_seconds: int, at: datetime
    ) -> dict[str, Any]:
        """Store a position and return the view. An outdated position only updates ``furthest_seconds``."""
        row = {
            "user_id": user_id,
            "course_id": course_id,
            "lesson_id": lesson_id,
            "position_seconds": position_seconds,
            "furthest_seconds": position_seconds,
            "moved_at": at,
        }
        stored = session.connection().execute(_UPSERT, row).one()
        return {"lesson_id": lesson_id, **stored._asdict()}

    @classmethod
    def get(cls, session: Session, user_id: UUID, course_id: UUID, lesson_id: UUID) -> dict[str, Any]:
        """Return a learner's position in a lesson; 0 if they have never played it."""
        position = session.get(cls, (user_id, course_id, lesson_id))
        return position.to_response() if position else {**_BEGINNING, "lesson_id": lesson_id}

    @classmethod
    def list_for_user(cls, session: Session, user_id: UUID) -> list[dict[str, Any]]:
        theirs = session.scalars(select(cls).where(cls.user_id == user_id).order_by(cls.moved_at))
        return [{"course_id": each.course_id, **each.to_response()} for each in theirs]

    @classmethod
    def erase(cls, session: Session, user_id: UUID) -> int:
        """Delete the positions of a learner; return their number."""
        return len(session.scalars(delete(cls).where(cls.user_id == user_id).returning(cls.lesson_id)).all())

    def to_response(self) -> dict[str, Any]:
        """Return the response of GET /v1/courses/{id}/lessons/{lid}/position."""
        return {
            "lesson_id": self.lesson_id,
            "position_seconds": self.position_seconds,
            "furthest_seconds": self.furthest_seconds,
            "moved_at": self.moved_at,
        }


# Built once: building a statement takes longer than executing it.
_NEW = insert(PlaybackPosition)
_UPSERT = _NEW.on_conflict_do_update(
    index_elements=["user_id", "course_id", "lesson_id"],
    set_={
        "position_seconds": case(
            (_NEW.excluded.moved_at < PlaybackPosition.moved_at, PlaybackPosition.position_seconds),
            else_=_NEW.excluded.position_seconds,
        ),
        "furthest_seconds": func.greatest(PlaybackPosition.furthest_seconds, _NEW.excluded.furthest_seconds),
        "moved_at": func.greatest(PlaybackPosition.moved_at, _NEW.excluded.moved_at),
    },
).returning(PlaybackPosition.position_seconds, PlaybackPosition.furthest_seconds, PlaybackPosition.moved_at)

_BEGINNING = {"position_seconds": 0, "furthest_seconds": 0, "moved_at": None}
