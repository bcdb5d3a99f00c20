"""The bridge with three brokers of Apache Kafka: the bridge tests again, and tests that need a cluster.

Run them with ``make test ARGS="-m kafka"``.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

import settings
from bridge import kafka
from core.db import new_id, utc_now
from models.events import CourseCompleted
from ops.dev.ports import free_base
from tests.integration.bridge.harness import BridgeHarness, bridge_harness
from tests.integration.bridge.kafka_probe import KafkaProbe, SampleAggregate, publish
from tests.support import environment
from tests.support.apache_kafka import ApacheKafka, cluster_of_three, missing_requirement
from tests.support.events import build_event
from tests.support.polling import assert_never, eventually

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing_requirement()), reason=missing_requirement() or "installed"),
]

TIMEOUT_SECONDS = 60  # a group without a member or its coordinator needs time to form again


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ApacheKafka]]:
    with cluster_of_three(tmp_path_factory.mktemp("kafka"), free_base()) as brokers:
        yield brokers


@pytest.fixture(scope="module")
def harness(brokers: list[ApacheKafka]) -> Iterator[BridgeHarness]:
    """Run a bridge with fake workers on the cluster."""
    with pytest.MonkeyPatch.context() as patch:
        addresses = ",".join(broker.address for broker in brokers)
        patch.setattr(settings, "KAFKA_BOOTSTRAP_SERVERS", addresses)
        patch.setattr(settings, "KAFKA_REPLICATION", 3)
        patch.setattr(settings, "KAFKA_PARTITIONS", 6)
        with bridge_harness("apache", seconds=TIMEOUT_SECONDS) as harness:
            yield harness


def partition_counts() -> list[int]:
    """Return the sorted numbers of partitions of the group's members."""
    admin = AdminClient({"bootstrap.servers": settings.KAFKA_BOOTSTRAP_SERVERS})
    group = kafka.group_of("progress")
    described = admin.describe_consumer_groups([group], request_timeout=5)[group].result(timeout=6)
    return sorted(len(member.assignment.topic_partitions) for member in described.members)


def test_rebalance_is_exactly_once_and_ordered(harness: BridgeHarness):
    keys = [SampleAggregate() for _ in range(12)]

    def publish_round() -> None:
        for _ in range(5):
            publish(*keys)

    publish_round()
    with BridgeHarness(harness.database):
        publish_round()
        with BridgeHarness(harness.database):
            publish_round()
            eventually(
                lambda: partition_counts() == [2, 2, 2],
                "two partitions for each of three members",
                seconds=TIMEOUT_SECONDS,
            )
            publish_round()
        publish_round()
    publish_round()
    eventually(lambda: partition_counts() == [6], "all partitions for the last member", seconds=TIMEOUT_SECONDS)
    for key in keys:
        harness.wait_for(key, seconds=TIMEOUT_SECONDS)

    assert [harness.handled(key) for key in keys] == [list(range(1, 31))] * 12


def test_partition_leader_failure_loses_no_event(harness: BridgeHarness, brokers: list[ApacheKafka]):
    admin = AdminClient({"bootstrap.servers": settings.KAFKA_BOOTSTRAP_SERVERS})
    topic = admin.list_topics(KafkaProbe().topic, timeout=5).topics[KafkaProbe().topic]
    leader = next(broker for broker in brokers if broker.node == topic.partitions[0].leader)
    keys = [SampleAggregate() for _ in range(24)]  # some of them are on partitions of this leader
    for _ in range(5):
        publish(*keys)
    leader.stop()
    for _ in range(5):
        publish(*keys)
    for key in keys:
        harness.wait_for(key, seconds=TIMEOUT_SECONDS)
    leader.start()

    assert [harness.handled(key) for key in keys] == [list(range(1, 11))] * 24
    # An event may be on the topic twice if its acknowledgement was lost with the leader. None is missing or out of
    # order.
    published = [list(dict.fromkeys(KafkaProbe().sequences(key))) for key in keys]
    assert published == [list(range(1, 11))] * 24


def test_aborted_kafka_transactions_are_not_consumed(harness: BridgeHarness):
    """Other producers may use Kafka transactions; the bridge consumes only events of committed ones."""
    key = SampleAggregate()
    producer = Producer(
        {"bootstrap.servers": settings.KAFKA_BOOTSTRAP_SERVERS, "transactional.id": f"tests-{uuid4().hex}"}
    )
    producer.init_transactions(30)

    def begin(number: int) -> None:
        producer.begin_transaction()
        event = build_event(CourseCompleted, course_title=f"{key.aggregate_id} {number} some")
        headers = {"ce_id": str(new_id()), "ce_type": event.type, "ce_sequence": str(number), "ce_time": f"{utc_now()}"}
        producer.produce(
            KafkaProbe().topic, key=key.aggregate_id, value=msgspec.json.encode(event), headers=list(headers.items())
        )
        assert producer.flush(10) == 0

    begin(1)
    assert_never(lambda: harness.handled(key), "an event of an open transaction", seconds=1)
    producer.abort_transaction(10)
    begin(2)
    assert_never(lambda: harness.handled(key), "an event of an open transaction", seconds=1)
    producer.commit_transaction(10)
    harness.wait_for(key, 1)

    assert harness.handled(key) == [2]


def test_bridge_suite_passes_with_apache_kafka(brokers: list[ApacheKafka]):
    """Run the other tests of this folder that use Kafka in a separate pytest process."""
    addresses = ",".join(broker.address for broker in brokers)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "broker and not kafka", str(Path(__file__).parent)],
        cwd=settings.ROOT,
        env={**environment.PLATFORM_ENVIRON, "KAFKA_BOOTSTRAP_SERVERS": addresses},  # the other servers are its own
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )

    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-5_000:]
