"""Enrollments, and the grants that alone decide about access to a course."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID

import msgspec
from sqlalchemy import (
    ColumnElement,
    Index,
    UniqueConstraint,
    bindparam,
    delete,
    exists,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import (
    Mapped,
    Session,
    joinedload,
    make_transient_to_detached,
    mapped_column,
    relationship,
    selectinload,
)
from sqlalchemy.orm.attributes import set_committed_value

import settings
from core.db import Aggregate, Base, new_id
from models.commands.courses import EnrollmentCursor
from models.errors import AccessHasNoEnd, AccessSoldLonger
from models.events import (
    AccessEndChanged,
    AccessEnding,
    CourseVersionChanged,
    EnrollmentCreated,
    EnrollmentEnded,
    Event,
    LessonCompleted,
    LessonReopened,
)

from .access_sources import AccessSource
from .course import Course
from .grants import PAID_SOURCES, Grant

ALL_PERCENT = 100


class Enrollment(Aggregate, Base):
    """A user's enrollment in a course. The row is kept after access has ended; the grants decide about access."""

    __tablename__ = "enrollments"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    course_id: Mapped[UUID]
    enrolled_at: Mapped[datetime]
    course_version: Mapped[int | None]  # the version that the learner takes; None: enrolled before it was stored
    access_ends_at: Mapped[datetime | None]  # of the access that the grants give, until its end is published
    end_notice_at: Mapped[datetime | None]  # when the learner is notified of the end; None after that
    # A projection of the learner's progress.
    lessons_completed: Mapped[int]
    progress_percent: Mapped[int]
    progress_version: Mapped[int]  # version of the last applied event

    grants: Mapped[list[Grant]] = relationship(lazy="raise", order_by=Grant.starts_at)

    __table_args__ = (
        UniqueConstraint("user_id", "course_id"),
        Index("ix_enrollments_access_ends_at", "access_ends_at", postgresql_where=text("access_ends_at IS NOT NULL")),
        Index("ix_enrollments_end_notice_at", "end_notice_at", postgresql_where=text("end_notice_at IS NOT NULL")),
        {"schema": "courses"},
    )

    @classmethod
    def get_or_create_for_update(
        cls, session: Session, *, user_id: UUID, course_id: UUID, at: datetime
    ) -> "Enrollment":
        """Return the user's enrollment in a course, locked; created without access if there was none.

        A new enrollment is for the newest published version. A concurrent call for the same enrollment waits here until
        this transaction has ended.
        """
        row = {
            "id": new_id(),
            "version": 0,
            "user_id": user_id,
            "course_id": course_id,
            "enrolled_at": at,
            "lessons_completed": 0,
            "progress_percent": 0,
            "progress_version": 0,
            "access_ends_at": None,
            "end_notice_at": None,
        }
        inserted = session.connection().execute(_INSERT_ONCE, {**row, "of_course": course_id}).one_or_none()
        if inserted:
            return cls._add_inserted(session, {**row, "course_version": inserted.course_version})
        enrollment = cls.find(session, user_id, course_id, for_update=True)
        assert enrollment is not None  # enrollments are never deleted
        return enrollment

    @classmethod
    def _add_inserted(cls, session: Session, row: dict[str, Any]) -> "Enrollment":
        """Return the object of a row that was just inserted as if it had been read, without reading it."""
        enrollment = cls(**row)
        make_transient_to_detached(enrollment)
        set_committed_value(enrollment, "grants", [])
        session.add(enrollment)
        return enrollment

    @classmethod
    def find(cls, session: Session, user_id: UUID, course_id: UUID, *, for_update: bool = False) -> "Enrollment | None":
        """Return the user's enrollment in a course with its grants; None if there is none."""
        theirs = {"user": user_id, "course": course_id}
        if for_update:
            # In a statement of its own: one that waited for the lock would see the grants as they were before the wait.
            session.flush()
            session.connection().execute(_LOCK, theirs)
        return session.scalars(_WITH_GRANTS, theirs).unique().one_or_none()

    @classmethod
    def list_page(
        cls, session: Session, user_id: UUID, after: EnrollmentCursor | None, limit: int
    ) -> tuple[list[Self], EnrollmentCursor | None]:
        """Return up to ``limit`` enrollments of a user, newest first, and the next cursor if there are more."""
        wanted = select(cls).where(cls.user_id == user_id).options(selectinload(cls.grants))
        if after:
            wanted = wanted.where(tuple_(cls.enrolled_at, cls.id) < (after.enrolled_at, after.enrollment_id))
        newest_first = wanted.order_by(cls.enrolled_at.desc(), cls.id.desc())
        rows = list(session.scalars(newest_first.limit(limit + 1)))
        if len(rows) <= limit:
            return rows, None
        last = rows[limit - 1]
        return rows[:limit], EnrollmentCursor(last.enrolled_at, last.id)

    @classmethod
    def filter_incomplete(cls, session: Session, user_id: UUID, course_ids: Sequence[UUID]) -> list[UUID]:
        """Return those of the courses that the user has not completed, in the given order."""
        if not course_ids:
            return []
        theirs = select(cls.course_id).where(cls.user_id == user_id, cls.course_id.in_(course_ids))
        finished = set(session.scalars(theirs.where(cls.progress_percent == ALL_PERCENT)))
        return [course_id for course_id in course_ids if course_id not in finished]

    @classmethod
    def list_for_user(cls, session: Session, user_id: UUID) -> list[Self]:
        """Return all enrollments of a user with their grants, oldest first."""
        theirs = select(cls).where(cls.user_id == user_id).options(selectinload(cls.grants))
        return list(session.scalars(theirs.order_by(cls.enrolled_at)))

    @classmethod
    def list_course_ids(cls, session: Session, user_id: UUID) -> list[UUID]:
        """Return the ids of the courses that a user is, or was, enrolled in."""
        return list(session.scalars(select(cls.course_id).where(cls.user_id == user_id)))

    @classmethod
    def list_by_grant_source_for_update(
        cls, session: Session, source: str, source_id: str, *, user_id: UUID
    ) -> list[Self]:
        """Return the user's enrollments that have a grant of this source, with all their grants, locked."""
        granted = select(Grant.course_id).where(
            Grant.source == source, Grant.source_id == source_id, Grant.user_id == user_id
        )
        theirs = select(cls).where(cls.user_id == user_id, cls.course_id.in_(granted)).order_by(cls.id)
        whole = theirs.options(selectinload(cls.grants)).with_for_update(key_share=True)
        return list(session.scalars(whole.execution_options(populate_existing=True)))

    @classmethod
    def erase(cls, session: Session, user_id: UUID) -> int:
        """Delete a user's enrollments and grants; return the number of rows."""
        AccessSource.erase(session, user_id)
        grants = session.scalars(delete(Grant).where(Grant.user_id == user_id).returning(Grant.id)).all()
        return len(grants) + len(session.scalars(delete(cls).where(cls.user_id == user_id).returning(cls.id)).all())

    def has_access(self, at: datetime) -> bool:
        return any(grant.gives_access(at) for grant in self.grants)

    def grant(
        self,
        source: str,
        source_id: str,
        *,
        course_title: str,
        at: datetime,
        source_state: AccessSource | None = None,
        ends_at: datetime | None = None,
    ) -> EnrollmentCreated | None:
        """Add a grant; return the event, or None if the user does not gain access by it.

        ``source_state`` is the state of the source; the grant starts with that state if it is not active.
        """
        if any((grant.source, grant.source_id) == (source, source_id) for grant in self.grants):
            return None  # a source grants once, even if the grant has been revoked since
        had_access = self.has_access(at)
        new = Grant(id=new_id(), source=source, source_id=source_id, status="active", starts_at=at)
        new.agree_end(ends_at)
        if source_state and source_state.status != "active":
            new.status, new.reason = source_state.status, source_state.reason
        self.grants.append(new)
        return self._enrollment_created(new, course_title, at) if self.has_access(at) and not had_access else None

    def restore(self, source: str, source_id: str, *, course_title: str, at: datetime) -> EnrollmentCreated | None:
        """Reactivate the grant of a source until its agreed end; return the event, or None if access is not gained."""
        had_access = self.has_access(at)
        for grant in self.grants:
            if (grant.source, grant.source_id) == (source, source_id):
                grant.status, grant.ends_at, grant.reason = "active", grant.agreed_ends_at, None
                if not had_access and self.has_access(at):
                    return self._enrollment_created(grant, course_title, at)
        return None

    def change_end(self, ends_at: datetime | None, *, course_title: str, at: datetime) -> EnrollmentCreated | None:
        """Replace the end of all grants that have one and are not revoked, also of those that have expired.

        Return the event, or None if the learner had access already. Raises AccessHasNoEnd, and AccessSoldLonger if a
        grant that was paid would end earlier.
        """
        had_access = self.has_access(at)
        limited = [grant for grant in self.grants if grant.status != "revoked" and grant.agreed_ends_at]
        if not limited:
            raise AccessHasNoEnd(str(self.course_id))
        for grant in limited:
            if grant.source in PAID_SOURCES and ends_at and grant.agreed_ends_at and ends_at < grant.agreed_ends_at:
                raise AccessSoldLonger(grant.agreed_ends_at.isoformat())
            grant.agree_end(ends_at)
        giving = [grant for grant in limited if grant.gives_access(at)]
        return self._enrollment_created(giving[0], course_title, at) if giving and not had_access else None

    def access_events(self, event: EnrollmentCreated | EnrollmentEnded | None, *, at: datetime) -> list[Event]:
        """Store the end of the access after the grants have changed; return the events to record.

        ``event`` is that of the change, if the user gained or lost access by it. Before it comes ENROLLMENT_ENDED of
        access that has expired in the meantime; without it, ACCESS_END_CHANGED if the access ends at another time.
        """
        before, has_access = self.access_ends_at, self.has_access(at)
        self.access_ends_at = self.expires_at(at) if has_access else None
        if self.access_ends_at != before:
            notice = timedelta(days=settings.ACCESS_END_NOTICE_DAYS)
            self.end_notice_at = self.access_ends_at and self.access_ends_at - notice
        events = list[Event]()
        if before and before <= at:
            events.append(self._ended("expired", before))
        if event:
            events.append(event)
        elif has_access and self.access_ends_at != before:
            events.append(self._end_changed(at))
        return events

    def _end_changed(self, at: datetime) -> AccessEndChanged:
        return AccessEndChanged(
            enrollment_id=self.id,
            user_id=self.user_id,
            course_id=self.course_id,
            ends_at=self.access_ends_at,
            changed_at=at,
        )

    def take_end_notice(self, course_title: str) -> AccessEnding | None:
        """Return the event that notifies the learner of the end of access, once for each end; None without one."""
        self.end_notice_at = None
        if self.access_ends_at is None:
            return None
        return AccessEnding(
            enrollment_id=self.id,
            user_id=self.user_id,
            course_id=self.course_id,
            course_title=course_title,
            ends_at=self.access_ends_at,
        )

    def revoke(self, source: str, source_id: str, *, reason: str, at: datetime) -> EnrollmentEnded | None:
        """Revoke the grant of a source; return the event, or None if the user keeps access or had none.

        A suspended grant that is revoked ends the enrollment again: the final reason decides about the certificate.
        """
        ends = self.has_access(at)
        for grant in self.grants:
            is_it = (grant.source, grant.source_id) == (source, source_id)
            if is_it and grant.status != "revoked":
                ends = ends or grant.status == "suspended"
                grant.status, grant.ends_at, grant.reason = "revoked", at, reason
        return self._enrollment_ended(ends, reason, at)

    def suspend(self, source: str, source_id: str, *, reason: str, at: datetime) -> EnrollmentEnded | None:
        """Suspend the grant of a source until it is restored or revoked; returns as ``revoke`` does."""
        had_access = self.has_access(at)
        for grant in self.grants:
            is_it = (grant.source, grant.source_id) == (source, source_id)
            if is_it and grant.status == "active":
                grant.status, grant.reason = "suspended", reason
        return self._enrollment_ended(had_access, reason, at)

    def _enrollment_ended(self, ends: bool, reason: str, at: datetime) -> EnrollmentEnded | None:  # noqa: FBT001
        return self._ended(reason, at) if ends and not self.has_access(at) else None

    def _ended(self, reason: str, at: datetime) -> EnrollmentEnded:
        return EnrollmentEnded(
            enrollment_id=self.id, user_id=self.user_id, course_id=self.course_id, reason=reason, ended_at=at
        )

    def _enrollment_created(self, grant: Grant, course_title: str, at: datetime) -> EnrollmentCreated:
        return EnrollmentCreated(
            enrollment_id=self.id,
            user_id=self.user_id,
            course_id=self.course_id,
            course_title=course_title,
            source=grant.source,
            source_id=grant.source_id,
            enrolled_at=at,
            course_version=self.course_version,
            access_ends_at=self.expires_at(at),
        )

    @classmethod
    def update_progress(
        cls,
        session: Session,
        events: Iterable[tuple[LessonCompleted | LessonReopened | CourseVersionChanged, int | None]],
    ) -> None:
        """Apply progress events, each with its version. An event older than the last applied one is ignored.

        Without a version, the event comes from a test or a rebuild and is always applied. The user has no enrollment
        only after an erasure: progress starts after ENROLLMENT_CREATED.
        """
        counts = dict[tuple[UUID, UUID], dict[str, Any]]()  # one of each course: an UPDATE changes a row once
        for event, version in sorted(events, key=lambda each: each[1] or 0):
            counts[event.user_id, event.course_id] = {
                "user_id": event.user_id,
                "course_id": event.course_id,
                "version": version,
                "completed": event.lessons_completed,
                # Rounded down, so that 100 means that every lesson is completed.
                "percent": 100 * event.lessons_completed // event.lessons_total,
                "course_version": event.course_version if isinstance(event, CourseVersionChanged) else None,
            }
        session.connection().exec_driver_sql(
            _UPDATE_PROGRESS, {"counts": msgspec.json.encode([*counts.values()]).decode()}
        )

    @classmethod
    def change_version(cls, session: Session, user_id: UUID, course_id: UUID, course_version: int) -> None:
        """Store a newer version that the learner takes."""
        theirs = (cls.user_id == user_id, cls.course_id == course_id, cls.course_version < course_version)
        session.execute(update(cls).where(*theirs).values(course_version=course_version))

    @classmethod
    def clear_progress(cls, session: Session, key: str) -> None:
        """Reset the progress of ``<user_id>:<course_id>``, for a rebuild of the projection."""
        user_id, course_id = map(UUID, key.split(":"))
        counted = update(cls).where(cls.user_id == user_id, cls.course_id == course_id)
        session.execute(counted.values(lessons_completed=0, progress_percent=0, progress_version=0))

    def blocking_lesson(self, lesson_id: str, in_order: list[str]) -> str | None:
        """Return the lesson to complete before this one in a sequential course; None if this lesson is open."""
        is_locked = lesson_id in in_order[self.lessons_completed + 1 :]
        return in_order[self.lessons_completed] if is_locked else None

    def to_response(self, *, at: datetime) -> dict[str, Any]:
        """Return an item of GET /v1/me/enrollments."""
        return {
            "course_id": self.course_id,
            "status": "active" if self.has_access(at) else "ended",
            "enrolled_at": self.enrolled_at,
            "expires_at": self.expires_at(at),
            "progress_percent": self.progress_percent,
        }

    def to_learner_response(self, *, at: datetime) -> dict[str, Any]:
        """Return an item of GET /v1/courses/{id}/learners, without the name."""
        return {**self.to_response(at=at), "user_id": self.user_id, "lessons_completed": self.lessons_completed}

    def to_access_response(self, *, at: datetime) -> dict[str, Any]:
        """Return the response of GET /v1/me/courses/{id}/access."""
        giving = [grant.source for grant in self.grants if grant.gives_access(at)]
        return {
            "access": bool(giving),
            "grants": [{**grant.to_response(), "state": grant.period_state(at)} for grant in self.grants],
            "reason": giving[0] if giving else "ended",
        }

    def to_start_message(self) -> dict[str, Any]:
        """Return what the progress service needs to start the course; ``enrolled_at`` is when access began."""
        return {
            "user_id": self.user_id,
            "course_id": self.course_id,
            "course_version": self.course_version,
            "enrolled_at": self.enrolled_at,
            "enrollment_version": self.version,
            "access_ends_at": self.access_ends_at,
        }

    def expires_at(self, at: datetime) -> datetime | None:
        """Return when access ends or has ended; None if it has no end."""
        # Access is the OR of the grants: it ends with the last of them, and never if one has no end.
        relevant = [grant for grant in self.grants if grant.gives_access(at)] or self.grants
        ends = [grant.ends_at for grant in relevant]
        return None if None in ends else max((end for end in ends if end), default=None)


