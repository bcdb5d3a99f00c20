"""Courses on sale: a projection of the courses service's events."""

from uuid import UUID

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base


class CourseSale(Base):
    """Whether a course is on sale; a prerequisite that is not on sale is not enforced."""

    __tablename__ = "course_sales"
    __table_args__ = ({"schema": "progress"},)

    course_id: Mapped[UUID] = mapped_column(primary_key=True)
    on_sale: Mapped[bool]
    version: Mapped[int]  # of the last applied event of the course

    @classmethod
    def apply(cls, session: Session, course_id: UUID, *, on_sale: bool, version: int | None) -> None:
        """Store whether a course is on sale. An event older than the last applied one is ignored."""
        row = insert(cls).values(course_id=course_id, on_sale=on_sale, version=version or 0)
        changed = {"on_sale": on_sale} | ({} if version is None else {"version": version})
        is_newer = None if version is None else cls.version < row.excluded.version
        session.execute(row.on_conflict_do_update(index_elements=["course_id"], set_=changed, where=is_newer))

    @classmethod
    def clear(cls, session: Session, course_id: str) -> None:
        """Delete the row of a course, for a rebuild of the projection."""
        session.execute(delete(cls).where(cls.course_id == UUID(course_id)))
