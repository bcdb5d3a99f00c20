"""Announcements to the learners of a course: create, list, and send them page by page."""

import time
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

import settings
from core.bus.outbox import record
from core.db import utc_now
from models.commands.courses import Caller
from models.courses.announcements import Announcement
from models.courses.course import Course
from models.errors import AnnouncementLimitReached, NotFound
from workers import job, task
from workers.runtime.execution import Transactions

PAGE_SIZE = 50  # learners of one event: their contacts are locked together while they are notified
_RUN_SECONDS = 20.0  # then the next run of the job continues


@task
def create_announcement(
    session: Session, *, course_id: UUID, caller: Caller, subject: str, body: str
) -> dict[str, Any]:
    """Create an announcement to the learners who have access now.

    Raises NotFound, AnnouncementLimitReached after ANNOUNCEMENTS_PER_DAY of the course.
    """
    # Its row is locked, so that two requests cannot exceed the limit together.
    course = Course.get_for_update(session, str(course_id), caller, archived=True)
    at = utc_now()
    if Announcement.count_of_day(session, course.id, at=at) >= settings.ANNOUNCEMENTS_PER_DAY:
        raise AnnouncementLimitReached(str(settings.ANNOUNCEMENTS_PER_DAY))
    announcement = Announcement.create(
        session,
        course_id=course.id,
        course_title=course.title,
        author_id=caller.user_id,
        subject=subject,
        body=body,
        at=at,
    )
    session.add(announcement)
    return announcement.to_response()


@task
def list_announcements(
    session: Session, *, course_id: UUID, caller: Caller, after: UUID | None, limit: int
) -> dict[str, Any]:
    """Return a page of the announcements of a course, the newest first: {"items", "next"}. Raises NotFound."""
    course = _taught_course(session, course_id, caller)
    found, following = Announcement.list_page(session, course.id, after=after, limit=limit)
    return {"items": [announcement.to_response() for announcement in found], "next": following}


@task
def show_announcement(session: Session, *, course_id: UUID, announcement_id: UUID, caller: Caller) -> dict[str, Any]:
    """Return an announcement with the number of learners who were notified. Raises NotFound."""
    course = _taught_course(session, course_id, caller)
    return Announcement.get(session, course.id, announcement_id).to_response()


@job
def send_announcements(transactions: Transactions) -> None:
    """Publish announcements for the notifications service, a page of learners in each transaction."""
    until = time.monotonic() + _RUN_SECONDS
    while time.monotonic() < until:
        with transactions.begin() as session:
            announcement = Announcement.find_oldest_for_update(session)
            if announcement is None:
                return
            if page := announcement.next_page(session, limit=PAGE_SIZE, at=utc_now()):
                record(session, announcement, page)


def _taught_course(session: Session, course_id: UUID, caller: Caller) -> Course:
    course = Course.get(session, str(course_id))
    if not course.is_taught_by(caller):
        raise NotFound("course", str(course_id))
    return course
