"""The working copy of a course's outline: sections and their lessons, in order."""

from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID

from sqlalchemy import ForeignKey, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, Session, mapped_column, relationship, undefer

from core.db import Base, new_id
from models.commands.courses import LessonFields
from models.errors import InvalidContent, NotFound
from models.events import LESSON_TITLE_MAX_LENGTH, PublishedLesson, PublishedSection

# The one field of a lesson's content, by the kind of the lesson.
CONTENT_FIELDS = {"video": "url", "text": "body", "quiz": "questions"}
OPTIONAL_CONTENT_FIELDS = {"quiz": {"settings"}}


class Lesson(Base):
    __tablename__ = "lessons"
    __table_args__ = ({"schema": "courses"},)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    section_id: Mapped[UUID] = mapped_column(ForeignKey("courses.sections.id"))
    title: Mapped[str]
    position: Mapped[int]
    kind: Mapped[str]
    # Up to 1 MB, and needed only to show one lesson or to publish: raises unless it is loaded explicitly.
    content: Mapped[dict[str, Any]] = mapped_column(deferred=True, deferred_raiseload=True)
    duration_seconds: Mapped[int | None]
    free_preview: Mapped[bool] = mapped_column(default=False)
    completion: Mapped[dict[str, Any]] = mapped_column(default=lambda: {"rule": "manual"})
    unlock: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    files: Mapped[list[dict[str, Any]]] = mapped_column(default=list)  # [{"file_id", "role", …}]: attachments, captions

    @classmethod
    def get(cls, session: Session, course_id: UUID, lesson_id: UUID) -> Self:
        """Return the working copy of a lesson with its content, without a lock. Raises NotFound."""
        wanted = select(cls).join(Section).where(Section.course_id == course_id, cls.id == lesson_id)
        lesson = session.scalars(wanted.options(undefer(cls.content))).one_or_none()
        if lesson is None:
            raise NotFound("lesson", str(lesson_id))
        return lesson

    @classmethod
    def from_dict(cls, view: dict[str, Any]) -> Self:
        """Create a lesson from an earlier ``view()``."""
        return cls(**{**view, "id": UUID(view["id"]), "section_id": UUID(view["section_id"])})

    def change(self, fields: LessonFields) -> None:
        """Apply the given fields. Raises InvalidContent if the content does not match the kind of the lesson."""
        for name, value in fields.items():
            setattr(self, name, value)
        is_uploaded_video = self.kind == "video" and set(self.content) == {"file_id"}
        given = set(self.content) - OPTIONAL_CONTENT_FIELDS.get(self.kind, set())
        if given != {CONTENT_FIELDS[self.kind]} and not is_uploaded_video:
            raise InvalidContent(self.kind, CONTENT_FIELDS[self.kind])

    def outline(self) -> dict[str, Any]:
        """Return the lesson without its content, as part of an outline."""
        return {
            "id": str(self.id),
            "title": self.title,
            "kind": self.kind,
            "position": self.position,
            "duration_seconds": self.duration_seconds,
            "free_preview": self.free_preview,
            "completion": self.completion,
            "unlock": self.unlock,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the whole lesson, as its author sees it."""
        whole = {**self.outline(), "section_id": str(self.section_id), "content": self.content}
        # Versions that were published before lessons had files have no such field.
        return {**whole, "files": self.files} if self.files else whole


class Section(Base):
    __tablename__ = "sections"
    __table_args__ = ({"schema": "courses"},)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    course_id: Mapped[UUID] = mapped_column(ForeignKey("courses.courses.id"))
    title: Mapped[str]
    position: Mapped[int]

    lessons: Mapped[list[Lesson]] = relationship(lazy="raise", order_by=Lesson.position, cascade="all")

    def outline(self) -> dict[str, Any]:
        return {
            "id": str(self.id),
            "title": self.title,
            "position": self.position,
            "lessons": [lesson.outline() for lesson in self.lessons],
        }


def counts(sections: list[dict[str, Any]]) -> dict[str, int]:
    """Return the number of lessons of an outline, and their total duration in seconds."""
    lessons = [lesson for section in sections for lesson in section["lessons"]]
    return {
        "lessons_total": len(lessons),
        "duration_seconds": sum(lesson["duration_seconds"] or 0 for lesson in lessons),
    }


def to_published_sections(sections: list[dict[str, Any]]) -> list[PublishedSection]:
    """Convert an outline to the payload of COURSE_PUBLISHED."""
    return [
        PublishedSection(
            section_id=UUID(section["id"]),
            lessons=[
                PublishedLesson(
                    lesson_id=UUID(lesson["id"]),
                    title=_truncate(lesson["title"]),
                    duration_seconds=lesson["duration_seconds"],
                    completion_rule=lesson["completion"]["rule"],
                    opens_after_days=(lesson["unlock"] or {}).get("after_days"),
                    opens_at=_parse_datetime((lesson["unlock"] or {}).get("at")),
                )
                for lesson in section["lessons"]
            ],
        )
        for section in sections
    ]


def _truncate(title: str) -> str:
    if len(title) <= LESSON_TITLE_MAX_LENGTH:
        return title
    return title[: LESSON_TITLE_MAX_LENGTH - 1].rstrip() + "…"


def _parse_datetime(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def opens_at(unlock: dict[str, Any] | None, *, enrolled_at: datetime) -> datetime:
    """Return when a lesson opens for a learner who enrolled at ``enrolled_at``."""
    if not unlock:
        return enrolled_at
    if "at" in unlock:
        return datetime.fromisoformat(unlock["at"])
    return enrolled_at + timedelta(days=unlock["after_days"])
