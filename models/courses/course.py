"""The working copy of a course, its price and its availability."""

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any, Self, cast
from uuid import UUID

from sqlalchemy import ColumnElement, Text, Uuid, func, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, Session, mapped_column, object_session, relationship, selectinload

import settings
from core.db import Aggregate, Base, new_id
from models.commands.courses import Caller, CourseCursor, CourseFields, LessonFields, PlannedSection
from models.errors import (
    CourseEmpty,
    NotCourseOwner,
    NotFound,
    OutlineIncomplete,
    PreconditionFailed,
    SectionNotEmpty,
    SelfPrerequisite,
    TooManyLessons,
    TooManySections,
)
from models.events import CourseArchived, CourseCreated, CourseUpdated

from .outline import Lesson, Section, counts
from .slugs import Slug


class HasDescription:
    """The descriptive columns that the working copy, each published version and the catalogue share."""

    title: Mapped[str]
    summary: Mapped[str]
    category: Mapped[str]
    level: Mapped[str]
    language: Mapped[str]
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text))
    cover_url: Mapped[str | None]

    def description_fields(self) -> dict[str, Any]:
        names = ("title", "summary", "category", "level", "language", "tags", "cover_url")
        return {name: getattr(self, name) for name in names}


class Presentation(HasDescription):
    """The columns that the working copy and each published version share, except the outline."""

    description: Mapped[str] = mapped_column(default="")
    sequential: Mapped[bool] = mapped_column(default=False)  # lessons must be completed in order
    prerequisites: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid))  # courses to complete first


