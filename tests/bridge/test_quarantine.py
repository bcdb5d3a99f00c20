"""Events that Kafka refuses for good: each waits alone with the later events of its key, and all others go on."""

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from bridge import cli, kafka, relay, sending
from bridge.metrics import Bus
from models.base import sessions
from models.quarantine import PARKED, quarantined, release
from tests.bridge.house import UNPUBLISHED, running_relay
from tests.bridge.test_relay import publisher
from tests.bridge.wire import SERVICE, Key, Wire, tell
from tests.support.databases import Database
from tests.support.waiting import eventually

WAITING = f"{UNPUBLISHED} AND failed_at IS NULL"
FAILED = "SELECT aggregate_version, failure_reason = 'parked' FROM bus.outbox WHERE failed_at IS NOT NULL ORDER BY seq"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "CHECK_SECONDS", 0.1)
    monkeypatch.setattr(relay, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(relay, "CONSUMERS_NOTICE_SECONDS", 0)


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Set the size of a message above which the producer refuses it."""
    return lambda size: monkeypatch.setattr(kafka, "MESSAGE_MAX_BYTES", size)


def tell_large(key: Key) -> None:
    tell(key, title="x" * 20_000)


def wait_until_nothing_waits(database: Database) -> None:
    eventually(lambda: database.value(WAITING) == 0, "an empty outbox")


def refused() -> list[str]:
    with sessions(SERVICE).begin() as session:
        return [event.id for event in quarantined(session, SERVICE)]


def test_a_refused_event_waits_alone_with_its_key(database: Database, wire: Wire, limit):
    limit(10_000)
    large, other = Key(), Key()
    tell(large, other)
    tell_large(large)
    tell(large, other)
    tell(large)

    with running_relay(database):
        wait_until_nothing_waits(database)
        tell(large, other)
        wait_until_nothing_waits(database)

    assert wire.sequences(other) == [1, 2, 3]
    assert wire.sequences(large) == [1]
    assert database.rows(FAILED) == [(2, False), (3, True), (4, True), (5, True)]
    [reason] = database.rows(
        "SELECT failure_reason FROM bus.outbox WHERE aggregate_version = 2 AND failed_at > 'epoch'"
    )
    assert reason[0].startswith("MSG_SIZE_TOO_LARGE: ")


def test_released_events_are_published_in_order(database: Database, wire: Wire, limit):
    limit(10_000)
    key = Key()
    tell_large(key)
    tell(key)
    with running_relay(database):
        wait_until_nothing_waits(database)
    limit(1_000_000)
    with sessions(SERVICE).begin() as session:
        released = release(session, SERVICE, int(refused()[0].partition("-")[2]))

    with running_relay(database):
        wait_until_nothing_waits(database)

    assert released == 2
    assert wire.sequences(key) == [1, 2]
    assert database.rows(FAILED) == []


def test_an_event_that_is_refused_again_returns_to_the_quarantine(database: Database, wire: Wire, limit):
    limit(10_000)
    key = Key()
    tell_large(key)
    tell(key)
    with running_relay(database):
        wait_until_nothing_waits(database)
        cli.main(["quarantine", "release", *refused()])
        wait_until_nothing_waits(database)

    assert wire.sequences(key) == []
    assert database.rows(FAILED) == [(1, False), (2, True)]


class Refusing:
    """A producer whose broker refuses, as a whole, each batch that holds the second event of one key."""

    def __init__(self, bad: Key, error: int) -> None:
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


@pytest.mark.parametrize("error", sorted(sending.PERMANENT))
def test_events_refused_together_with_a_bad_one_are_published(database: Database, wire: Wire, monkeypatch, error: int):
    bad, fine = Key(), Key()
    for _ in range(3):
        tell(bad, fine)
    producer = Refusing(bad, error)
    monkeypatch.setattr(kafka, "producer", lambda: producer)

    with publisher(database) as by_hand:
        by_hand.publish()
        by_hand.publish()  # parks what is behind it

    assert wire.sequences(fine) == [1, 2, 3]
    assert wire.sequences(bad) == [1]
    assert database.rows(FAILED) == [(2, False), (3, True)]


def test_an_error_of_the_broker_quarantines_nothing(database: Database, wire: Wire, monkeypatch):
    bad = Key()
    tell(bad)
    tell(bad)
    producer = Refusing(bad, KafkaError.NOT_ENOUGH_REPLICAS)
    monkeypatch.setattr(kafka, "producer", lambda: producer)

    with publisher(database) as by_hand, pytest.raises(KafkaException):
        by_hand.publish()

    assert database.rows(FAILED) == []
    assert database.value(UNPUBLISHED) == 2


def test_an_event_taken_before_an_earlier_one_of_its_key_is_published_behind_it(
    database: Database, wire: Wire, monkeypatch
):
    """Kafka refused one batch with the first event, and acknowledged another with the second."""
    key = Key()
    tell(key)
    tell(key)

    class Uneven(Refusing):
        is_first = True

        def flush(self, seconds: float) -> int:
            if self.is_first:
                self.is_first = False
                _, kwargs = self._batch.pop(0)
                kwargs["on_delivery"](KafkaError(KafkaError.MSG_SIZE_TOO_LARGE), None)
            return super().flush(seconds)

    producer = Uneven(Key(), 0)
    monkeypatch.setattr(kafka, "producer", lambda: producer)
    with publisher(database) as by_hand:
        by_hand.publish()
        by_hand.publish()

    assert wire.sequences(key) == [2, 1, 2]
    assert database.value(UNPUBLISHED) == 0


def test_many_parked_events_are_not_read_again(database: Database):
    database.execute(
        f"""INSERT INTO bus.outbox (id, aggregatetype, aggregateid, aggregate_version, type, payload, headers,
                                   created_at, published_at, failed_at, failure_reason)
           SELECT gen_random_uuid(), 'progress', (n % 50)::text, n, 'LESSON_COMPLETED', '{{}}', '{{}}', now(),
                  CASE WHEN n % 2 = 0 THEN now() END, CASE WHEN n % 2 = 1 THEN now() END,
                  CASE WHEN n % 2 = 1 THEN '{PARKED}' END
           FROM generate_series(1, 20000) AS n"""  # noqa: S608 a constant
    )
    for _ in range(3):
        tell(Key())
    database.execute("ANALYZE bus.outbox")

    with relay._engine(database.url).connect() as connection:  # noqa: SLF001 as Relay makes it
        statement = relay._UNPUBLISHED.compile(connection, compile_kwargs={"literal_binds": True})  # noqa: SLF001
        plan = [line for (line,) in connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS OFF) {statement}")]

    text = "\n".join(plan)
    assert "Index Scan using ix_outbox_unpublished" in text
    assert "ix_outbox_quarantined" in text
    assert "Seq Scan" not in text
    assert "rows=3 " in plan[0].replace("rows=3.00", "rows=3")


def test_quarantine_is_measured(database: Database, wire: Wire, limit):
    limit(10_000)
    key = Key()
    tell_large(key)
    tell(key)
    database.execute("UPDATE bus.outbox SET created_at = now() - interval '10 min'")
    with running_relay(database):
        wait_until_nothing_waits(database)

    samples = {
        sample.name: sample.value
        for metric in Bus().collect()
        for sample in metric.samples
        if sample.labels.get("service") == SERVICE
    }

    assert samples["coursebus_quarantined_events"] == 1
    assert samples["coursebus_parked_events"] == 1
    assert samples["coursebus_quarantined_oldest_seconds"] == pytest.approx(600, abs=5)
    assert samples["coursebus_outbox_pending"] == 0


def test_the_command_line_lists_releases_and_discards(database: Database, wire: Wire, limit, capsys):
    limit(10_000)
    key = Key()
    tell_large(key)
    tell_large(key)
    tell(key)
    with running_relay(database):
        wait_until_nothing_waits(database)
        [name] = refused()

        assert cli.main(["quarantine", "list"]) == 0
        shown = f"{name}  COURSE_COMPLETED  {key.aggregate_id}  0 min  2 waiting  MSG_SIZE_TOO_LARGE"
        assert shown in capsys.readouterr().out

        assert cli.main(["quarantine", "discard", name, "--reason", "it is of a test"]) == 0
        assert f"{name}: discarded; released 2 events\n" in capsys.readouterr().out
        eventually(lambda: refused() and refused() != [name], "the quarantine of the second event")

        assert cli.main(["quarantine", "release", name]) == 1
        assert "There is no quarantined event" in capsys.readouterr().out
        assert cli.main(["quarantine", "release", "--all"]) == 0
        assert f"{SERVICE}-{int(name.partition('-')[2]) + 1}: released 2 events\n" in capsys.readouterr().out
    assert wire.sequences(key) == []
