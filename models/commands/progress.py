"""Commands of the progress service."""

from datetime import datetime
from uuid import UUID

import msgspec

from core.commands import Command


class OfflineEvent(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A learner's action while the device was offline; the device assigns ``id``."""

    id: str
    course_id: UUID
    lesson_id: UUID
    kind: str  # completed, position
    position_seconds: int | None = None
    from_seconds: int | None = None  # where the part began that was watched up to ``position_seconds``
    at: datetime


class ProgressCursor(msgspec.Struct, array_like=True):
    """Cursor: the last item of a page."""

    started_at: datetime
    course_id: UUID


class CertificateCursor(msgspec.Struct, array_like=True):
    """Cursor: the last certificate of a page."""

    certified_at: datetime
    course_id: UUID


class CertificateDesign(msgspec.Struct, kw_only=True):
    """The template of a course's certificates. None: the default, or without end."""

    title: str | None = None
    signatory_name: str | None = None
    signatory_title: str | None = None
    accent_color: str | None = None
    valid_days: int | None = None
    revoke_on_refund: bool | None = None


class ScheduledLesson(msgspec.Struct, kw_only=True):
    """When a lesson opens for one learner."""

    lesson_id: UUID
    opens_at: datetime


class ScheduleFields(msgspec.Struct, kw_only=True):
    """What one learner's schedule has beside that of the course."""

    shift_days: int
    lessons: list[ScheduledLesson]
    reason: str


class CompleteLesson(Command, service="progress"):
    """Mark a lesson complete."""

    user_id: UUID
    course_id: UUID
    lesson_id: UUID


class MovePosition(Command, service="progress"):
    """Store the playback position in a lesson."""

    user_id: UUID
    course_id: UUID
    lesson_id: UUID
    position_seconds: int
    from_seconds: int | None = None  # where the part began that was watched up to ``position_seconds``


class RemoveSchedule(Command, service="progress"):
    """Let a learner's lessons open by the schedule of the course again."""

    user_id: UUID
    course_id: UUID
    expected_version: int


class ReplaceSchedule(Command, service="progress"):
    """Open lessons for one learner at other times than those of the course."""

    user_id: UUID
    course_id: UUID
    expected_version: int
    schedule: ScheduleFields


class ShowSchedule(Command, service="progress"):
    """Return what a learner's schedule has beside that of the course."""

    user_id: UUID
    course_id: UUID


class StartEnrolledCourse(Command, service="progress"):
    """Start or reopen a course for an enrollment whose event has not arrived yet."""

    user_id: UUID
    course_id: UUID
    course_version: int | None
    enrolled_at: datetime
    enrollment_version: int
    access_ends_at: datetime | None = None


class UpgradeCourse(Command, service="progress"):
    """Move a learner to a newer version of the course."""

    user_id: UUID
    course_id: UUID
    course_version: int


class CompletePassedQuiz(Command, service="progress"):
    """Complete the lesson of a passed quiz whose event has not arrived yet."""

    user_id: UUID
    course_id: UUID
    lesson_id: UUID
    attempt: int
    attempted_at: datetime


class CheckLessonOpen(Command, service="progress"):
    """Check that a learner may open a lesson now."""

    user_id: UUID
    course_id: UUID
    lesson_id: UUID


class ReopenLesson(Command, service="progress"):
    """Mark a lesson as not complete."""

    user_id: UUID
    course_id: UUID
    lesson_id: UUID


class SyncOfflineProgress(Command, service="progress"):
    """Apply actions that a device recorded while it was offline.

    A course that is not started refuses the whole batch, unless it is in ``without_access``; if that is None, it
    refuses its own events only.
    """

    user_id: UUID
    events: list[OfflineEvent]
    without_access: list[UUID] | None = None


class ListCertificates(Command, service="progress"):
    """Return a page of a learner's certificates, the newest first."""

    user_id: UUID
    after: CertificateCursor | None
    limit: int


class ListProgress(Command, service="progress"):
    """Return a page of a learner's progress in all courses, the latest started first."""

    user_id: UUID
    after: ProgressCursor | None
    limit: int


class ListCourseProgress(Command, service="progress"):
    """Return a learner's progress in these courses."""

    user_id: UUID
    course_ids: list[UUID]


class ShowLearnerProgress(Command, service="progress"):
    """Return a learner's progress in a course with the state of each lesson."""

    user_id: UUID
    course_id: UUID


class ReinstateCertificate(Command, service="progress"):
    """Undo the revocation of a certificate."""

    code: str


class ReplaceCertificateTemplate(Command, service="progress"):
    """Store the design of the certificates of a course."""

    course_id: UUID
    expected_version: int
    design: CertificateDesign


class RevokeCertificate(Command, service="progress"):
    """Revoke a certificate on behalf of staff."""

    code: str
    reason: str


class ShowCertificateTemplate(Command, service="progress"):
    """Return the design of the certificates of a course."""

    course_id: UUID


class ShowCertificate(Command, service="progress"):
    """Return the certificate with this code and the ``user_id`` of its holder."""

    code: str


class ShowPosition(Command, service="progress"):
    """Return a learner's playback position in a lesson."""

    user_id: UUID
    course_id: UUID
    lesson_id: UUID


class ShowProgress(Command, service="progress"):
    """Return a learner's progress in a course."""

    user_id: UUID
    course_id: UUID


class ShowStreak(Command, service="progress"):
    """Return the streak: consecutive days with completed lessons in the calendar of ``timezone``."""

    user_id: UUID
    timezone: str
