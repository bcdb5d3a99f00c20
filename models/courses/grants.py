"""Grants: the reasons for a user's access to a course, each with its own end."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKeyConstraint, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from core.db import Base

PAID_SOURCES = ("order", "subscription")


class Grant(Base):
    """A reason for a user's access to a course: a paid order, a free enrollment, an enrollment by an admin."""

    __tablename__ = "grants"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    course_id: Mapped[UUID]
    source: Mapped[str]  # order, subscription, free, manual
    source_id: Mapped[str]
    status: Mapped[str]  # active, suspended, revoked
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime | None]
    agreed_ends_at: Mapped[datetime | None]  # the end without a revocation, which a restored grant has again
    reason: Mapped[str | None]  # why it is no longer active

    __table_args__ = (
        UniqueConstraint("source", "source_id", "user_id", "course_id"),
        ForeignKeyConstraint(
            ["user_id", "course_id"], ["courses.enrollments.user_id", "courses.enrollments.course_id"]
        ),
        {"schema": "courses"},
    )

    def gives_access(self, at: datetime) -> bool:
        return self.status == "active" and self.starts_at <= at and (self.ends_at is None or at < self.ends_at)

    def agree_end(self, ends_at: datetime | None) -> None:
        """Set when the grant ends unless it is revoked before; None: never."""
        self.ends_at = self.agreed_ends_at = ends_at

    def to_response(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "source_id": self.source_id,
            "status": self.status,
            "starts_at": self.starts_at,
            "ends_at": self.ends_at,
            "reason": self.reason,
        }

    def period_state(self, at: datetime) -> str:
        """Return whether the period of the grant is active, not_started or expired."""
        if at < self.starts_at:
            return "not_started"
        return "expired" if self.ends_at is not None and self.ends_at <= at else "active"
