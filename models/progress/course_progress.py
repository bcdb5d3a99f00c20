"""Progress of a learner in a course, pinned to the outline version on which the course was started."""

import math
import secrets
from collections.abc import Collection
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    ForeignKeyConstraint,
    bindparam,
    delete,
    func,
    select,
    tuple_,
)
from sqlalchemy.orm import Mapped, Session, joinedload, mapped_column, relationship

from core.db import Aggregate, Base, execute_later, utc_now
from models.commands.progress import ProgressCursor
from models.errors import LessonLocked, LessonNotOpen, NotEnrolled, PrerequisiteMissing, ProgressNotFound, QuizNotPassed
from models.events import Event, LessonReopened

from . import learner_events
from .completed_lessons import CompletedLesson
from .outline import REMEMBERED, Outline
from .playback_positions import PlaybackPosition
from .prerequisites import MISSING_PREREQUISITE
from .reopened_lessons import ReopenedLesson
from .schedules import HasSchedule, UnlockedLesson
from .waiting_events import WaitingEvent

_VIEWED_SHARE = 0.95  # the end credits need not be watched
_REPORT_SECONDS = 30  # a player reports its position at least this often
_CODE_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32


class CourseProgress(HasSchedule, Aggregate, Base):
    """A learner's progress in a course. Counts are stored, so that a read needs one row."""

    __tablename__ = "course_progress"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    course_id: Mapped[UUID] = mapped_column(primary_key=True)
    course_version: Mapped[int]
    lessons_total: Mapped[int]
    lessons_completed: Mapped[int] = mapped_column(default=0)
    next_lesson_id: Mapped[UUID | None]
    last_lesson_id: Mapped[UUID | None]
    last_activity_at: Mapped[datetime | None]  # when the learner did something in it; offline events may be older
    started_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]  # None again while a lesson is reopened
    certificate_code: Mapped[str | None] = mapped_column(
        unique=True
    )  # issued at the first completion: models/progress/certificates.py
    certified_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]  # access has ended; the progress is kept in case access is restored
    access_ends_at: Mapped[datetime | None]  # then the progress is closed, also before ENROLLMENT_ENDED arrives
    closed_reason: Mapped[str | None]  # of ENROLLMENT_ENDED; None if the course was closed before it was started
    enrollment_version: Mapped[int] = mapped_column(default=0)  # of the last applied event of the enrollment

    outline: Mapped[Outline] = relationship(lazy="raise", viewonly=True)

    __table_args__ = (
        ForeignKeyConstraint(
            ["course_id", "course_version"],
            ["progress.outlines.course_id", "progress.outlines.course_version"],
            deferrable=True,  # a rebuild replaces outlines within one transaction
        ),
        {"schema": "progress"},
    )

    @property
    def aggregate_id(self) -> str:
        return f"{self.user_id}:{self.course_id}"

    @classmethod
    def start(cls, *, user_id: UUID, outline: Outline, at: datetime) -> Self:
        """Create the progress of a learner who starts a course on the given outline."""
        started = cls(
            user_id=user_id,
            course_id=outline.course_id,
            course_version=outline.course_version,
            outline=outline,
            version=0,
            enrollment_version=0,
            lessons_total=len(outline.lessons),
            lessons_completed=0,
            next_lesson_id=outline.next_after(()),
            started_at=at,
        )
        started.plan_unlocks(after=at)
        return started

    @classmethod
    def get(cls, session: Session, user_id: UUID, course_id: UUID) -> Self:
        """Return a learner's progress without a lock. Raises ProgressNotFound, also if access has ended."""
        progress = session.get(cls, (user_id, course_id))
        if progress is None or progress.is_closed:
            raise ProgressNotFound(str(course_id))
        return progress

    @classmethod
    def get_with_outline(cls, session: Session, user_id: UUID, course_id: UUID) -> Self:
        """Return a learner's progress with its outline, without a lock. Raises NotEnrolled."""
        progress = session.get(cls, (user_id, course_id), options=[joinedload(cls.outline)])
        if progress is None or progress.is_closed:
            raise NotEnrolled(str(course_id))
        return progress

    @classmethod
    def get_for_update(cls, session: Session, user_id: UUID, course_id: UUID) -> "CourseProgress":
        """Return a learner's progress with its outline, locked. Raises NotEnrolled."""
        progress = cls.locked_or_none(session, user_id, course_id)
        if progress is None or progress.is_closed:
            raise NotEnrolled(str(course_id))
        return progress

    @classmethod
    def locked_or_none(cls, session: Session, user_id: UUID, course_id: UUID) -> "CourseProgress | None":
        """Return a learner's progress as ``get_for_update`` does, also if access has ended; None if not started."""
        return session.scalars(_FOR_UPDATE, {"user": user_id, "course": course_id}).one_or_none()

    @classmethod
    def read_for_update(cls, session: Session, user_id: UUID, course_id: UUID) -> "CourseProgress":
        """Return what ``get_for_update`` returns, as an object outside of the session: ``write`` stores its changes.

        For the most frequent commands. The ORM takes three times as long to load and to flush the row. Raises
        NotEnrolled.
        """
        known = REMEMBERED.of_course(course_id)
        row = session.execute(_READ_FOR_UPDATE, {"user": user_id, "course": course_id, "known": [*known]}).one_or_none()
        progress = cls(**{name: getattr(row, name) for name in _COLUMNS}) if row else None
        if row is None or progress is None or progress.is_closed:
            raise NotEnrolled(str(course_id))
        progress.outline = known.get(row.course_version) or REMEMBERED.add(
            Outline(**{name: getattr(row, f"outline_{name}") for name in _OUTLINE_COLUMNS})
        )
        return progress

    def write(self, session: Session) -> None:
        """Store the changes of an object that ``read_for_update`` returned."""
        written = [getattr(self, name) for name in _WRITTEN]
        parameters = [each if each is None or isinstance(each, int | datetime) else str(each) for each in written]
        execute_later(session, _WRITE, (*parameters, str(self.user_id), str(self.course_id)))
        session.expire_all()

    def require_prerequisites(self, session: Session) -> None:
        """Raise PrerequisiteMissing if a required course is not completed."""
        if not self.outline.prerequisites:
            return
        if missing := session.scalar(MISSING_PREREQUISITE, {"user": self.user_id, "course": self.course_id}):
            raise PrerequisiteMissing(str(missing))

    @classmethod
    def list_page(
        cls, session: Session, user_id: UUID, after: ProgressCursor | None, limit: int
    ) -> tuple[list[Self], ProgressCursor | None]:
        """Return up to ``limit`` courses of a learner, latest started first, and the next cursor if there are more.

        Without those whose access has ended.
        """
        wanted = select(cls).where(cls.user_id == user_id, cls.has_access(utc_now()))
        if after:
            wanted = wanted.where(tuple_(cls.started_at, cls.course_id) < (after.started_at, after.course_id))
        newest_first = wanted.order_by(cls.started_at.desc(), cls.course_id.desc())
        rows = list(session.scalars(newest_first.limit(limit + 1)))
        if len(rows) <= limit:
            return rows, None
        last = rows[limit - 1]
        return rows[:limit], ProgressCursor(last.started_at, last.course_id)

    @classmethod
    def list_of_courses(cls, session: Session, user_id: UUID, course_ids: list[UUID]) -> list[Self]:
        """Return a learner's progress in those of the courses that they have started and have access to."""
        wanted = select(cls).where(cls.user_id == user_id, cls.course_id.in_(course_ids))
        return [progress for progress in session.scalars(wanted) if not progress.is_closed]

    @classmethod
    def erase(cls, session: Session, user_id: UUID) -> int:
        """Delete the progress of a learner; return the number of rows."""
        rows = sum(each.erase(session, user_id) for each in _LESSON_TABLES)
        return rows + len(session.scalars(delete(cls).where(cls.user_id == user_id).returning(cls.course_id)).all())

    def accept_version(self, enrollment_version: int | None) -> bool:
        """Store the version of an enrollment event; return False if it or a newer one was applied before."""
        if enrollment_version is None:
            return True
        if enrollment_version <= self.enrollment_version:
            return False
        self.enrollment_version = enrollment_version
        return True

    @property
    def is_closed(self) -> bool:
        """Whether the access has ended, also by its end while ENROLLMENT_ENDED is on its way."""
        return self.closed_at is not None or (self.access_ends_at is not None and self.access_ends_at <= utc_now())

    @classmethod
    def has_access(cls, at: datetime) -> ColumnElement[bool]:
        """Return the condition that the progress is not closed at a time."""
        return cls.closed_at.is_(None) & func.coalesce(cls.access_ends_at > at, True)

    def close(self, *, reason: str, at: datetime) -> None:
        """Close the progress: access has ended."""
        self.closed_at, self.closed_reason = at, reason

    def open_again(self, *, ends_at: datetime | None, at: datetime) -> list[Event]:
        """Open closed progress: access is back. Return the events, also of a course that can be finished only now."""
        self.closed_at, self.closed_reason, self.access_ends_at = None, None, ends_at
        if self.lessons_completed == self.lessons_total and not self.completed_at:
            return self._finish(at)
        return []

    def complete(self, session: Session, lesson_id: UUID, *, at: datetime) -> list[Event]:
        """Complete a lesson; return the events, none if it was completed before.

        Raises the errors of ``require_open_lesson``, and QuizNotPassed if only its quiz completes the lesson.
        """
        lesson = self.require_open_lesson(session, lesson_id, at=at)
        self.require_completable(session, lesson_id)
        if lesson.get("rule") == "min_score":
            return []
        events = self._complete(session, lesson, at)
        if events:
            self.note_activity(lesson_id, at=at)
        return events

    def require_completable(self, session: Session, lesson_id: UUID) -> None:
        """Raise QuizNotPassed if only its quiz completes the lesson, and it is not completed."""
        is_quiz = self.outline.lesson(lesson_id).get("rule") == "min_score"
        if is_quiz and not self._has_completed(session, lesson_id):
            raise QuizNotPassed(str(lesson_id))

    def complete_open_lesson(self, session: Session, lesson_id: UUID, *, at: datetime) -> list[Event]:
        """Complete a lesson that was open at ``at``, unless its quiz completes it; return the events."""
        lesson = self.outline.lesson(lesson_id)
        return [] if lesson.get("rule") == "min_score" else self._complete(session, lesson, at)

    def note_activity(self, lesson_id: UUID, *, at: datetime) -> None:
        """Remember the lesson of the latest activity, in whatever order activities arrive."""
        latest = (self.last_activity_at, self.last_lesson_id)
        if latest[0] is None or latest[1] is None or (at, str(lesson_id)) > (latest[0], str(latest[1])):
            self.last_activity_at, self.last_lesson_id = at, lesson_id

    def recalculate_completed_at(self, session: Session) -> None:
        """Set the time at which a finished course was completed to that of the lesson completed last."""
        if self.completed_at and self.lessons_completed == self.lessons_total:
            times = CompletedLesson.list_times(session, self.user_id, self.course_id)
            self.completed_at = max(times[UUID(lesson["id"])] for lesson in self.outline.lessons)

    def complete_by_quiz(self, session: Session, lesson_id: UUID, *, at: datetime) -> list[Event]:
        """Complete a lesson whose quiz was passed; return the events.

        Progress that is closed counts the lesson too. A lesson that the learner's version does not contain, or that is
        not completed by a quiz, is ignored.
        """
        if not self.outline.has_lesson(lesson_id):
            return []
        lesson = self.outline.lesson(lesson_id)
        if lesson.get("rule") != "min_score":
            return []
        self.note_activity(lesson_id, at=at)
        return self._complete(session, lesson, at)

    def watched_part(self, lesson_id: UUID, position_seconds: int, from_seconds: int | None) -> tuple[int, int]:
        """Return the end and the start of the part that was watched, within the duration of the lesson.

        Without ``from_seconds``, as a player reports its position every few seconds, the last _REPORT_SECONDS count. A
        jump to the end does not count what it has skipped. Raises NotFound.
        """
        duration_seconds = self.outline.lesson(lesson_id).get("duration_seconds") or math.inf
        position = int(min(position_seconds, duration_seconds))
        begin = position - _REPORT_SECONDS if from_seconds is None else from_seconds
        return position, max(0, min(begin, position))

    def has_viewed(self, lesson_id: UUID, watched_seconds: int) -> bool:
        """Return whether ``watched_seconds`` complete the lesson: rule "viewed", 95 % watched."""
        lesson = self.outline.lesson(lesson_id)
        duration_seconds = lesson.get("duration_seconds") or math.inf
        return lesson.get("rule") == "viewed" and watched_seconds >= _VIEWED_SHARE * duration_seconds

    def _complete(self, session: Session, lesson: dict[str, Any], at: datetime) -> list[Event]:
        lesson_id = UUID(lesson["id"])
        if not CompletedLesson.insert_once(session, self.user_id, self.course_id, lesson_id, at=at):
            return []
        self.lessons_completed += 1
        if lesson_id == self.next_lesson_id:
            self.next_lesson_id = self._next_after(session, lesson_id)
        events: list[Event] = [learner_events.lesson_completed(self, lesson, at)]
        if self.lessons_completed == self.lessons_total:
            events += self._finish(at)
        return events

    def move_to(self, outline: Outline, completed: Collection[UUID], *, at: datetime) -> list[Event]:
        """Take another version of the course; ``completed`` are all lessons that the learner has completed.

        A finished course stays finished, also if the version has new lessons. A course is finished if the version has
        only lessons that are completed. Return the events.
        """
        self.outline, self.course_version = outline, outline.course_version
        self.lessons_total = len(outline.lessons)
        self.lessons_completed = sum(UUID(lesson["id"]) in completed for lesson in outline.lessons)
        self.next_lesson_id = outline.next_after(completed)
        if self.last_lesson_id and not outline.has_lesson(self.last_lesson_id):
            self.last_lesson_id = None
        self.plan_unlocks(after=at)
        events: list[Event] = [learner_events.course_version_changed(self, at)]
        if self.lessons_completed == self.lessons_total and not self.completed_at:
            events += self._finish(at)
        return events

    def _finish(self, at: datetime) -> list[Event]:
        """Finish the course, unless it is finished; return the events.

        Without access at ``at``, only ``open_again`` finishes it: who has lost the access gets no certificate.
        """
        ended_at = self.closed_at or self.access_ends_at
        if ended_at and at > ended_at:
            return []
        self.completed_at = self.completed_at or at
        return self._certify(at)

    def _next_after(self, session: Session, lesson_id: UUID) -> UUID | None:
        """Return the first lesson that is not completed, after ``lesson_id`` was the first one and is completed."""
        position = self.outline.position(lesson_id)
        if self.lessons_completed == position + 1:
            return self.outline.lesson_id_at(position + 1)  # the lessons were completed in order: none after it
        return self.outline.next_after(CompletedLesson.list_ids(session, self.user_id, self.course_id))

    def reopen(self, session: Session, lesson_id: UUID, *, at: datetime) -> LessonReopened | None:
        """Undo the completion of a lesson; return the event, or None if it was not completed.

        What the learner has watched or done offline until now does not complete it again. A certificate stays valid.
        Raises NotFound for a lesson that is not in the learner's version.
        """
        position = self.outline.position(lesson_id)
        if not CompletedLesson.remove(session, self.user_id, self.course_id, lesson_id):
            return None
        ReopenedLesson.upsert(session, self.user_id, self.course_id, lesson_id, at=at)
        PlaybackPosition.reset_watched(session, self.user_id, self.course_id, lesson_id)
        self.lessons_completed -= 1
        self.completed_at = None
        if self.next_lesson_id is None or position < self.outline.position(self.next_lesson_id):
            self.next_lesson_id = lesson_id
        return learner_events.lesson_reopened(self, lesson_id, at)

    def locks(self, lesson_id: UUID) -> bool:
        """Return whether the order of the lessons locks a lesson, unless the learner has completed it."""
        return self.outline.sequential and lesson_id != self.next_lesson_id

    def require_open_lesson(self, session: Session, lesson_id: UUID, *, at: datetime) -> dict[str, Any]:
        """Return a lesson that the learner may open at ``at``.

        Raises NotFound if it is not in the learner's version, LessonLocked if an earlier lesson must be completed
        first, LessonNotOpen before its opening time.
        """
        self.outline.lesson(lesson_id)  # raises NotFound
        if self.locks(lesson_id) and not self._has_completed(session, lesson_id):
            raise LessonLocked(str(self.next_lesson_id))
        return self.require_scheduled_lesson(lesson_id, at=at)

    def require_scheduled_lesson(self, lesson_id: UUID, *, at: datetime) -> dict[str, Any]:
        """Return a lesson whose opening time was before ``at``, locked or not. Raises NotFound, LessonNotOpen."""
        lesson = self.outline.lesson(lesson_id)
        opens = self.own_schedule.opens_at(lesson, started_at=self.started_at)
        if at < opens:
            raise LessonNotOpen(opens.isoformat())
        return lesson

    def to_response(self) -> dict[str, Any]:
        """Return the response of GET /v1/courses/{id}/progress."""
        return {
            "course_id": self.course_id,
            "status": "completed" if self.completed_at else "in_progress",
            # Rounded down, so that 100 means that every lesson is completed.
            "percent": 100 * self.lessons_completed // self.lessons_total if self.lessons_total else 0,
            "lessons_completed": self.lessons_completed,
            "lessons_total": self.lessons_total,
            "next_lesson_id": self.next_lesson_id,
            "last_lesson_id": self.last_lesson_id,
            "started_at": self.started_at,
            "completed_at": self.completed_at,
            "version": self.version,
        }

    def _has_completed(self, session: Session, lesson_id: UUID) -> bool:
        return CompletedLesson.exists(session, self.user_id, self.course_id, lesson_id)

    def _certify(self, at: datetime) -> list[Event]:
        """Issue the certificate at the first completion; return the events, none for later completions."""
        if self.certificate_code:
            return []
        self.certificate_code, self.certified_at = new_code(), at
        return [
            learner_events.course_completed(self, at),
            learner_events.certificate_issued(self, self.certificate_code, at),
        ]


