"""Reviews of courses: one per learner and course."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from sqlalchemy import UniqueConstraint, delete, func, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base, new_id
from models.commands.courses import ReviewCursor
from models.errors import NotFound


class Review(Base):
    __tablename__ = "reviews"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    course_id: Mapped[UUID]
    user_id: Mapped[UUID]
    rating: Mapped[int]  # 1 to 5
    text: Mapped[str]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    reply: Mapped[str | None]  # of an instructor
    replied_at: Mapped[datetime | None]
    hidden_at: Mapped[datetime | None]  # by staff: not shown and not counted, also after the learner has changed it
    hidden_reason: Mapped[str | None]
    deleted_at: Mapped[datetime | None]  # by the learner while it was hidden: kept, so that a new text is hidden too

    __table_args__ = (UniqueConstraint("course_id", "user_id"), {"schema": "courses"})

    @classmethod
    def upsert(cls, session: Session, *, course_id: UUID, user_id: UUID, rating: int, text: str, at: datetime) -> Self:
        """Insert the learner's review of a course, or replace the existing one."""
        fields = {"rating": rating, "text": text, "updated_at": at, "deleted_at": None}
        row = insert(cls).values(id=new_id(), course_id=course_id, user_id=user_id, created_at=at, **fields)
        written = row.on_conflict_do_update(index_elements=["course_id", "user_id"], set_=fields).returning(cls)
        return session.scalars(written, execution_options={"populate_existing": True}).one()

    @classmethod
    def list_page(
        cls, session: Session, course_id: UUID, after: ReviewCursor | None, limit: int, *, hidden: bool = False
    ) -> tuple[list[Self], ReviewCursor | None]:
        """Return up to ``limit`` reviews of a course, newest first, and the next cursor if there are more.

        Those that are shown, or with ``hidden`` the others.
        """
        is_listed = cls.hidden_at.is_not(None) if hidden else cls.hidden_at.is_(None)
        wanted = select(cls).where(cls.course_id == course_id, is_listed)
        if after:
            wanted = wanted.where(tuple_(cls.created_at, cls.id) < (after.created_at, after.review_id))
        rows = list(session.scalars(wanted.order_by(cls.created_at.desc(), cls.id.desc()).limit(limit + 1)))
        if len(rows) <= limit:
            return rows, None
        last = rows[limit - 1]
        return rows[:limit], ReviewCursor(last.created_at, last.id)

    @classmethod
    def find_own(cls, session: Session, course_id: UUID, user_id: UUID) -> Self:
        """Return the review of a learner, also if it is hidden. Raises NotFound."""
        theirs = (cls.course_id == course_id, cls.user_id == user_id, cls.deleted_at.is_(None))
        review = session.scalars(
            select(cls).where(*theirs), execution_options={"populate_existing": True}
        ).one_or_none()
        if review is None:
            raise NotFound("review", str(course_id))
        return review

    @classmethod
    def get(cls, session: Session, course_id: UUID, review_id: UUID, *, for_update: bool = False) -> Self:
        """Return a review of a course. Lock the enrollment of its learner before the review. Raises NotFound."""
        review = session.get(cls, review_id, with_for_update=for_update or None, populate_existing=for_update)
        if review is None or review.course_id != course_id:
            raise NotFound("review", str(review_id))
        return review

    def delete(self, session: Session, *, at: datetime) -> None:
        """Delete the review of a learner. A hidden one loses its text and stays hidden, whatever is written next."""
        if self.hidden_at is None:
            session.delete(self)
            return
        self.text, self.reply, self.replied_at, self.deleted_at = "", None, None, at

    @classmethod
    def list_for_user(cls, session: Session, user_id: UUID) -> list[dict[str, Any]]:
        theirs = session.scalars(select(cls).where(cls.user_id == user_id).order_by(cls.created_at))
        return [{"course_id": each.course_id, **each.to_response()} for each in theirs]

    @classmethod
    def list_replies(cls, session: Session, course_ids: Collection[UUID]) -> list[dict[str, Any]]:
        """Return the replies of instructors to the reviews of these courses, without the reviews."""
        replied = select(cls).where(cls.course_id.in_(course_ids), cls.reply.is_not(None))
        rows = session.scalars(replied.order_by(cls.replied_at, cls.id))
        return [{"course_id": each.course_id, "text": each.reply, "replied_at": each.replied_at} for each in rows]

    @classmethod
    def erase(cls, session: Session, user_id: UUID) -> list[UUID]:
        """Delete the reviews of a user; return the ids of the reviewed courses."""
        return list(session.scalars(delete(cls).where(cls.user_id == user_id).returning(cls.course_id)))

    def to_response(self) -> dict[str, Any]:
        """Return an item of GET /v1/courses/{id}/reviews, without the author."""
        return {
            "id": self.id,
            "rating": self.rating,
            "text": self.text,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "reply": self.reply and {"text": self.reply, "replied_at": self.replied_at},
            "hidden": self.hidden_at and {"reason": self.hidden_reason, "hidden_at": self.hidden_at},
        }


@dataclass(frozen=True)
class Rating:
    """The aggregated rating of a course."""

    count: int
    hundredths: int  # average rating times 100; 0 without reviews

    @classmethod
    def calculate(cls, session: Session, course_id: UUID) -> Self:
        average = func.coalesce(func.round(func.avg(Review.rating) * 100), 0)
        shown = (Review.course_id == course_id, Review.hidden_at.is_(None))
        count, hundredths = session.execute(select(func.count(), average).where(*shown)).one()
        return cls(count, int(hundredths))
