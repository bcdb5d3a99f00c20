"""The id of each Kafka topic that the relay publishes to, and the progress of its refill.

A topic that was deleted and recreated has a new id and an empty log; it is then refilled from the outbox.
"""

from datetime import datetime

from sqlalchemy import CheckConstraint
from sqlalchemy.orm import Mapped, mapped_column

from core.db import Base


class KafkaTopic(Base):
    __tablename__ = "kafka_topics"

    topic: Mapped[str] = mapped_column(primary_key=True)
    topic_id: Mapped[str]
    known_since: Mapped[datetime]
    # A refill republishes the events with refill_after < seq <= refill_until. Both are NULL when no refill is running.
    refill_after: Mapped[int | None]
    refill_until: Mapped[int | None]
    refill_since: Mapped[datetime | None]  # only events recorded at or after it are republished
    refill_started_at: Mapped[datetime | None]
    refill_sent: Mapped[int] = mapped_column(default=0)  # events published by the current or last refill

    __table_args__ = (
        CheckConstraint("(refill_after IS NULL) = (refill_until IS NULL)", name="refill"),
        {"schema": "bus"},
    )

    @property
    def seqs_left(self) -> int:
        """Return an upper bound of the events left: events of other topics and old events are skipped."""
        return max((self.refill_until or 0) - (self.refill_after or 0), 0)