# Built once: building a statement takes longer than executing it.
_FOR_UPDATE = (
    select(CourseProgress)
    .where(CourseProgress.user_id == bindparam("user"), CourseProgress.course_id == bindparam("course"))
    .options(joinedload(CourseProgress.outline))
    .with_for_update(of=CourseProgress)
    .execution_options(populate_existing=True)
)

_LESSON_TABLES = (CompletedLesson, ReopenedLesson, WaitingEvent, UnlockedLesson)
_COLUMNS = [column.key for column in CourseProgress.__table__.columns]
_OUTLINE_COLUMNS = [column.key for column in Outline.__table__.columns]
_WRITTEN = (
    *("version", "lessons_completed", "next_lesson_id", "last_lesson_id", "last_activity_at"),
    *("completed_at", "certificate_code", "certified_at"),
)
_THEIRS = (CourseProgress.user_id == bindparam("user"), CourseProgress.course_id == bindparam("course"))
# Without the columns of an outline that this process remembers, which are as long as the course.
_READ_FOR_UPDATE = (
    select(
        *CourseProgress.__table__.columns,
        *(column.label(f"outline_{column.key}") for column in Outline.__table__.columns),
    )
    .select_from(CourseProgress)
    .outerjoin(
        Outline,
        (Outline.course_id == CourseProgress.course_id)
        & (Outline.course_version == CourseProgress.course_version)
        & (Outline.course_version != func.all(bindparam("known", type_=ARRAY(BigInteger)))),
    )
    .where(*_THEIRS)
    .with_for_update(of=CourseProgress)
)
# By the driver, because SQLAlchemy need not compile it.
_WRITE = f"""
    UPDATE progress.course_progress SET {", ".join(f"{name} = %s" for name in _WRITTEN)}
    WHERE user_id = %s AND course_id = %s
"""  # noqa: S608 constants only


def new_code() -> str:
    """Return a random certificate code: 80 bits in Crockford's base 32, which has no ambiguous letters."""
    drawn = "".join(secrets.choice(_CODE_LETTERS) for _ in range(16))
    return "-".join(drawn[start : start + 4] for start in range(0, 16, 4))
