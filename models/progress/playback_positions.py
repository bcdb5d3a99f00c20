"""Playback positions, so that learners can resume a lesson where they stopped."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    DateTime,
    ForeignKeyConstraint,
    Uuid,
    bindparam,
    delete,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import INT4MULTIRANGE
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
    # The parts that were watched; None: up to furthest_seconds, as it was counted before version 0.2.
    watched: Mapped[Any] = mapped_column(INT4MULTIRANGE, nullable=True, deferred=True)

    __table_args__ = (
        ForeignKeyConstraint(
            ["user_id", "course_id"], ["progress.course_progress.user_id", "progress.course_progress.course_id"]
        ),
        {"schema": "progress"},
    )

    @classmethod
    def upsert(
        cls,
        session: Session,
        *,
        user_id: UUID,
        course_id: UUID,
        lesson_id: UUID,
        position_seconds: int,
        from_seconds: int,
        at: datetime,
    ) -> dict[str, Any]:
        """Store a position and the part watched up to it; return the view with ``watched_seconds``.

        An outdated position only adds to ``furthest_seconds`` and to the watched parts; one before the lesson was
        reopened does not add to those.
        """
        row = {
            "user_id": user_id,
            "course_id": course_id,
            "lesson_id": lesson_id,
            "position_seconds": position_seconds,
            "from_seconds": from_seconds,
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

    @classmethod
    def reset_watched(cls, session: Session, user_id: UUID, course_id: UUID, lesson_id: UUID) -> None:
        """Forget what a learner has watched of a lesson, but not the position."""
        key = (cls.user_id == user_id, cls.course_id == course_id, cls.lesson_id == lesson_id)
        session.execute(update(cls).where(*key).values(watched=_NOTHING))

    def to_response(self) -> dict[str, Any]:
        """Return the response of GET /v1/courses/{id}/lessons/{lid}/position."""
        return {
            "lesson_id": self.lesson_id,
            "position_seconds": self.position_seconds,
            "furthest_seconds": self.furthest_seconds,
            "moved_at": self.moved_at,
        }


# Built once: building a statement takes longer than executing it.
_UPSERT = text("""
    INSERT INTO progress.positions AS stored
        (user_id, course_id, lesson_id, position_seconds, furthest_seconds, moved_at, watched)
    SELECT :user_id, :course_id, :lesson_id, :position_seconds, :position_seconds, :moved_at,
        CASE WHEN EXISTS (
            SELECT FROM progress.reopened_lessons AS reopened
            WHERE reopened.user_id = :user_id AND reopened.course_id = :course_id AND reopened.lesson_id = :lesson_id
                AND reopened.reopened_at >= :moved_at
        ) THEN '{}'::int4multirange ELSE int4multirange(int4range(:from_seconds, :position_seconds)) END
    ON CONFLICT (user_id, course_id, lesson_id) DO UPDATE SET
        position_seconds = CASE
            WHEN (excluded.moved_at, excluded.position_seconds) < (stored.moved_at, stored.position_seconds)
            THEN stored.position_seconds ELSE excluded.position_seconds END,
        furthest_seconds = greatest(stored.furthest_seconds, excluded.furthest_seconds),
        moved_at = greatest(stored.moved_at, excluded.moved_at),
        watched = excluded.watched
            + coalesce(stored.watched, int4multirange(int4range(0, stored.furthest_seconds::integer)))
    RETURNING position_seconds, furthest_seconds, moved_at,
        (SELECT coalesce(sum(upper(part) - lower(part)), 0) FROM unnest(watched) AS part)::bigint AS watched_seconds
""").bindparams(
    bindparam("user_id", type_=Uuid),
    bindparam("course_id", type_=Uuid),
    bindparam("lesson_id", type_=Uuid),
    bindparam("moved_at", type_=DateTime(timezone=True)),
)

_NOTHING: ColumnElement[Any] = literal_column("'{}'::int4multirange")
_BEGINNING = {"position_seconds": 0, "furthest_seconds": 0, "moved_at": None}
