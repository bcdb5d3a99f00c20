"""Addresses that must not be written to, and the provider's reports that say so."""

import hashlib
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.base import Base


class Suppression(Base):
    """An address that bounced for good, or whose reader called a mail of ours spam.

    Only its hash is kept: enough to recognise it, also after the person was erased.
    """

    __tablename__ = "suppressions"
    __table_args__ = ({"schema": "notifications"},)

    address_hash: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[str]  # bounced or complained
    since: Mapped[datetime]

    @classmethod
    def keep(cls, session: Session, address: str, *, reason: str, since: datetime) -> None:
        """Write to ``address`` no more; the first reason stays."""
        row = {"address_hash": _hash(address), "reason": reason, "since": since}
        session.execute(insert(cls).values(row).on_conflict_do_nothing())

    @classmethod
    def reason_of(cls, session: Session, address: str) -> str | None:
        """Why ``address`` is not written to; None where it is."""
        return session.scalar(select(cls.reason).where(cls.address_hash == _hash(address)))


class MailReport(Base):
    """A report of the mail provider's that was taken. It may come again."""

    __tablename__ = "mail_reports"
    __table_args__ = ({"schema": "notifications"},)

    id: Mapped[str] = mapped_column(primary_key=True)  # the provider's
    kind: Mapped[str]
    received_at: Mapped[datetime]

    def first(self, session: Session) -> bool:
        """Write it down; False when it was taken before. A concurrent twin waits here for our commit."""
        row = {"id": self.id, "kind": self.kind, "received_at": self.received_at}
        written = insert(MailReport).values(row).on_conflict_do_nothing().returning(MailReport.id)
        return session.execute(written).first() is not None


def _hash(address: str) -> str:
    # Mailboxes whose names differ by case only are all but unknown.
    return hashlib.sha256(address.strip().lower().encode()).hexdigest()
