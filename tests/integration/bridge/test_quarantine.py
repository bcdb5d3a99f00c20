"""An event that Kafka rejects permanently is quarantined with the later events of its key; others are published."""

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from bridge import cli, kafka
from bridge.metrics import BusCollector
from bridge.publisher import batch_sender, relay
from core.bus.quarantine import PARKED, iter_quarantined, release
from core.db import session_factory
from tests.integration.bridge.harness import UNPUBLISHED, running_relay
from tests.integration.bridge.kafka_probe import SERVICE, KafkaProbe, SampleAggregate, publish
from tests.integration.bridge.test_relay import publisher
from tests.support.databases import Database
from tests.support.polling import eventually

PENDING_COUNT = f"{UNPUBLISHED} AND failed_at IS NULL"
FAILED = "SELECT aggregate_version, failure_reason = 'parked' FROM bus.outbox WHERE failed_at IS NOT NULL ORDER BY seq"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "CHECK_SECONDS", 0.1)
    monkeypatch.setattr(relay, "POLL_SECONDS", 0.05)


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function that sets the maximum message size of the producer."""
    return lambda size: monkeypatch.setattr(kafka, "MESSAGE_MAX_BYTES", size)


def publish_large(key: SampleAggregate) -> None:
    publish(key, title="x" * 20_000)


def wait_until_outbox_is_empty(database: Database) -> None:
    eventually(lambda: database.value(PENDING_COUNT) == 0, "an empty outbox")


def quarantined_ids() -> list[str]:
    with session_factory(SERVICE).begin() as session:
        return [event.id for event in iter_quarantined(session, SERVICE)]


def test_rejected_event_is_quarantined_with_its_key(database: Database, kafka_probe: KafkaProbe, limit):
    limit(10_000)
    large, other = SampleAggregate(), SampleAggregate()
    publish(large, other)
    publish_large(large)
    publish(large, other)
    publish(large)

    with running_relay(database):
        wait_until_outbox_is_empty(database)
        publish(large, other)
        wait_until_outbox_is_empty(database)

    assert kafka_probe.sequences(other) == [1, 2, 3]
    assert kafka_probe.sequences(large) == [1]
    assert database.rows(FAILED) == [(2, False), (3, True), (4, True), (5, True)]
    [reason] = database.rows(
        "SELECT failure_reason FROM bus.outbox WHERE aggregate_version = 2 AND failed_at > 'epoch'"
    )
    assert reason[0].startswith("MSG_SIZE_TOO_LARGE: ")


def test_released_events_are_published_in_order(database: Database, kafka_probe: KafkaProbe, limit):
    limit(10_000)
    key = SampleAggregate()
    publish_large(key)
    publish(key)
    with running_relay(database):
        wait_until_outbox_is_empty(database)
    limit(1_000_000)
    with session_factory(SERVICE).begin() as session:
        released = release(session, SERVICE, int(quarantined_ids()[0].partition("-")[2]))

    with running_relay(database):
        wait_until_outbox_is_empty(database)

    assert released == 2
    assert kafka_probe.sequences(key) == [1, 2]
    assert database.rows(FAILED) == []


def test_released_event_is_quarantined_when_rejected_again(database: Database, kafka_probe: KafkaProbe, limit):
    limit(10_000)
    key = SampleAggregate()
    publish_large(key)
    publish(key)
    with running_relay(database):
        wait_until_outbox_is_empty(database)
        cli.main(["quarantine", "release", *quarantined_ids()])
        wait_until_outbox_is_empty(database)

    assert kafka_probe.sequences(key) == []
    assert database.rows(FAILED) == [(1, False), (2, True)]


class RejectingProducer:
    """A producer whose broker rejects every batch that contains the second event of one key."""

    def __init__(self, bad: SampleAggregate, error: int) -> None:
        self._producer = kafka.producer()
        self._bad, self._error = bad, error
        self._batch: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self.poll = self._producer.poll

    def produce(self, *args: Any, **kwargs: Any) -> None:
        self._batch.append((args, kwargs))

    def flush(self, seconds: float) -> int:
        batch, self._batch = self._batch, []
        if any(self._is_bad(kwargs) for _, kwargs in batch):
            for _, kwargs in batch:
                kwargs["on_delivery"](KafkaError(self._error), None)
            return 0
        for args, kwargs in batch:
            self._producer.produce(*args, **kwargs)
        return int(self._producer.flush(seconds))

    def _is_bad(self, kwargs: dict[str, Any]) -> bool:
        return (kwargs["key"], dict(kwargs["headers"])["ce_sequence"]) == (self._bad.aggregate_id, "2")


@pytest.mark.parametrize("error", sorted(batch_sender.PERMANENT_ERRORS))
def test_other_events_of_rejected_batch_are_published(
    database: Database, kafka_probe: KafkaProbe, monkeypatch, error: int
):
    bad, fine = SampleAggregate(), SampleAggregate()
    for _ in range(3):
        publish(bad, fine)
    producer = RejectingProducer(bad, error)
    monkeypatch.setattr(kafka, "producer", lambda: producer)

    with publisher(database) as manual_publisher:
        manual_publisher.publish()
        manual_publisher.publish()  # parks the later event of the key

    assert kafka_probe.sequences(fine) == [1, 2, 3]
    assert kafka_probe.sequences(bad) == [1]
    assert database.rows(FAILED) == [(2, False), (3, True)]


def test_transient_broker_error_does_not_quarantine(database: Database, kafka_probe: KafkaProbe, monkeypatch):
    bad = SampleAggregate()
    publish(bad)
    publish(bad)
    producer = RejectingProducer(bad, KafkaError.NOT_ENOUGH_REPLICAS)
    monkeypatch.setattr(kafka, "producer", lambda: producer)

    with publisher(database) as manual_publisher, pytest.raises(KafkaException):
        manual_publisher.publish()

    assert database.rows(FAILED) == []
    assert database.value(UNPUBLISHED) == 2


def test_event_acked_before_a_rejected_one_is_republished(database: Database, kafka_probe: KafkaProbe, monkeypatch):
    """Kafka rejected the batch of the first event and acknowledged the batch of the second."""
    key = SampleAggregate()
    publish(key)
    publish(key)

    class PartlyRejectingProducer(RejectingProducer):
        is_first = True

        def flush(self, seconds: float) -> int:
            if self.is_first:
                self.is_first = False
                _, kwargs = self._batch.pop(0)
                kwargs["on_delivery"](KafkaError(KafkaError.MSG_SIZE_TOO_LARGE), None)
            return super().flush(seconds)

    producer = PartlyRejectingProducer(SampleAggregate(), 0)
    monkeypatch.setattr(kafka, "producer", lambda: producer)
    with publisher(database) as manual_publisher:
        manual_publisher.publish()
        manual_publisher.publish()

    assert kafka_probe.sequences(key) == [2, 1, 2]
    assert database.value(UNPUBLISHED) == 0


def test_relay_query_skips_parked_events_by_index(database: Database):
    database.execute(
        f"""INSERT INTO bus.outbox (id, aggregatetype, aggregateid, aggregate_version, type, payload, headers,
                                   created_at, published_at, failed_at, failure_reason)
           SELECT gen_random_uuid(), 'progress', (n % 50)::text, n, 'LESSON_COMPLETED', '{{}}', '{{}}', now(),
                  CASE WHEN n % 2 = 0 THEN now() END, CASE WHEN n % 2 = 1 THEN now() END,
                  CASE WHEN n % 2 = 1 THEN '{PARKED}' END
           FROM generate_series(1, 20000) AS n"""  # noqa: S608 constant
    )
    for _ in range(3):
        publish(SampleAggregate())
    database.execute("ANALYZE bus.outbox")

    with relay._engine(database.url).connect() as connection:  # noqa: SLF001 the engine of Relay
        statement = relay._UNPUBLISHED.compile(connection, compile_kwargs={"literal_binds": True})  # noqa: SLF001
        plan = [line for (line,) in connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS OFF) {statement}")]

    text = "\n".join(plan)
    assert "Index Scan using ix_outbox_unpublished" in text
    assert "ix_outbox_quarantined" in text
    assert "Seq Scan" not in text
    assert "rows=3 " in plan[0].replace("rows=3.00", "rows=3")


def test_quarantine_metrics_are_exported(database: Database, kafka_probe: KafkaProbe, limit):
    limit(10_000)
    key = SampleAggregate()
    publish_large(key)
    publish(key)
    database.execute("UPDATE bus.outbox SET created_at = now() - interval '10 min'")
    with running_relay(database):
        wait_until_outbox_is_empty(database)

    samples = {
        sample.name: sample.value
        for metric in BusCollector().collect()
        for sample in metric.samples
        if sample.labels.get("service") == SERVICE
    }

    assert samples["coursebus_quarantined_events"] == 1
    assert samples["coursebus_parked_events"] == 1
    assert samples["coursebus_quarantined_oldest_seconds"] == pytest.approx(600, abs=5)
    assert samples["coursebus_outbox_pending"] == 0


def test_cli_lists_releases_and_discards(database: Database, kafka_probe: KafkaProbe, limit, capsys):
    limit(10_000)
    key = SampleAggregate()
    publish_large(key)
    publish_large(key)
    publish(key)
    with running_relay(database):
        wait_until_outbox_is_empty(database)
        [name] = quarantined_ids()

        assert cli.main(["quarantine", "list"]) == 0
        shown = f"{name}  COURSE_COMPLETED  {key.aggregate_id}  0 min  2 parked  MSG_SIZE_TOO_LARGE"
        assert shown in capsys.readouterr().out

        assert cli.main(["quarantine", "discard", name, "--reason", "it is of a test"]) == 0
        assert f"{name}: discarded; released 2 events\n" in capsys.readouterr().out
        eventually(lambda: quarantined_ids() and quarantined_ids() != [name], "the quarantine of the second event")
        wait_until_outbox_is_empty(database)  # the third event is parked behind it

        assert cli.main(["quarantine", "release", name]) == 1
        assert "There is no quarantined event" in capsys.readouterr().out
        assert cli.main(["quarantine", "release", "--all"]) == 0
        assert f"{SERVICE}-{int(name.partition('-')[2]) + 1}: released 2 events\n" in capsys.readouterr().out
    assert kafka_probe.sequences(key) == []
