"""Certificates of completed courses: their design, their period and their revocation."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID

from sqlalchemy import CheckConstraint, ColumnElement, delete, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, joinedload, mapped_column

import settings
from core.db import Base
from models.commands.progress import CertificateCursor, CertificateDesign
from models.errors import NotFound, PreconditionFailed
from models.events import CertificateReinstated, CertificateRevoked

from .course_progress import CourseProgress

STAFF, REFUND = "staff", "refund"  # causes of a revocation
REFUNDED = frozenset({"refunded", "charged_back"})  # reasons of ENROLLMENT_ENDED: the buyer has the money again


class CertificateTemplate(Base):
    """A version of the design of a course's certificates. Rows are never changed: the newest one is shown.

    The period of validity is that of the version in force on the day of issue, so that a certificate keeps its end.
    """

    __tablename__ = "certificate_templates"
    __table_args__ = (CheckConstraint("valid_days > 0", name="valid_days"), {"schema": "progress"})

    course_id: Mapped[UUID] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None]
    signatory_name: Mapped[str | None]
    signatory_title: Mapped[str | None]
    accent_color: Mapped[str | None]
    valid_days: Mapped[int | None]
    revoke_on_refund: Mapped[bool | None]
    changed_at: Mapped[datetime]

    @classmethod
    def get(cls, session: Session, course_id: UUID) -> Self:
        """Return the newest version; one with the defaults if nothing was stored."""
        newest = select(cls).where(cls.course_id == course_id).order_by(cls.version.desc()).limit(1)
        return session.scalars(newest).one_or_none() or cls(course_id=course_id, version=1)

    @classmethod
    def replace(
        cls, session: Session, course_id: UUID, design: CertificateDesign, *, expected_version: int, at: datetime
    ) -> Self:
        """Store the next version and return it; the present one if nothing changes. Raises PreconditionFailed."""
        present = cls.get(session, course_id)
        if present.version != expected_version:
            raise PreconditionFailed("certificate template", str(present.version))
        changed = cls(
            course_id=course_id,
            version=present.version + 1,
            title=design.title,
            signatory_name=design.signatory_name,
            signatory_title=design.signatory_title,
            accent_color=design.accent_color,
            valid_days=design.valid_days,
            revoke_on_refund=design.revoke_on_refund,
            changed_at=at,
        )
        if changed.design() == present.design():
            return present
        row = {name: getattr(changed, name) for name in cls.__table__.columns.keys()}  # noqa: SIM118 not a dictionary
        # A concurrent change has taken the number.
        stored = insert(cls).values(**row).on_conflict_do_nothing().returning(cls.version)
        if session.execute(stored).first() is None:
            raise PreconditionFailed("certificate template", str(changed.version))
        return changed

    def design(self) -> CertificateDesign:
        return CertificateDesign(
            title=self.title,
            signatory_name=self.signatory_name,
            signatory_title=self.signatory_title,
            accent_color=self.accent_color,
            valid_days=self.valid_days,
            revoke_on_refund=self.revoke_on_refund,
        )

    def revokes_on_refund(self) -> bool:
        """Return whether a certificate is revoked when access ends by a refund: by the course, or by the setting."""
        return settings.CERTIFICATE_REVOKE_ON_REFUND if self.revoke_on_refund is None else self.revoke_on_refund


class CertificateRevocation(Base):
    """A certificate that is not valid. The row is deleted when the certificate is reinstated."""

    __tablename__ = "certificate_revocations"
    __table_args__ = (CheckConstraint("cause IN ('staff', 'refund')", name="cause"), {"schema": "progress"})

    code: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(index=True)
    cause: Mapped[str]  # staff or refund
    reason: Mapped[str]
    revoked_at: Mapped[datetime]

    @classmethod
    def erase(cls, session: Session, user_id: UUID) -> int:
        """Delete the revocations of a learner's certificates; return their number."""
        return len(session.scalars(delete(cls).where(cls.user_id == user_id).returning(cls.code)).all())