class Course(Presentation, Aggregate, Base):
    """The working copy. Learners see the latest published version, at the current price."""

    __tablename__ = "courses"
    __table_args__ = ({"schema": "courses"},)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(unique=True)
    instructor_id: Mapped[UUID]  # the owner
    editor_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid))  # who may change it, but not archive it or give it away
    status: Mapped[str] = mapped_column(default="draft")  # draft, published, archived
    price_minor: Mapped[int]
    currency: Mapped[str]
    published_version: Mapped[int | None]
    published_at: Mapped[datetime | None]  # first publication
    created_at: Mapped[datetime]

    sections: Mapped[list[Section]] = relationship(
        lazy="raise", order_by=Section.position, cascade="all, delete-orphan"
    )

    @classmethod
    def create(cls, fields: CourseFields, *, id: UUID, slug: str, instructor_id: UUID, at: datetime) -> Self:  # noqa: A002 the column's name
        """Create a draft, which only its author can see."""
        course = cls(
            id=id,
            version=0,
            slug=slug,
            instructor_id=instructor_id,
            status="draft",
            description="",
            sequential=False,
            prerequisites=[],
            editor_ids=[],
            tags=[],
            sections=[],
            created_at=at,
        )
        course.change(fields)
        return course

    @classmethod
    def get(cls, session: Session, ref: str, *, outline: bool = False) -> Self:
        """Return a course by id or slug, on sale or not, without a lock. Raises NotFound."""
        options = [selectinload(cls.sections).selectinload(Section.lessons)] if outline else []
        course = session.scalars(select(cls).where(cls.matches_ref(ref)).options(*options)).one_or_none()
        if course is None:
            raise NotFound("course", ref)
        return course

    @classmethod
    def get_for_update(
        cls, session: Session, ref: str, caller: Caller, *, contents: bool = False, archived: bool = False
    ) -> Self:
        """Return a course that the caller may change, locked and with its outline.

        ``contents`` loads the contents of the lessons too; ``archived`` returns an archived course too. Raises
        NotFound, also for a course of another author.
        """
        outline = selectinload(cls.sections).selectinload(Section.lessons)
        course = session.scalars(
            select(cls)
            .where(cls.matches_ref(ref))
            # FOR NO KEY UPDATE: enrollments refer only to the key of the row and need not wait.
            .with_for_update(key_share=True)
            .options(outline.undefer(Lesson.content) if contents else outline)
            .execution_options(populate_existing=True)
        ).one_or_none()
        if course is None or not (course.is_taught_by(caller) if archived else course.may_be_changed_by(caller)):
            raise NotFound("course", ref)
        return course

    @classmethod
    def list_page(
        cls, session: Session, instructor_id: UUID, after: CourseCursor | None, limit: int, *, status: str | None = None
    ) -> tuple[list[Self], CourseCursor | None]:
        """Return up to ``limit`` courses that an instructor owns or edits, newest first, and the next cursor.

        Without a ``status``, all that are not archived.
        """
        has_status = cls.status == status if status else cls.status != "archived"
        wanted = select(cls).where(cls.is_taught_by_user(instructor_id), has_status)
        if after:
            wanted = wanted.where(tuple_(cls.created_at, cls.id) < (after.created_at, after.course_id))
        rows = list(session.scalars(wanted.order_by(cls.created_at.desc(), cls.id.desc()).limit(limit + 1)))
        if len(rows) <= limit:
            return rows, None
        last = rows[limit - 1]
        return rows[:limit], CourseCursor(last.created_at, last.id)

    @classmethod
    def list_by_author(cls, session: Session, instructor_id: UUID) -> list[Self]:
        """Return all courses of an instructor, including archived ones, oldest first."""
        theirs = select(cls).where(cls.instructor_id == instructor_id)
        return list(session.scalars(theirs.order_by(cls.created_at, cls.id)))

    @classmethod
    def remove_editor(cls, session: Session, user_id: UUID) -> None:
        """Remove an erased user from the editors of all courses."""
        theirs = update(cls).where(cls.editor_ids.contains([user_id]))
        session.execute(theirs.values(editor_ids=func.array_remove(cls.editor_ids, user_id)))

    @classmethod
    def matches_ref(cls, ref: str) -> ColumnElement[bool]:
        """Return the condition for the course with this id or with this present or former slug."""
        try:
            return cls.id == UUID(ref)
        except ValueError:
            return cls.id == select(Slug.course_id).where(Slug.slug == ref).scalar_subquery()

    @classmethod
    def require_existing(cls, session: Session, course_ids: Collection[UUID]) -> None:
        """Raise NotFound if one of the courses does not exist or was never published."""
        there = session.scalars(select(cls.id).where(cls.id.in_(course_ids), cls.published_version.is_not(None)))
        for missing in set(course_ids) - set(there):
            raise NotFound("course", str(missing))

    @classmethod
    def filter_on_sale(cls, session: Session, course_ids: Collection[UUID]) -> list[UUID]:
        """Return the ids of those courses that are on sale."""
        if not course_ids:
            return []
        return list(session.scalars(select(cls.id).where(cls.id.in_(course_ids), cls.status == "published")))

    @property
    def is_modified(self) -> bool:
        """Whether the locked course, a section or a lesson has a new value that is not flushed yet."""
        session = cast("Session", object_session(self))
        return any(session.is_modified(each) for each in (self, *self.sections, *self.lessons()))

    @property
    def on_sale(self) -> bool:
        return self.status == "published"

    def may_be_changed_by(self, caller: Caller) -> bool:
        return self.status != "archived" and self.is_taught_by(caller)

    def is_taught_by(self, caller: Caller) -> bool:
        """Return whether the caller is an instructor of the course, archived or not, or an admin."""
        return caller.admin or caller.user_id in {self.instructor_id, *self.editor_ids}

    @classmethod
    def is_taught_by_user(cls, user_id: UUID) -> ColumnElement[bool]:
        """Return the condition for the courses that a user owns or edits."""
        return or_(cls.instructor_id == user_id, cls.editor_ids.contains([user_id]))

    def require_owner(self, caller: Caller) -> None:
        """Raise NotCourseOwner unless the caller owns the course or is an admin."""
        if not caller.admin and caller.user_id != self.instructor_id:
            raise NotCourseOwner(str(self.id))

    def require_instructors_change(self, caller: Caller, owner_id: UUID, editor_ids: list[UUID]) -> None:
        """Raise NotCourseOwner unless the caller may set these: its owner any, an editor those without themselves."""
        left = [each for each in self.editor_ids if each != caller.user_id]
        if len(left) == len(self.editor_ids) or (owner_id, set(editor_ids)) != (self.instructor_id, set(left)):
            self.require_owner(caller)

    def set_instructors(self, owner_id: UUID, editor_ids: list[UUID]) -> None:
        """Replace owner and editors; the owner is no editor."""
        self.instructor_id, self.editor_ids = owner_id, [each for each in editor_ids if each != owner_id]

    def require_version(self, version: int) -> None:
        """Raise PreconditionFailed unless ``version`` is the current version."""
        if version != self.version:
            raise PreconditionFailed("course", str(self.version))

    def change(self, fields: CourseFields) -> None:
        """Apply the given fields."""
        for name, value in fields.items():
            if name not in {"price", "cover_file_id"}:
                setattr(self, name, value)
        if price := fields.get("price"):
            self.price_minor, self.currency = price["amount_minor"], price["currency"]

    def add_section(self, title: str) -> Section:
        """Append a new section. Raises TooManySections."""
        if len(self.sections) >= settings.COURSE_SECTIONS_MAX:
            raise TooManySections(settings.COURSE_SECTIONS_MAX)
        return self._new_section(title)

    def _new_section(self, title: str) -> Section:
        section = Section(id=new_id(), title=title, position=len(self.sections) + 1, lessons=[])
        self.sections.append(section)
        return section

    def remove_section(self, section_id: UUID) -> None:
        """Remove an empty section. Raises NotFound, SectionNotEmpty."""
        section = self.section(section_id)
        if section.lessons:
            raise SectionNotEmpty(str(section_id))
        self.sections.remove(section)
        self._renumber()

    def add_lesson(self, section_id: UUID, fields: LessonFields) -> Lesson:
        """Append a new lesson to a section. Raises NotFound, TooManyLessons, InvalidContent."""
        section = self.section(section_id)
        if sum(1 for _ in self.lessons()) >= settings.COURSE_LESSONS_MAX:
            raise TooManyLessons(settings.COURSE_LESSONS_MAX)
        lesson = Lesson(id=new_id(), section_id=section_id, position=len(section.lessons) + 1)
        lesson.duration_seconds, lesson.free_preview, lesson.unlock, lesson.files = None, False, None, []
        lesson.completion = {"rule": "manual"}
        lesson.change(fields)
        section.lessons.append(lesson)
        return lesson

    def move_lesson(self, lesson: Lesson, section_id: UUID) -> None:
        """Move a lesson to the end of another section. Raises NotFound."""
        if lesson.section_id != section_id:
            self._section_of(lesson).lessons.remove(lesson)
            self.section(section_id).lessons.append(lesson)
            lesson.section_id = section_id
            self._renumber()

    def remove_lesson(self, lesson: Lesson) -> None:
        self._section_of(lesson).lessons.remove(lesson)
        self._renumber()

    def reorder_outline(self, plan: list[PlannedSection]) -> None:
        """Reorder all lessons; sections that the plan does not contain are deleted.

        Raises NotFound, TooManySections, and OutlineIncomplete if a lesson is missing or a lesson or section occurs
        twice.
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
            raise OutlineIncomplete("a section is listed twice")
        for section, each in zip(sections, plan, strict=True):
            section.title = each.title or section.title
            section.lessons = [lessons[lesson_id] for lesson_id in each.lessons]
            for lesson in section.lessons:
                lesson.section_id = section.id
        for section in self.sections:
            if section not in sections:
                section.lessons = []
        self.sections = sections
        self._renumber()

    def section(self, section_id: UUID) -> Section:
        """Return a section of the course. Raises NotFound."""
        for section in self.sections:
            if section.id == section_id:
                return section
        raise NotFound("section", str(section_id))

    def lesson(self, lesson_id: UUID) -> Lesson:
        """Return a lesson of the course. Raises NotFound."""
        for lesson in self.lessons():
            if lesson.id == lesson_id:
                return lesson
        raise NotFound("lesson", str(lesson_id))

    def lessons(self) -> Iterator[Lesson]:
        for section in self.sections:
            yield from section.lessons

    def set_prerequisites(self, prerequisites: list[UUID]) -> None:
        """Replace the prerequisites. Raises SelfPrerequisite."""
        if self.id in prerequisites:
            raise SelfPrerequisite
        self.prerequisites = prerequisites

    def publish(self, *, at: datetime) -> None:
        """Put the course on sale and increment the published version. Raises CourseEmpty."""
        if not any(self.lessons()):
            raise CourseEmpty(str(self.id))
        self.status = "published"
        self.published_version = (self.published_version or 0) + 1
        self.published_at = self.published_at or at

    def created_event(self) -> CourseCreated:
        return CourseCreated(
            course_id=self.id,
            slug=self.slug,
            title=self.title,
            instructor_id=self.instructor_id,
            created_at=self.created_at,
        )

    def updated_event(self, *, at: datetime) -> CourseUpdated:
        return CourseUpdated(
            course_id=self.id,
            slug=self.slug,
            title=self.title,
            on_sale=self.on_sale,
            price_minor=self.price_minor,
            currency=self.currency,
            updated_at=at,
        )

    def unpublish(self) -> None:
        """Unpublish the course. Learners keep their access."""
        self.status = "draft"

    def archive(self) -> None:
        """Remove the course from sale and from its author's list."""
        self.status = "archived"

    def unarchive(self) -> None:
        """Return an archived course to its author, as a draft. No effect on other courses."""
        if self.status == "archived":
            self.status = "draft"

    def archived_event(self, *, at: datetime) -> CourseArchived:
        return CourseArchived(course_id=self.id, archived_at=at)

    def to_response(self) -> dict[str, Any]:
        """Return the working copy, as its author sees it."""
        return self.build_response(self, self.outline())

    def outline(self) -> list[dict[str, Any]]:
        return [section.outline() for section in self.sections]

    def to_list_item(self) -> dict[str, Any]:
        """Return an item of the author's list of courses."""
        return {
            "id": self.id,
            "slug": self.slug,
            "status": self.status,
            **self.description_fields(),
            "price": {"amount_minor": self.price_minor, "currency": self.currency},
            "instructor_id": self.instructor_id,
            "created_at": self.created_at,
            "published_at": self.published_at,
            "version": self.version,
        }

    def build_response(self, shown: "Presentation", sections: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the response of GET /v1/courses/{id}, with the contents of ``shown`` and ``sections``."""
        return {
            "id": self.id,
            "slug": self.slug,
            "status": self.status,
            **shown.description_fields(),
            "description": shown.description,
            "price": {"amount_minor": self.price_minor, "currency": self.currency},
            "instructor_id": self.instructor_id,
            "editor_ids": self.editor_ids,
            "sequential": shown.sequential,
            "prerequisites": shown.prerequisites,
            **counts(sections),
            "sections": sections,
            "published_at": self.published_at,
            "version": self.version,
        }

    def _section_of(self, lesson: Lesson) -> Section:
        return self.section(lesson.section_id)

    def _renumber(self) -> None:
        # Positions count from 1 without gaps, in the working copy as in published versions.
        for place, section in enumerate(self.sections, 1):
            section.position = place
            for place_in_section, lesson in enumerate(section.lessons, 1):
                lesson.position = place_in_section
