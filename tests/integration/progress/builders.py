"""A learner whose commands run in the transaction of a test."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.bus.outbox import OutboxEvent
from models.commands.progress import OfflineEvent
from models.events import CoursePublished, EnrollmentCreated, PublishedLesson, PublishedSection
from tests.support.events import build_event
from tests.support.tasks import noop_cache
from workers.progress.learning import complete_lesson, move_position, reopen_lesson, start_course
from workers.progress.offline import sync_offline_progress
from workers.progress.outline_projection import upsert_outline
from workers.progress.queries import show_progress

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Learner:
    """A learner in a course of ``lessons`` lessons."""

    def __init__(
        self,
        session: Session,
        *,
        lessons: int = 3,
        sequential: bool = False,
        user_id: UUID | None = None,
        prerequisites: Sequence[UUID] = (),
        **of_each_lesson: Any,
    ) -> None:
        self.session = session
        self.user_id, self.course_id = user_id or uuid4(), uuid4()
        self.lessons = [uuid4() for _ in range(lessons)]
        published = [PublishedLesson(lesson_id=each, title=f"Lesson {each}", **of_each_lesson) for each in self.lessons]
        course = build_event(
            CoursePublished,
            course_id=self.course_id,
            course_version=1,
            title="Bread",
            sequential=sequential,
            prerequisites=list(prerequisites),
            sections=[PublishedSection(section_id=uuid4(), lessons=published)],
        )
        upsert_outline(session, event=course)
        start_course(session, noop_cache, event=self.enrolled())

    def enrolled(self) -> EnrollmentCreated:
        return EnrollmentCreated(
            enrollment_id=uuid4(),
            user_id=self.user_id,
            course_id=self.course_id,
            course_title="Bread",
            source="free",
            source_id=str(self.course_id),
            enrolled_at=NOON,
        )

    @property
    def in_course(self) -> dict[str, UUID]:
        return {"user_id": self.user_id, "course_id": self.course_id}

    def complete(self, lesson_id: UUID) -> dict:
        return complete_lesson(self.session, noop_cache, **self.in_course, lesson_id=lesson_id)

    def reopen(self, lesson_id: UUID) -> dict:
        return reopen_lesson(self.session, noop_cache, **self.in_course, lesson_id=lesson_id)

    def move(self, lesson_id: UUID, position_seconds: int, **part: int) -> tuple[int, int]:
        """Move the playback position; returns the last position and the furthest one."""
        message = {"lesson_id": lesson_id, "position_seconds": position_seconds, **part}
        position = move_position(self.session, noop_cache, **self.in_course, **message)
        return position["position_seconds"], position["furthest_seconds"]

    def progress(self) -> dict:
        return show_progress(self.session, **self.in_course)

    def offline_event(self, lesson_id: UUID, *, minute: int, position_seconds: int | None = None) -> OfflineEvent:
        """Build an event that happened offline ``minute`` minutes after NOON."""
        return OfflineEvent(
            id=f"device-{minute}",
            course_id=self.course_id,
            lesson_id=lesson_id,
            kind="completed" if position_seconds is None else "position",
            position_seconds=position_seconds,
            at=NOON + timedelta(minutes=minute),
        )

    def merge(self, *events: OfflineEvent) -> list[str | None]:
        """Merge offline events; returns the refusal code of each, or None."""
        merged = sync_offline_progress(self.session, noop_cache, user_id=self.user_id, events=list(events))
        assert [result["id"] for result in merged["results"]] == [event.id for event in events]
        return [result["code"] for result in merged["results"]]

    def published_events(self) -> list[tuple[str, int]]:
        key = f"{self.user_id}:{self.course_id}"
        events = select(OutboxEvent).where(OutboxEvent.aggregateid == key).order_by(OutboxEvent.seq)
        return [(event.type, event.aggregate_version) for event in self.session.scalars(events)]