def active_at(at: datetime) -> ColumnElement[bool]:
    """Return the condition for enrollments that give access at ``at``."""
    return exists().where(
        Grant.user_id == Enrollment.user_id,
        Grant.course_id == Enrollment.course_id,
        Grant.status == "active",
        Grant.starts_at <= at,
        Grant.ends_at.is_(None) | (Grant.ends_at > at),
    )


# Built once: building a statement takes longer than executing it.
_THEIRS = (Enrollment.user_id == bindparam("user")) & (Enrollment.course_id == bindparam("course"))
_INSERT_ONCE = (
    insert(Enrollment)
    .values(
        course_version=select(Course.published_version).where(Course.id == bindparam("of_course")).scalar_subquery()
    )
    .on_conflict_do_nothing(index_elements=["user_id", "course_id"])
    .returning(Enrollment.course_version)
)
_LOCK = select(Enrollment.id).where(_THEIRS).with_for_update(key_share=True)
_WITH_GRANTS = (
    select(Enrollment).where(_THEIRS).options(joinedload(Enrollment.grants)).execution_options(populate_existing=True)
)
# By the driver, because SQLAlchemy need not compile it.
_UPDATE_PROGRESS = """
    UPDATE courses.enrollments SET
        lessons_completed = completed,
        progress_percent = percent,
        progress_version = coalesce(counted.version, progress_version),
        course_version = coalesce(counted.course_version, enrollments.course_version)
    FROM jsonb_to_recordset(%(counts)s::jsonb)
        AS counted (
            user_id uuid, course_id uuid, version bigint, completed bigint, percent bigint, course_version bigint
        )
    WHERE enrollments.user_id = counted.user_id AND enrollments.course_id = counted.course_id
    AND (counted.version IS NULL OR progress_version < counted.version)
"""