@dataclass(frozen=True)
class Certificate:
    """The certificate of a learner's progress, with the period in days and the revocation that apply to it."""

    progress: CourseProgress
    valid_days: int | None
    revocation: CertificateRevocation | None

    @classmethod
    def list_issued(
        cls,
        session: Session,
        *conditions: ColumnElement[bool],
        after: CertificateCursor | None = None,
        limit: int | None = 1,
    ) -> list[Self]:
        """Return certificates with the outlines of their courses, the newest first."""
        issued = _ISSUED.where(*conditions)
        if after:
            before = tuple_(CourseProgress.certified_at, CourseProgress.course_id)
            issued = issued.where(before < (after.certified_at, after.course_id))
        newest_first = issued.order_by(CourseProgress.certified_at.desc(), CourseProgress.course_id.desc())
        return [cls(*row) for row in session.execute(newest_first.limit(limit))]

    @classmethod
    def get(cls, session: Session, code: str) -> Self:
        """Return the certificate with this code. Raises NotFound."""
        for certificate in cls.list_issued(session, CourseProgress.certificate_code == code):
            return certificate
        raise NotFound("certificate", code)

    @classmethod
    def get_for_update(cls, session: Session, code: str) -> Self:
        """Return the certificate with this code, with its progress locked. Raises NotFound."""
        progress = cls.get(session, code).progress
        CourseProgress.locked_or_none(session, progress.user_id, progress.course_id)
        return cls.get(session, code)  # as another transaction may have left it

    @property
    def code(self) -> str:
        assert self.progress.certificate_code is not None  # every certificate has one
        return self.progress.certificate_code

    @property
    def issued_at(self) -> datetime:
        assert self.progress.certified_at is not None  # set together with the code
        return self.progress.certified_at

    @property
    def expires_at(self) -> datetime | None:
        return self.issued_at + timedelta(days=self.valid_days) if self.valid_days else None

    @property
    def cursor(self) -> CertificateCursor:
        return CertificateCursor(self.issued_at, self.progress.course_id)

    def status(self, at: datetime) -> str:
        """Return valid, revoked or expired."""
        if self.revocation:
            return "revoked"
        return "expired" if self.expires_at and self.expires_at <= at else "valid"

    def revoke(self, session: Session, *, cause: str, reason: str, at: datetime) -> Iterator[CertificateRevoked]:
        """Revoke the certificate and yield the event; no effect if it is revoked by staff already.

        A revocation by staff replaces one by a refund, which a new enrollment would undo.
        """
        if self.revocation and cause in {self.revocation.cause, REFUND}:
            return
        if self.revocation:
            self.revocation.cause, self.revocation.reason = cause, reason
            return
        session.add(
            CertificateRevocation(
                code=self.code, user_id=self.progress.user_id, cause=cause, reason=reason, revoked_at=at
            )
        )
        yield CertificateRevoked(
            user_id=self.progress.user_id,
            course_id=self.progress.course_id,
            course_title=self.progress.outline.title,
            code=self.code,
            cause=cause,
            revoked_at=at,
        )

    def reinstate(self, session: Session, *, at: datetime) -> Iterator[CertificateReinstated]:
        """Undo the revocation and yield the event; no effect if the certificate is not revoked."""
        if self.revocation is None:
            return
        session.delete(self.revocation)
        yield CertificateReinstated(
            user_id=self.progress.user_id,
            course_id=self.progress.course_id,
            course_title=self.progress.outline.title,
            code=self.code,
            reinstated_at=at,
        )

    def to_response(self, *, at: datetime) -> dict[str, Any]:
        """Return an item of GET /v1/users/{id}/certificates."""
        return {
            "code": self.code,
            "course_id": self.progress.course_id,
            "course_title": self.progress.outline.title,
            "issued_at": self.issued_at,
            "expires_at": self.expires_at,
            "status": self.status(at),
            "revoked_at": self.revocation and self.revocation.revoked_at,
            "revocation_cause": self.revocation and self.revocation.cause,
            "revocation_reason": self.revocation and self.revocation.reason,
        }


# The period of the template that was in force on the day of issue.
_VALID_DAYS = (
    select(CertificateTemplate.valid_days)
    .where(
        CertificateTemplate.course_id == CourseProgress.course_id,
        CertificateTemplate.changed_at <= CourseProgress.certified_at,
    )
    .order_by(CertificateTemplate.version.desc())
    .limit(1)
    .correlate(CourseProgress)
    .scalar_subquery()
)
_ISSUED = (
    select(CourseProgress, _VALID_DAYS, CertificateRevocation)
    .outerjoin(CertificateRevocation, CertificateRevocation.code == CourseProgress.certificate_code)
    .where(CourseProgress.certificate_code.is_not(None))
    .options(joinedload(CourseProgress.outline))
    .execution_options(populate_existing=True)
)
