"""The bridge over Apache Kafka, three brokers of it: what holds over the embedded one, and what only a cluster can do.

make test ARGS="-m kafka"
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

import settings
from bridge import kafka
from models.base import new_id, now
from models.events import CourseCompleted
from ops.local.ports import free_base
from tests.bridge.house import House, house_in, running_relay, wait_until_published
from tests.bridge.wire import Key, Wire, tell
from tests.support import environment
from tests.support.apache_kafka import ApacheKafka, cluster_of_three, why_not
from tests.support.events import some
from tests.support.waiting import eventually, never

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.chaos,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "it is here"),
]

PATIENCE_SECONDS = 60  # a group that has lost a member or its coordinator comes together again


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ApacheKafka]]:
    with cluster_of_three(tmp_path_factory.mktemp("kafka"), free_base()) as brokers:
        yield brokers


@pytest.fixture(scope="module")
def house(brokers: list[ApacheKafka]) -> Iterator[House]:
    """A bridge over the cluster, and hands that work the queues."""
    with pytest.MonkeyPatch.context() as patch:
        addresses = ",".join(broker.address for broker in brokers)
        patch.setattr(settings, "KAFKA_BOOTSTRAP_SERVERS", addresses)
        patch.setitem(kafka._COMMON, "bootstrap.servers", addresses)  # noqa: SLF001 read from settings before
        patch.setattr(settings, "KAFKA_EMBEDDED", False)
        patch.setattr(settings, "KAFKA_REPLICATION", 3)
        patch.setattr(settings, "KAFKA_PARTITIONS", 6)
        with house_in("apache", seconds=PATIENCE_SECONDS) as house:
            yield house


def shares() -> list[int]:
    """How many partitions each member of the group has."""
    admin = AdminClient({"bootstrap.servers": settings.KAFKA_BOOTSTRAP_SERVERS})
    group = kafka.group_of("progress")
    described = admin.describe_consumer_groups([group], request_timeout=5)[group].result(timeout=6)
    return sorted(len(member.assignment.topic_partitions) for member in described.members)


def test_three_bridges_share_the_work_and_no_rebalance_loses_doubles_or_reorders(house: House):
    keys = [Key() for _ in range(12)]

    def go_on() -> None:
        for _ in range(5):
            tell(*keys)

    go_on()
    with House(house.database):
        go_on()
        with House(house.database):
            go_on()
            eventually(lambda: shares() == [2, 2, 2], "a share for each of three", seconds=PATIENCE_SECONDS)
            go_on()
        go_on()
    go_on()
    eventually(lambda: shares() == [6], "all for the one that is left", seconds=PATIENCE_SECONDS)
    for key in keys:
        house.wait_for(key, seconds=PATIENCE_SECONDS)

    assert [house.noted(key) for key in keys] == [list(range(1, 31))] * 12


def test_the_leader_of_a_partition_dies_and_nothing_is_lost(house: House, brokers: list[ApacheKafka]):
    admin = AdminClient({"bootstrap.servers": settings.KAFKA_BOOTSTRAP_SERVERS})
    topic = admin.list_topics(Wire().topic, timeout=5).topics[Wire().topic]
    leader = next(broker for broker in brokers if broker.node == topic.partitions[0].leader)
    keys = [Key() for _ in range(24)]  # of which some lie on its partitions
    for _ in range(5):
        tell(*keys)
    leader.stop()
    for _ in range(5):
        tell(*keys)
    for key in keys:
        house.wait_for(key, seconds=PATIENCE_SECONDS)
    leader.start()

    assert [house.noted(key) for key in keys] == [list(range(1, 11))] * 24
    # On the topic one may lie twice, where its acknowledgement died with the leader; none is missing or early.
    told = [list(dict.fromkeys(Wire().sequences(key))) for key in keys]
    assert told == [list(range(1, 11))] * 24


def test_what_a_transaction_takes_back_is_never_handed_on(house: House):
    """Others may write to our topics within transactions; nobody here hears of one before it is committed."""
    key = Key()
    producer = Producer(
        {"bootstrap.servers": settings.KAFKA_BOOTSTRAP_SERVERS, "transactional.id": f"tests-{uuid4().hex}"}
    )
    producer.init_transactions(30)

    def begin(number: int) -> None:
        producer.begin_transaction()
        event = some(CourseCompleted, course_title=f"{key.aggregate_id} {number} some")
        headers = {"ce_id": str(new_id()), "ce_type": event.type, "ce_sequence": str(number), "ce_time": f"{now()}"}
        producer.produce(
            Wire().topic, key=key.aggregate_id, value=msgspec.json.encode(event), headers=list(headers.items())
        )
        assert producer.flush(10) == 0

    begin(1)
    never(lambda: house.noted(key), "an event of an open transaction", seconds=1)
    producer.abort_transaction(10)
    begin(2)
    never(lambda: house.noted(key), "an event of an open transaction", seconds=1)
    producer.commit_transaction(10)
    house.wait_for(key, 1)

    assert house.noted(key) == [2]


def test_an_offset_of_another_log_is_no_place_in_this_one(house: House):
    """As a bridge may leave behind that learned last of all that the log was lost."""
    house.close()
    key = Key()
    for _ in range(5):
        tell(key)
    with running_relay(house.database):
        wait_until_published(house.database)
    ends = {message.partition: message.offset + 1 for message in Wire().messages()}
    Wire().put([TopicPartition(Wire().topic, number, end, "of another") for number, end in ends.items()])
    with House(house.database) as successor:
        successor.wait_for(key, seconds=PATIENCE_SECONDS)

    assert house.noted(key) == [1, 2, 3, 4, 5]


def test_all_that_holds_over_the_embedded_broker_holds_here(brokers: list[ApacheKafka]):
    """Every other test of this folder, in a run of its own."""
    addresses = ",".join(broker.address for broker in brokers)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "not chaos", str(Path(__file__).parent)],
        cwd=settings.ROOT,
        env={**environment.GIVEN, "KAFKA_BOOTSTRAP_SERVERS": addresses},  # and servers of its own beside it
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )

    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-5_000:]
