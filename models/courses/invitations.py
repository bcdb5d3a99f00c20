"""Addresses of users, a projection of the users service, and invitations of addresses that no user has verified yet."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from sqlalchemy import Index, delete, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base, PrivateText


class Address(Base):
    """The address of a user, in lower case. Only a verified one identifies the user."""

    __tablename__ = "addresses"
    __table_args__ = (
        Index("ix_addresses_verified", "email", postgresql_where=text("verified")),
        {"schema": "courses"},
    )

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    version: Mapped[int]  # of the profile
    email: Mapped[PrivateText | None]
    verified: Mapped[bool]

    @classmethod
    def upsert(cls, session: Session, user_id: UUID, *, version: int, email: str | None, verified: bool) -> None:
        """Store the address of a profile, unless that of a newer version is stored."""
        row = insert(cls).values(
            user_id=user_id, version=version, email=email and email.lower(), verified=bool(email) and verified
        )
        fields = {name: row.excluded[name] for name in ("version", "email", "verified")}
        newer = cls.version < row.excluded.version
        session.execute(row.on_conflict_do_update(index_elements=["user_id"], set_=fields, where=newer))

    @classmethod
    def find_user_id(cls, session: Session, email: str) -> UUID | None:
        """Return the user who has verified an address, of several the one who registered first."""
        found = select(cls.user_id).where(cls.email == email, cls.verified).order_by(cls.user_id).limit(1)
        return session.scalar(found)

    @classmethod
    def find_email(cls, session: Session, user_id: UUID) -> str | None:
        """Return the address of a user, verified or not."""
        return session.scalar(select(cls.email).where(cls.user_id == user_id))

    @classmethod
    def erase(cls, session: Session, user_id: UUID) -> int:
        """Delete the address of a user; return the number of rows."""
        return len(session.scalars(delete(cls).where(cls.user_id == user_id).returning(cls.user_id)).all())


class Invitation(Base):
    """Access to a course for the user who verifies an address. The row is deleted when access is given."""

    __tablename__ = "invitations"
    __table_args__ = ({"schema": "courses"},)

    email: Mapped[PrivateText] = mapped_column(primary_key=True)
    course_id: Mapped[UUID] = mapped_column(primary_key=True)
    invited_by: Mapped[UUID]
    ends_at: Mapped[datetime | None]  # of the access
    created_at: Mapped[datetime]

    @classmethod
    def insert_once(
        cls, session: Session, email: str, course_id: UUID, *, invited_by: UUID, ends_at: datetime | None, at: datetime
    ) -> bool:
        """Invite an address; return False if it is invited already."""
        values = {
            "email": email,
            "course_id": course_id,
            "invited_by": invited_by,
            "ends_at": ends_at,
            "created_at": at,
        }
        row = insert(cls).values(values).on_conflict_do_nothing().returning(cls.email)
        return session.scalar(row) is not None

    @classmethod
    def withdraw(cls, session: Session, email: str, course_id: UUID) -> bool:
        """Delete an invitation; return whether there was one."""
        theirs = delete(cls).where(cls.email == email, cls.course_id == course_id).returning(cls.email)
        return session.scalar(theirs) is not None

    @classmethod
    def take(cls, session: Session, *, limit: int, user_id: UUID | None = None) -> list[tuple[UUID, Self]]:
        """Delete up to ``limit`` invitations of verified addresses; return each with its user, the first of several."""
        wanted = select(Address.user_id, cls).join(Address, (Address.email == cls.email) & Address.verified)
        if user_id:
            wanted = wanted.where(Address.user_id == user_id)
        locked = wanted.order_by(cls.email, cls.course_id, Address.user_id).limit(limit)
        taken = list[tuple[UUID, Self]]()
        for found_id, invitation in session.execute(locked.with_for_update(of=cls, skip_locked=True)):
            if invitation not in session.deleted:
                session.delete(invitation)
                taken.append((found_id, invitation))
        return taken

    @classmethod
    def list_for_email(cls, session: Session, email: str) -> list[dict[str, Any]]:
        """Return the invitations of an address, for a data export."""
        found = session.scalars(select(cls).where(cls.email == email).order_by(cls.created_at))
        return [{"course_id": each.course_id, "ends_at": each.ends_at, "created_at": each.created_at} for each in found]

    @classmethod
    def erase(cls, session: Session, email: str) -> int:
        """Delete the invitations of an address; return the number of rows."""
        return len(session.scalars(delete(cls).where(cls.email == email).returning(cls.course_id)).all())

    @classmethod
    def prune(cls, session: Session, *, before: datetime) -> None:
        """Delete invitations that were not accepted since a time."""
        session.execute(delete(cls).where(cls.created_at < before))
