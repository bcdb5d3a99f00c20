"""The largest possible event reaches a consumer."""

import random
import string

from confluent_kafka import TopicPartition

import settings
from bridge import kafka
from bridge.topics import Topics
from tests.support.polling import eventually

# PostgreSQL's text of an event can be 1.5 times as long as its JSON.
LARGEST_EVENT_BYTES = settings.EVENT_MAX_BYTES * 3 // 2


def test_largest_event_reaches_a_consumer(topics: str):
    Topics().ensure()
    characters = random.Random(1).choices(string.printable, k=LARGEST_EVENT_BYTES)  # hardly compressible
    producer = kafka.producer()
    for value in ("".join(characters), "small"):
        producer.produce(f"{topics}courses", key="k", value=value, partition=0)
    assert producer.flush(10) == 0

    consumer = kafka.consumer("progress")
    try:
        consumer.assign([TopicPartition(f"{topics}courses", 0, 0)])
        sizes = [len(eventually(lambda: consumer.poll(0.5), "a message").value()) for _ in range(2)]
    finally:
        consumer.close()

    assert sizes == [LARGEST_EVENT_BYTES, len("small")]
