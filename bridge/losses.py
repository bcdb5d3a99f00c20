"""A Kafka that has lost its log, or is new and empty, is filled again from the outbox without a hand.

Kafka gives every topic an id of its own, and another one to a topic that is made anew. The ids that we have published
to are kept in PostgreSQL; where one has changed, the events of that topic go back to "unpublished".
"""

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects.postgresql import insert

from models.base import now
from models.kafka_topics import KafkaTopic
from models.log import get_logger
from models.outbox import OutboxEvent

from . import kafka

log = get_logger(__name__)


def unpublish_what_is_lost(connection: Connection, topic_ids: dict[str, str]) -> bool:
    """Compare the broker's topics with those that were published to; True when events will be sent again."""
    known = {row.topic: row.topic_id for row in connection.execute(select(KafkaTopic.topic, KafkaTopic.topic_id))}
    changed = {topic: topic_id for topic, topic_id in topic_ids.items() if known.get(topic) != topic_id}
    return sum(_unpublish(connection, topic, topic_id) for topic, topic_id in sorted(changed.items())) > 0


def _unpublish(connection: Connection, topic: str, topic_id: str) -> int:
    # Two statements in this order: cut off between them, the next leader finds the same change again.
    lost = connection.execute(
        update(OutboxEvent)
        .where(OutboxEvent.aggregatetype == kafka.service_of(topic), OutboxEvent.published_at.is_not(None))
        .values(published_at=None)
    ).rowcount
    known = insert(KafkaTopic).values(topic=topic, topic_id=topic_id, known_since=now())
    connection.execute(
        known.on_conflict_do_update(
            index_elements=["topic"],
            set_={"topic_id": known.excluded.topic_id, "known_since": known.excluded.known_since},
        )
    )
    log.info("new topic", topic=topic, events_to_send_again=lost)
    return lost
