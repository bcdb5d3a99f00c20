import pytest

from tests.integration.bridge.kafka_probe import KafkaProbe


@pytest.fixture
def kafka_probe(topics: str) -> KafkaProbe:
    return KafkaProbe()
