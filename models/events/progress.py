"""Events published by the progress service."""

from dataclasses import dataclass
from uuid import UUID

from core.events import AwareDatetime, Event


@dataclass(frozen=True, kw_only=True)
class CourseStarted(Event, topic="progress"):
    """A learner started a course, on this version of its outline."""

    user_id: UUID
    course_id: UUID
    course_version: int
    lessons_total: int
    started_at: AwareDatetime


@dataclass(frozen=True, kw_only=True)
class CourseVersionChanged(Event, topic="progress", retained_forever=True):
    """A learner takes another version of the course. Completed lessons that it has still count."""

    user_id: UUID
    course_id: UUID
    course_version: int
    lessons_completed: int
    lessons_total: int
    changed_at: AwareDatetime


@dataclass(frozen=True, kw_only=True)
class LessonCompleted(Event, topic="progress", retained_forever=True):
    """A learner completed a lesson."""

    user_id: UUID
    course_id: UUID
    course_title: str
    lesson_id: UUID
    lesson_title: str
    lessons_completed: int
    lessons_total: int
    completed_at: AwareDatetime


@dataclass(frozen=True, kw_only=True)
class LessonReopened(Event, topic="progress", retained_forever=True):
    """A learner undid the completion of a lesson."""

    user_id: UUID
    course_id: UUID
    lesson_id: UUID
    lessons_completed: int
    lessons_total: int
    reopened_at: AwareDatetime


@dataclass(frozen=True, kw_only=True)
class LessonUnlocked(Event, topic="progress"):
    """A lesson opened for a learner by its time, or because staff or an instructor opened it. Once for each lesson."""

    user_id: UUID
    course_id: UUID
    course_title: str
    lesson_id: UUID
    lesson_title: str
    opened_at: AwareDatetime  # by the schedule; published some seconds later, after an outage more
    unlocked_at: AwareDatetime  # when this was published
    available: bool  # False: another lesson or course must be completed first


@dataclass(frozen=True, kw_only=True)
class CourseCompleted(Event, topic="progress", retained_forever=True):
    """A learner completed all lessons of a course for the first time."""

    user_id: UUID
    course_id: UUID
    course_title: str
    lessons_total: int
    completed_at: AwareDatetime
    started_at: AwareDatetime | None = None  # None in events of earlier versions


@dataclass(frozen=True, kw_only=True)
class CertificateIssued(Event, topic="progress"):
    """A certificate was issued for a completed course. Anyone with the code can verify it."""

    user_id: UUID
    course_id: UUID
    course_title: str
    code: str
    issued_at: AwareDatetime


@dataclass(frozen=True, kw_only=True)
class CertificateRevoked(Event, topic="progress"):
    """A certificate is no longer valid: staff revoked it, or the course was refunded."""

    user_id: UUID
    course_id: UUID
    course_title: str
    code: str
    cause: str  # staff or refund
    revoked_at: AwareDatetime


@dataclass(frozen=True, kw_only=True)
class CertificateReinstated(Event, topic="progress"):
    """A revoked certificate is valid again."""

    user_id: UUID
    course_id: UUID
    course_title: str
    code: str
    reinstated_at: AwareDatetime
