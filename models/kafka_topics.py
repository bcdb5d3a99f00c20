"""The identity of each topic that was written to, and how far a refill of it has come.

Kafka gives a topic that is created again another id: its log is empty then, and is refilled from the outbox.
"""

from datetime import datetime

from sqlalchemy import CheckConstraint
from sqlalchemy.orm import Mapped, mapped_column

from .base import Base


class KafkaTopic(Base):
    __tablename__ = "kafka_topics"

    topic: Mapped[str] = mapped_column(primary_key=True)
    topic_id: Mapped[str]
    known_since: Mapped[datetime]
    # A refill publishes the events above ``refill_after`` up to ``refill_until`` (seq) once more; both are NULL
    # when none is running.
    refill_after: Mapped[int | None]
    refill_until: Mapped[int | None]
    refill_since: Mapped[datetime | None]  # only events recorded at or after it
    refill_began_at: Mapped[datetime | None]
    refill_sent: Mapped[int] = mapped_column(default=0)  # events published by the present or last refill

    __table_args__ = (
        CheckConstraint("(refill_after IS NULL) = (refill_until IS NULL)", name="refill"),
        {"schema": "bus"},
    )

    @property
    def seqs_left(self) -> int:
        """An upper bound of the events left: events of other topics and old ones between them are passed over."""
        return max((self.refill_until or 0) - (self.refill_after or 0), 0)
