"""The process between outboxes, Kafka and queues. The only package that imports confluent_kafka."""
