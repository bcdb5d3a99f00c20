"""Slugs of courses: the names in URLs."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base
from models.errors import SlugTaken


class Slug(Base):
    """A present or former slug of a course. A trigger of the table of courses inserts it; it is never deleted."""

    __tablename__ = "slugs"
    __table_args__ = ({"schema": "courses"},)

    slug: Mapped[str] = mapped_column(primary_key=True)
    course_id: Mapped[UUID]

    @classmethod
    def list_for_course(cls, session: Session, course_id: UUID) -> list[str]:
        """Return the present and the former slugs of a course."""
        return list(session.scalars(select(cls.slug).where(cls.course_id == course_id)))


def flush_slug(session: Session, slug: str) -> None:
    """Flush a course with a new slug. Raises SlugTaken if another course has or had that slug."""
    try:
        session.flush()
    except IntegrityError as error:
        if getattr(error.orig, "diag", None) and error.orig.diag.constraint_name == "uq_courses_slug":  # type: ignore[union-attr]
            raise SlugTaken(slug) from error
        raise
