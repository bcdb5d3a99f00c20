"""Announcements of a course to its learners. They are sent in pages, so that a large course blocks nothing."""

from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID

from sqlalchemy import Index, Select, func, select, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Aggregate, Base, new_id
from models.errors import NotFound
from models.events import CourseAnnounced

from .enrollments import Enrollment, active_at

_DAY = timedelta(days=1)


class Announcement(Aggregate, Base):
    """A message of an instructor or of staff to the learners who had access when it was created."""

    __tablename__ = "announcements"
    __table_args__ = (
        Index("ix_announcements_course_id", "course_id", "created_at"),
        Index("ix_announcements_unfinished", "created_at", postgresql_where=text("finished_at IS NULL")),
        {"schema": "courses"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    course_id: Mapped[UUID]
    author_id: Mapped[UUID]
    course_title: Mapped[str]
    subject: Mapped[str]
    body: Mapped[str]
    created_at: Mapped[datetime]
    recipients_total: Mapped[int]
    recipients_done: Mapped[int] = mapped_column(default=0)
    last_user_id: Mapped[UUID | None]  # the last learner of the page that was published last
    finished_at: Mapped[datetime | None]

    @classmethod
    def create(
        cls,
        session: Session,
        *,
        course_id: UUID,
        course_title: str,
        author_id: UUID,
        subject: str,
        body: str,
        at: datetime,
    ) -> Self:
        """Create an announcement for the learners who have access now."""
        announcement = cls(
            id=new_id(),
            version=0,
            course_id=course_id,
            course_title=course_title,
            author_id=author_id,
            subject=subject,
            body=body,
            created_at=at,
            recipients_done=0,
        )
        learners = announcement._recipients(at).subquery()
        announcement.recipients_total = session.scalar(select(func.count()).select_from(learners)) or 0
        return announcement

    @classmethod
    def count_of_day(cls, session: Session, course_id: UUID, *, at: datetime) -> int:
        """Return the number of announcements of a course in the last 24 hours."""
        recent = select(func.count()).where(cls.course_id == course_id, cls.created_at > at - _DAY)
        return session.scalar(recent) or 0

    @classmethod
    def get(cls, session: Session, course_id: UUID, announcement_id: UUID) -> Self:
        """Return an announcement of a course. Raises NotFound."""
        found = session.get(cls, announcement_id)
        if found is None or found.course_id != course_id:
            raise NotFound("announcement", str(announcement_id))
        return found

    @classmethod
    def list_page(
        cls, session: Session, course_id: UUID, *, after: UUID | None, limit: int
    ) -> tuple[list[Self], UUID | None]:
        """Return up to ``limit`` announcements of a course, the newest first, and the next cursor if there are more."""
        wanted = select(cls).where(cls.course_id == course_id)
        if after:
            wanted = wanted.where(cls.id < after)
        found = list(session.scalars(wanted.order_by(cls.id.desc()).limit(limit + 1)))
        return found[:limit], found[limit - 1].id if len(found) > limit else None

    @classmethod
    def find_oldest_for_update(cls, session: Session) -> Self | None:
        """Return the oldest announcement that is not sent to all learners, locked; None if there is none."""
        unfinished = select(cls).where(cls.finished_at.is_(None)).order_by(cls.created_at).limit(1)
        return session.scalars(unfinished.with_for_update(skip_locked=True)).one_or_none()

    def next_page(self, session: Session, *, limit: int, at: datetime) -> CourseAnnounced | None:
        """Return the event for the next learners; None, and finish, if there are no more."""
        learners = self._recipients(at)  # those who have lost access since get nothing
        if self.last_user_id:
            learners = learners.where(Enrollment.user_id > self.last_user_id)
        user_ids = list(session.scalars(learners.order_by(Enrollment.user_id).limit(limit)))
        if not user_ids:
            self.finished_at = at
            return None
        self.last_user_id = user_ids[-1]
        self.recipients_done += len(user_ids)
        return CourseAnnounced(
            announcement_id=self.id,
            course_id=self.course_id,
            course_title=self.course_title,
            subject=self.subject,
            body=self.body,
            user_ids=user_ids,
            announced_at=self.created_at,
        )

    def _recipients(self, at: datetime) -> Select[UUID]:
        theirs = select(Enrollment.user_id).where(
            Enrollment.course_id == self.course_id, Enrollment.enrolled_at <= self.created_at
        )
        return theirs.where(active_at(at))

    def to_response(self) -> dict[str, Any]:
        """Return the response of GET /v1/courses/{id}/announcements/{id}."""
        return {
            "id": self.id,
            "course_id": self.course_id,
            "author_id": self.author_id,
            "subject": self.subject,
            "body": self.body,
            "status": "sent" if self.finished_at else "sending",
            "recipients_total": self.recipients_total,
            "recipients_done": self.recipients_done,
            "created_at": self.created_at,
            "finished_at": self.finished_at,
        }
