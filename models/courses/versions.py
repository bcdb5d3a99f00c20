"""Published versions of courses: immutable snapshots of the outline and of the contents of the lessons."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from sqlalchemy import ForeignKey, ForeignKeyConstraint, bindparam, inspect, select
from sqlalchemy.orm import Mapped, Session, mapped_column, relationship, selectinload

from core.db import Base
from models.errors import NotFound
from models.events import CoursePublished

from .course import Course, Presentation
from .outline import Lesson, Section, counts, to_published_sections


class PublishedLesson(Base):
    """A lesson of a published version, with its content. Immutable."""

    __tablename__ = "published_lessons"

    course_id: Mapped[UUID] = mapped_column(primary_key=True)
    lesson_id: Mapped[UUID] = mapped_column(primary_key=True)
    course_version: Mapped[int] = mapped_column(primary_key=True)
    lesson: Mapped[dict[str, Any]]  # Lesson.to_dict()

    __table_args__ = (
        ForeignKeyConstraint(
            ["course_id", "course_version"],
            ["courses.course_versions.course_id", "courses.course_versions.course_version"],
        ),
        {"schema": "courses"},
    )

    @classmethod
    def get_latest(
        cls, session: Session, course_id: UUID, lesson_id: UUID, *, preferred_version: int | None = None
    ) -> Self:
        """Return the lesson from ``preferred_version``, else from the newest version that contains it.

        Learners on an older version can so open lessons that a newer version has removed or changed.

        Raises NotFound.
        """
        newest = (
            select(cls)
            .where(cls.course_id == course_id, cls.lesson_id == lesson_id)
            .order_by((cls.course_version == preferred_version).desc(), cls.course_version.desc())
            .limit(1)
        )
        lesson = session.scalars(newest).one_or_none()
        if lesson is None:
            raise NotFound("lesson", str(lesson_id))
        return lesson

    def is_preview_of(self, course: Course) -> bool:
        """Return whether the version on sale marks the lesson as a free preview."""
        is_on_sale = course.on_sale and course.published_version == self.course_version
        return is_on_sale and bool(self.lesson["free_preview"])


class CourseVersion(Presentation, Base):
    """A published version of a course. Immutable."""

    __tablename__ = "course_versions"
    __table_args__ = ({"schema": "courses"},)

    course_id: Mapped[UUID] = mapped_column(ForeignKey("courses.courses.id"), primary_key=True)
    course_version: Mapped[int] = mapped_column(primary_key=True)  # 1, 2, 3 …
    lessons_total: Mapped[int]
    duration_seconds: Mapped[int]
    sections: Mapped[list[dict[str, Any]]]  # the result of Course.outline()
    published_at: Mapped[datetime]

    lessons: Mapped[list[PublishedLesson]] = relationship(lazy="raise")

    @classmethod
    def get_on_sale(cls, session: Session, ref: str) -> tuple[Course, Self]:
        """Return a course by id or slug, with its version on sale. Raises NotFound if it is not on sale."""
        found = session.execute(
            select(Course, cls)
            .join(cls, (cls.course_id == Course.id) & (cls.course_version == Course.published_version))
            .where(Course.matches_ref(ref), Course.status == "published")
        ).one_or_none()
        if found is None:
            raise NotFound("course", ref)
        course, version = found
        return course, version

    @classmethod
    def get_title_and_price(cls, session: Session, course_id: UUID) -> tuple[str, int]:
        """Return the title and ``price_minor`` of a course on sale, without its outline. Raises NotFound."""
        found = session.execute(_TITLE_AND_PRICE, {"course": course_id}).one_or_none()
        if found is None:
            raise NotFound("course", str(course_id))
        title, price_minor = found
        return title, price_minor

    @classmethod
    def list_titles(cls, session: Session, course_ids: Collection[UUID]) -> dict[UUID, str]:
        """Return the titles of the newest versions of courses by course id."""
        newest_last = select(cls.course_id, cls.title).where(cls.course_id.in_(course_ids)).order_by(cls.course_version)
        return {row.course_id: row.title for row in session.execute(newest_last)}

    @classmethod
    def require_published(cls, session: Session, course_id: UUID) -> None:
        """Raise NotFound if no version of the course was published."""
        if session.scalar(select(cls.course_version).where(cls.course_id == course_id).limit(1)) is None:
            raise NotFound("course", str(course_id))

    @classmethod
    def get_latest(cls, session: Session, course_id: UUID) -> Self:
        """Return the newest version of a course, on sale or not. Raises NotFound if none was published."""
        version = cls.find_latest(session, course_id)
        if version is None:
            raise NotFound("course", str(course_id))
        return version

    @classmethod
    def find_latest(cls, session: Session, course_id: UUID) -> Self | None:
        """Return the newest version of a course, on sale or not; None if none was published."""
        newest = select(cls).where(cls.course_id == course_id).order_by(cls.course_version.desc()).limit(1)
        return session.scalars(newest).one_or_none()

    @classmethod
    def list_page(cls, session: Session, course_id: UUID, *, after: int | None, limit: int) -> list[Self]:
        """Return up to ``limit`` versions of a course below version ``after``, newest first."""
        versions = select(cls).where(cls.course_id == course_id).order_by(cls.course_version.desc()).limit(limit)
        return list(session.scalars(versions.where(cls.course_version < after) if after else versions))

    @classmethod
    def get_by_version(cls, session: Session, course_id: UUID, course_version: int) -> Self:
        """Return a version with the contents of its lessons. Raises NotFound."""
        contents = [selectinload(cls.lessons)]
        version = session.get(cls, (course_id, course_version), options=contents, populate_existing=True)
        if version is None:
            raise NotFound("version", str(course_version))
        return version

    def restore(self, course: Course) -> None:
        """Copy this version to the working copy, whose outline must be empty.

        Sections and lessons keep their ids, so that learners keep their progress.
        """
        for name, value in self.description_fields().items():
            setattr(course, name, value)
        course.description, course.sequential = self.description, self.sequential
        course.prerequisites = list(self.prerequisites)
        contents = {published.lesson["id"]: published.lesson for published in self.lessons}
        for section in self.sections:
            lessons = [Lesson.from_dict(contents[lesson["id"]]) for lesson in section["lessons"]]
            position, title = section["position"], section["title"]
            course.sections.append(Section(id=UUID(section["id"]), title=title, position=position, lessons=lessons))

    @classmethod
    def create(cls, course: Course, *, at: datetime) -> Self:
        """Create the version of a course that was just published. The contents of its lessons must be loaded."""
        sections = course.outline()
        return cls(
            **course.description_fields(),
            **counts(sections),
            course_id=course.id,
            course_version=course.published_version,
            description=course.description,
            sequential=course.sequential,
            prerequisites=course.prerequisites,
            sections=sections,
            published_at=at,
            lessons=[PublishedLesson(lesson_id=lesson.id, lesson=lesson.to_dict()) for lesson in course.lessons()],
        )

    def equals(self, course: Course) -> bool:
        """Return whether the working copy equals this version. The contents of all lessons must be loaded."""
        copy = self.create(course, at=self.published_at)
        columns = set(inspect(CourseVersion).column_attrs.keys())
        return all(getattr(self, name) == getattr(copy, name) for name in columns) and (
            {each.lesson_id: each.lesson for each in self.lessons}
            == {each.lesson_id: each.lesson for each in copy.lessons}
        )

    def to_response(self, course: Course) -> dict[str, Any]:
        """Return the public view: this version, at the current price."""
        return course.build_response(self, self.sections)

    def published_event(self, course: Course, *, learners: str = "keep") -> CoursePublished:
        return CoursePublished(
            course_id=self.course_id,
            course_version=self.course_version,
            slug=course.slug,
            title=self.title,
            instructor_id=course.instructor_id,
            price_minor=course.price_minor,
            currency=course.currency,
            sequential=self.sequential,
            sections=to_published_sections(self.sections),
            published_at=self.published_at,
            prerequisites=self.prerequisites,
            learners=learners,
        )

    def to_list_item(self, course: Course) -> dict[str, Any]:
        """Return an item of the course's version history."""
        return {
            "course_version": self.course_version,
            **self.description_fields(),
            "lessons_total": self.lessons_total,
            "duration_seconds": self.duration_seconds,
            "published_at": self.published_at,
            "on_sale": course.on_sale and course.published_version == self.course_version,
        }

    def lesson_ids(self) -> list[str]:
        """Return the ids of the lessons in order."""
        return [lesson["id"] for section in self.sections for lesson in section["lessons"]]


# Built once: building a statement takes longer than executing it.
_TITLE_AND_PRICE = (
    select(CourseVersion.title, Course.price_minor)
    .join(Course, (Course.id == CourseVersion.course_id) & (Course.published_version == CourseVersion.course_version))
    .where(Course.id == bindparam("course"), Course.status == "published")
)
