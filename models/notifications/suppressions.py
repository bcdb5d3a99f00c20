"""Suppression list of e-mail addresses, and the provider's reports that fill it."""

import hashlib
from datetime import datetime

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base

_REASON = "SELECT reason FROM notifications.suppressions WHERE address_hash = %(hash)s"  # by the driver: not compiled


class Suppression(Base):
    """An address that hard-bounced, or whose owner reported a mail as spam.

    Only its hash is stored, so that the suppression still works after the user was erased.
    """

    __tablename__ = "suppressions"
    __table_args__ = ({"schema": "notifications"},)

    address_hash: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[str]  # bounced or complained
    since: Mapped[datetime]

    @classmethod
    def insert_once(cls, session: Session, address: str, *, reason: str, since: datetime) -> None:
        """Suppress ``address``; an existing suppression keeps its reason."""
        row = {"address_hash": _hash(address), "reason": reason, "since": since}
        session.execute(insert(cls).values(row).on_conflict_do_nothing())

    @classmethod
    def find_reason(cls, session: Session, address: str) -> str | None:
        """Return why ``address`` is suppressed; None if it is not."""
        found = session.connection().exec_driver_sql(_REASON, {"hash": _hash(address)})
        return found.scalar()


class EmailEvent(Base):
    """A processed report of the mail provider, to detect duplicates."""

    __tablename__ = "email_events"
    __table_args__ = ({"schema": "notifications"},)

    id: Mapped[str] = mapped_column(primary_key=True)  # the provider's
    kind: Mapped[str]
    received_at: Mapped[datetime]

    def insert_once(self, session: Session) -> bool:
        """Insert the report; return False if it was processed before.

        A concurrent duplicate waits here until this transaction has ended.
        """
        row = {"id": self.id, "kind": self.kind, "received_at": self.received_at}
        written = insert(EmailEvent).values(row).on_conflict_do_nothing().returning(EmailEvent.id)
        return session.execute(written).first() is not None


def _hash(address: str) -> str:
    # In practice no provider has two mailboxes whose names differ only by case.
    return hashlib.sha256(address.strip().lower().encode()).hexdigest()
