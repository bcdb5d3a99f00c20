"""The identity of each topic that we have written to: Kafka gives a topic that is made anew another one."""

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from .base import Base


class KafkaTopic(Base):
    __tablename__ = "kafka_topics"

    topic: Mapped[str] = mapped_column(primary_key=True)
    topic_id: Mapped[str]
    known_since: Mapped[datetime]

    __table_args__ = ({"schema": "bus"},)
