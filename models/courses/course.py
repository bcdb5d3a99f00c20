"""A course: its author's working copy, and the version of it that is on sale."""

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any, Self, TypedDict
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, Text, Uuid, select, tuple_
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, Session, mapped_column, relationship, selectinload

import settings
from models.base import Aggregate, Base, new_id
from models.errors import (
    CourseEmpty,
    NotFound,
    OutlineIncomplete,
    OwnPrerequisite,
    PreconditionFailed,
    SectionNotEmpty,
    TooManyLessons,
    TooManySections,
)
from models.events import CourseArchived, CourseCreated, CourseUpdated

from .outline import Lesson, LessonFields, Section, counts


class Caller(msgspec.Struct, frozen=True):
    """Who asks; ``admin`` stands for the permission courses:admin."""

    user_id: UUID
    admin: bool = False


class Price(TypedDict):
    amount_minor: int
    currency: str


class CourseFields(TypedDict, total=False):
    """What an author says of a course; what is left out stays as it is."""

    title: str
    summary: str
    description: str
    category: str
    level: str
    language: str
    tags: list[str]
    sequential: bool
    price: Price


class PlannedSection(msgspec.Struct, kw_only=True):
    """A section of a new order: one that is there, by its id, or a new one, by its title."""

    id: UUID | None = None
    title: str | None = None
    lessons: list[UUID]


class CoursePosition(msgspec.Struct, array_like=True):
    """The last item of a page: what the next one begins after."""

    created_at: datetime
    course_id: UUID


class Described:
    """How a course presents itself: in the working copy, in each published version and in the catalogue."""

    title: Mapped[str]
    summary: Mapped[str]
    category: Mapped[str]
    level: Mapped[str]
    language: Mapped[str]
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text))

    def description_of(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("title", "summary", "category", "level", "language", "tags")}


class Presentation(Described):
    """All that a course says of itself, beside its outline."""

    description: Mapped[str] = mapped_column(default="")
    sequential: Mapped[bool] = mapped_column(default=False)  # lessons are learned in their order
    prerequisites: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid))  # courses to complete first


