"""Progress: one row a learner and course, pinned to the version of the outline that it was started on."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from sqlalchemy import ForeignKeyConstraint, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, joinedload, mapped_column, relationship, selectinload

from .base import Aggregate, Base
from .errors import LessonLocked, NoProgress, NotEnrolled, NotFound
from .events import CourseCompleted, CoursePublished, CourseStarted, Event, LessonCompleted


class Outline(Base):
    """A published version of a course, as the courses service told it. Never changed once it is here."""

    __tablename__ = "outlines"
    __table_args__ = ({"schema": "progress"},)

    course_id: Mapped[UUID] = mapped_column(primary_key=True)
    course_version: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    sequential: Mapped[bool]
    lessons: Mapped[list[dict[str, Any]]]  # [{"id", "title"}] in the order of learning

    @classmethod
    def keep(cls, session: Session, event: CoursePublished) -> None:
        """Take over a published version; one that is here already stays as it is."""
        lessons = [lesson for section in event.sections for lesson in section.lessons]
        told = insert(cls).values(
            course_id=event.course_id,
            course_version=event.course_version,
            title=event.title,
            sequential=event.sequential,
            lessons=[{"id": str(lesson.lesson_id), "title": lesson.title} for lesson in lessons],
        )
        session.execute(told.on_conflict_do_nothing())

    @classmethod
    def forget(cls, session: Session, course_id: str) -> None:
        """Take all versions of a course away, for a rebuild."""
        session.execute(delete(cls).where(cls.course_id == UUID(course_id)))

    @classmethod
    def latest(cls, session: Session, course_id: UUID) -> Self | None:
        """The newest version that has arrived here."""
        newest = select(cls).where(cls.course_id == course_id).order_by(cls.course_version.desc()).limit(1)
        return session.scalars(newest).one_or_none()


class CompletedLesson(Base):
    __tablename__ = "completed_lessons"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    course_id: Mapped[UUID] = mapped_column(primary_key=True)
    lesson_id: Mapped[UUID] = mapped_column(primary_key=True)
    completed_at: Mapped[datetime]

    __table_args__ = (
        ForeignKeyConstraint(
            ["user_id", "course_id"], ["progress.course_progress.user_id", "progress.course_progress.course_id"]
        ),
        {"schema": "progress"},
    )


class CourseProgress(Aggregate, Base):
    """What a learner has done in a course. Counts are stored, so that reading them is one row."""

    __tablename__ = "course_progress"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    course_id: Mapped[UUID] = mapped_column(primary_key=True)
    course_version: Mapped[int]
    lessons_total: Mapped[int]
    lessons_completed: Mapped[int] = mapped_column(default=0)
    next_lesson_id: Mapped[UUID | None]
    last_lesson_id: Mapped[UUID | None]
    started_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]

    outline: Mapped[Outline] = relationship(lazy="raise")
    completed: Mapped[list[CompletedLesson]] = relationship(lazy="raise", cascade="all, delete-orphan")

    __table_args__ = (
        ForeignKeyConstraint(
            ["course_id", "course_version"], ["progress.outlines.course_id", "progress.outlines.course_version"]
        ),
        {"schema": "progress"},
    )

    @property
    def aggregate_id(self) -> str:
        return f"{self.user_id}:{self.course_id}"

    @classmethod
    def start(cls, *, user_id: UUID, outline: Outline, at: datetime) -> Self:
        """Begin a course on the given version of its outline."""
        lessons = [UUID(lesson["id"]) for lesson in outline.lessons]
        return cls(
            user_id=user_id,
            course_id=outline.course_id,
            outline=outline,
            version=0,
            lessons_total=len(lessons),
            lessons_completed=0,
            next_lesson_id=lessons[0] if lessons else None,
            started_at=at,
        )

    @classmethod
    def of(cls, session: Session, user_id: UUID, course_id: UUID) -> Self:
        """A learner's progress, read only. Raises NoProgress."""
        progress = session.get(cls, (user_id, course_id))
        if progress is None:
            raise NoProgress(str(course_id))
        return progress

    @classmethod
    def locked(cls, session: Session, user_id: UUID, course_id: UUID) -> Self:
        """A learner's progress with its outline and its completed lessons, to be changed. Raises NotEnrolled."""
        whole = (joinedload(cls.outline), selectinload(cls.completed))
        progress = session.get(cls, (user_id, course_id), options=whole, with_for_update={"of": cls})
        if progress is None:
            raise NotEnrolled(str(course_id))
        return progress

    @classmethod
    def all_of(cls, session: Session, user_id: UUID) -> list[dict[str, Any]]:
        """All that a learner has done, course by course."""
        theirs = select(cls).where(cls.user_id == user_id).options(selectinload(cls.completed)).order_by(cls.started_at)
        return [
            {
                **progress.view(),
                "completed_lessons": [
                    {"lesson_id": each.lesson_id, "completed_at": each.completed_at} for each in progress.completed
                ],
            }
            for progress in session.scalars(theirs)
        ]

    @classmethod
    def erase(cls, session: Session, user_id: UUID) -> int:
        """Delete all that a learner has done; returns how many rows that were."""
        done = delete(CompletedLesson).where(CompletedLesson.user_id == user_id).returning(CompletedLesson.lesson_id)
        rows = len(session.scalars(done).all())
        return rows + len(session.scalars(delete(cls).where(cls.user_id == user_id).returning(cls.course_id)).all())

    def started(self) -> CourseStarted:
        return CourseStarted(
            user_id=self.user_id,
            course_id=self.course_id,
            course_version=self.outline.course_version,
            lessons_total=self.lessons_total,
            started_at=self.started_at,
        )

    def complete(self, lesson_id: UUID, *, at: datetime) -> list[Event]:
        """Complete a lesson; returns what there is to tell, nothing when it was complete already.

        Raises NotFound for a lesson that is not of this version, LessonLocked while an earlier one must come first.
        """
        lesson = self._lesson(lesson_id)
        if lesson_id in self._done():
            return []
        if self.outline.sequential and self.next_lesson_id != lesson_id:
            raise LessonLocked(str(self.next_lesson_id))
        self.completed.append(CompletedLesson(lesson_id=lesson_id, completed_at=at))
        self._count(last_lesson_id=lesson_id)
        events: list[Event] = [self._lesson_completed(lesson, at)]
        if self.lessons_completed == self.lessons_total:
            self.completed_at = at
            events.append(self._course_completed(at))
        return events

    def view(self) -> dict[str, Any]:
        """As GET /v1/courses/{id}/progress shows it."""
        return {
            "course_id": self.course_id,
            "status": "completed" if self.completed_at else "in_progress",
            # Rounded down, so that 100 means all of them.
            "percent": 100 * self.lessons_completed // self.lessons_total if self.lessons_total else 0,
            "lessons_completed": self.lessons_completed,
            "lessons_total": self.lessons_total,
            "next_lesson_id": self.next_lesson_id,
            "last_lesson_id": self.last_lesson_id,
            "started_at": self.started_at,
            "completed_at": self.completed_at,
            "version": self.version,
        }

    def _lesson(self, lesson_id: UUID) -> dict[str, Any]:
        for lesson in self.outline.lessons:
            if lesson["id"] == str(lesson_id):
                return lesson
        raise NotFound("lesson", str(lesson_id))

    def _done(self) -> set[UUID]:
        return {completed.lesson_id for completed in self.completed}

    def _count(self, *, last_lesson_id: UUID) -> None:
        done = self._done()
        self.lessons_completed = len(done)
        self.last_lesson_id = last_lesson_id
        ordered = (UUID(lesson["id"]) for lesson in self.outline.lessons)
        self.next_lesson_id = next((lesson for lesson in ordered if lesson not in done), None)

    def _lesson_completed(self, lesson: dict[str, Any], at: datetime) -> LessonCompleted:
        return LessonCompleted(
            user_id=self.user_id,
            course_id=self.course_id,
            course_title=self.outline.title,
            lesson_id=UUID(lesson["id"]),
            lesson_title=lesson["title"],
            lessons_completed=self.lessons_completed,
            lessons_total=self.lessons_total,
            completed_at=at,
        )

    def _course_completed(self, at: datetime) -> CourseCompleted:
        return CourseCompleted(
            user_id=self.user_id,
            course_id=self.course_id,
            course_title=self.outline.title,
            lessons_total=self.lessons_total,
            completed_at=at,
        )
