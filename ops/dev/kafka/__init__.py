"""A development broker that speaks Kafka's protocol, with its topics and consumer groups in memory.

It does what the product needs of Apache Kafka: topics with ids, idempotent producers, fetches that wait for records,
and consumer groups with cooperative assignments and offsets with metadata. It has one node, no replication, no
transactions, no retention and no access control. A restart loses topics and groups; the bridge detects that the topic
ids changed and publishes the recent events again.
"""

import sys


def command() -> list[str]:
    """Return the command of the broker."""
    return [sys.executable, "-m", "ops.dev.kafka"]