class Course(Presentation, Aggregate, Base):
    """The working copy. Learners see of it what was published last, at the price of now."""

    __tablename__ = "courses"
    __table_args__ = ({"schema": "courses"},)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(unique=True)
    instructor_id: Mapped[UUID]
    status: Mapped[str] = mapped_column(default="draft")  # draft, published, archived
    price_minor: Mapped[int]
    currency: Mapped[str]
    published_version: Mapped[int | None]
    published_at: Mapped[datetime | None]  # for the first time
    created_at: Mapped[datetime]

    sections: Mapped[list[Section]] = relationship(
        lazy="raise", order_by=Section.position, cascade="all, delete-orphan"
    )

    @classmethod
    def draft(cls, fields: CourseFields, *, id: UUID, slug: str, instructor_id: UUID, at: datetime) -> Self:  # noqa: A002 the column's name
        """A new course, seen by its author alone."""
        course = cls(
            id=id,
            version=0,
            slug=slug,
            instructor_id=instructor_id,
            status="draft",
            description="",
            sequential=False,
            prerequisites=[],
            tags=[],
            sections=[],
            created_at=at,
        )
        course.change(fields)
        return course

    @classmethod
    def find(cls, session: Session, ref: str, *, outline: bool = False) -> Self:
        """The course with this id or slug, on sale or not, read only. Raises NotFound."""
        options = [selectinload(cls.sections).selectinload(Section.lessons)] if outline else []
        course = session.scalars(select(cls).where(cls.named(ref)).options(*options)).one_or_none()
        if course is None:
            raise NotFound("course", ref)
        return course

    @classmethod
    def own(cls, session: Session, ref: str, caller: Caller, *, contents: bool = False) -> Self:
        """A course that the caller may change, locked, with its outline; ``contents`` loads its lessons' contents too.

        Raises NotFound, for another's course as well.
        """
        outline = selectinload(cls.sections).selectinload(Section.lessons)
        course = session.scalars(
            select(cls)
            .where(cls.named(ref))
            # Enrollments refer to the row's key, which stays: they need not wait.
            .with_for_update(key_share=True)
            .options(outline.undefer(Lesson.content) if contents else outline)
            .execution_options(populate_existing=True)
        ).one_or_none()
        if course is None or not course.may_be_changed_by(caller):
            raise NotFound("course", ref)
        return course

    @classmethod
    def page_of(
        cls, session: Session, instructor_id: UUID, after: CoursePosition | None, limit: int
    ) -> tuple[list[Self], CoursePosition | None]:
        """An instructor's next courses, the newest first, and the position of the last one where more follow."""
        wanted = select(cls).where(cls.instructor_id == instructor_id, cls.status != "archived")
        if after:
            wanted = wanted.where(tuple_(cls.created_at, cls.id) < (after.created_at, after.course_id))
        rows = list(session.scalars(wanted.order_by(cls.created_at.desc(), cls.id.desc()).limit(limit + 1)))
        if len(rows) <= limit:
            return rows, None
        last = rows[limit - 1]
        return rows[:limit], CoursePosition(last.created_at, last.id)

    @classmethod
    def written_by(cls, session: Session, instructor_id: UUID) -> list[Self]:
        """All courses of an instructor, archived ones too, the oldest first."""
        theirs = select(cls).where(cls.instructor_id == instructor_id)
        return list(session.scalars(theirs.order_by(cls.created_at, cls.id)))

    @classmethod
    def named(cls, ref: str) -> ColumnElement[bool]:
        """The condition that a row has this id or slug."""
        try:
            return cls.id == UUID(ref)
        except ValueError:
            return cls.slug == ref

    @classmethod
    def expect_all(cls, session: Session, course_ids: Collection[UUID]) -> None:
        """Raises NotFound where one of them was never published."""
        there = session.scalars(select(cls.id).where(cls.id.in_(course_ids), cls.published_version.is_not(None)))
        for missing in set(course_ids) - set(there):
            raise NotFound("course", str(missing))

    @classmethod
    def on_sale_among(cls, session: Session, course_ids: Collection[UUID]) -> list[UUID]:
        """Return those of the courses that are on sale."""
        if not course_ids:
            return []
        return list(session.scalars(select(cls.id).where(cls.id.in_(course_ids), cls.status == "published")))

    @property
    def on_sale(self) -> bool:
        return self.status == "published"

    def may_be_changed_by(self, caller: Caller) -> bool:
        return self.status != "archived" and (caller.admin or caller.user_id == self.instructor_id)

    def expect(self, version: int) -> None:
        """Refuse a change that its author made upon another version. Raises PreconditionFailed."""
        if version != self.version:
            raise PreconditionFailed("course", str(self.version))

    def change(self, fields: CourseFields) -> None:
        """Take over what is named."""
        for name, value in fields.items():
            if name != "price":
                setattr(self, name, value)
        if price := fields.get("price"):
            self.price_minor, self.currency = price["amount_minor"], price["currency"]

    def add_section(self, title: str) -> Section:
        """Put a new section at the end. Raises TooManySections."""
        if len(self.sections) >= settings.COURSE_SECTIONS_MAX:
            raise TooManySections(settings.COURSE_SECTIONS_MAX)
        return self._new_section(title)

    def _new_section(self, title: str) -> Section:
        section = Section(id=new_id(), title=title, position=len(self.sections) + 1, lessons=[])
        self.sections.append(section)
        return section

    def remove_section(self, section_id: UUID) -> None:
        """Raises NotFound, SectionNotEmpty."""
        section = self.section(section_id)
        if section.lessons:
            raise SectionNotEmpty(str(section_id))
        self.sections.remove(section)
        self._number()

    def add_lesson(self, section_id: UUID, fields: LessonFields) -> Lesson:
        """Put a lesson at the end of a section. Raises NotFound, TooManyLessons, ContentUnfit."""
        section = self.section(section_id)
        if sum(1 for _ in self.lessons()) >= settings.COURSE_LESSONS_MAX:
            raise TooManyLessons(settings.COURSE_LESSONS_MAX)
        lesson = Lesson(id=new_id(), section_id=section_id, position=len(section.lessons) + 1)
        lesson.duration_seconds, lesson.free_preview, lesson.unlock = None, False, None
        lesson.completion = {"rule": "manual"}
        lesson.change(fields)
        section.lessons.append(lesson)
        return lesson

    def move_lesson(self, lesson: Lesson, section_id: UUID) -> None:
        """Put the lesson at the end of another section. Raises NotFound."""
        if lesson.section_id != section_id:
            self._section_of(lesson).lessons.remove(lesson)
            self.section(section_id).lessons.append(lesson)
            lesson.section_id = section_id
            self._number()

    def remove_lesson(self, lesson: Lesson) -> None:
        self._section_of(lesson).lessons.remove(lesson)
        self._number()

    def arrange(self, plan: list[PlannedSection]) -> None:
        """Put all lessons into a new order; sections that the plan does not name go.

        Raises NotFound, TooManySections, OutlineIncomplete where a lesson or section is left out or named twice.
        """
        if len(plan) > settings.COURSE_SECTIONS_MAX:
            raise TooManySections(settings.COURSE_SECTIONS_MAX)
        lessons = {lesson.id: lesson for lesson in self.lessons()}
        planned = [lesson_id for section in plan for lesson_id in section.lessons]
        for lesson_id in planned:
            self.lesson(lesson_id)
        for lesson_id in lessons:
            if planned.count(lesson_id) != 1:
                raise OutlineIncomplete(str(lesson_id))
        sections = [self.section(each.id) if each.id else self._new_section(each.title or "") for each in plan]
        if len({section.id for section in sections}) < len(sections):
            raise OutlineIncomplete("a section is named twice")
        for section, each in zip(sections, plan, strict=True):
            section.title = each.title or section.title
            section.lessons = [lessons[lesson_id] for lesson_id in each.lessons]
            for lesson in section.lessons:
                lesson.section_id = section.id
        for section in self.sections:
            if section not in sections:
                section.lessons = []
        self.sections = sections
        self._number()

    def section(self, section_id: UUID) -> Section:
        """Raises NotFound."""
        for section in self.sections:
            if section.id == section_id:
                return section
        raise NotFound("section", str(section_id))

    def lesson(self, lesson_id: UUID) -> Lesson:
        """Raises NotFound."""
        for lesson in self.lessons():
            if lesson.id == lesson_id:
                return lesson
        raise NotFound("lesson", str(lesson_id))

    def lessons(self) -> Iterator[Lesson]:
        for section in self.sections:
            yield from section.lessons

    def require(self, prerequisites: list[UUID]) -> None:
        """Have these courses completed before this one. Raises OwnPrerequisite."""
        if self.id in prerequisites:
            raise OwnPrerequisite
        self.prerequisites = prerequisites

    def publish(self, *, at: datetime) -> None:
        """Put the working copy on sale, as the next version. Raises CourseEmpty."""
        if not any(self.lessons()):
            raise CourseEmpty(str(self.id))
        self.status = "published"
        self.published_version = (self.published_version or 0) + 1
        self.published_at = self.published_at or at

    def created(self) -> CourseCreated:
        return CourseCreated(
            course_id=self.id,
            slug=self.slug,
            title=self.title,
            instructor_id=self.instructor_id,
            created_at=self.created_at,
        )

    def updated(self, *, at: datetime) -> CourseUpdated:
        return CourseUpdated(
            course_id=self.id,
            slug=self.slug,
            title=self.title,
            on_sale=self.on_sale,
            price_minor=self.price_minor,
            currency=self.currency,
            updated_at=at,
        )

    def withdraw(self) -> None:
        """Take it from sale; who has access keeps it."""
        self.status = "draft"

    def archive(self) -> None:
        """Take it from sale and from its author's list, for good."""
        self.status = "archived"

    def archived(self, *, at: datetime) -> CourseArchived:
        return CourseArchived(course_id=self.id, archived_at=at)

    def view(self) -> dict[str, Any]:
        """As its author sees it: the working copy."""
        return self.showing(self, self.outline())

    def outline(self) -> list[dict[str, Any]]:
        return [section.outline() for section in self.sections]

    def line(self) -> dict[str, Any]:
        """As a line of its author's list."""
        return {
            "id": self.id,
            "slug": self.slug,
            "status": self.status,
            **self.description_of(),
            "price": {"amount_minor": self.price_minor, "currency": self.currency},
            "instructor_id": self.instructor_id,
            "created_at": self.created_at,
            "published_at": self.published_at,
            "version": self.version,
        }

    def showing(self, shown: "Presentation", sections: list[dict[str, Any]]) -> dict[str, Any]:
        """As GET /v1/courses/{id} shows it, with what ``shown`` and ``sections`` say of its contents."""
        return {
            "id": self.id,
            "slug": self.slug,
            "status": self.status,
            **shown.description_of(),
            "description": shown.description,
            "price": {"amount_minor": self.price_minor, "currency": self.currency},
            "instructor_id": self.instructor_id,
            "sequential": shown.sequential,
            "prerequisites": shown.prerequisites,
            **counts(sections),
            "sections": sections,
            "published_at": self.published_at,
            "version": self.version,
        }

    def _section_of(self, lesson: Lesson) -> Section:
        return self.section(lesson.section_id)

    def _number(self) -> None:
        # Positions count from 1 without gaps, so that the working copy and a version of it read alike.
        for place, section in enumerate(self.sections, 1):
            section.position = place
            for place_in_section, lesson in enumerate(section.lessons, 1):
                lesson.position = place_in_section
