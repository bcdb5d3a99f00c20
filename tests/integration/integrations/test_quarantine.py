"""Quarantined events over HTTP: each service shows and releases its own."""

from typing import Any

from core.bus.outbox import record
from core.bus.quarantine import PARKED
from core.db import session_factory
from models.events import CourseCompleted
from tests.integration.bridge.kafka_probe import SampleAggregate
from tests.support.databases import Database
from tests.support.deliveries import deliver
from tests.support.events import build_event

STATES = "SELECT failure_reason FROM bus.outbox ORDER BY seq"


def quarantine(database: Database, *, parked: int) -> str:
    """Quarantine an event and park others behind it; returns its public id."""
    key = SampleAggregate()
    with session_factory("progress").begin() as session:
        for _ in range(1 + parked):
            record(session, key, build_event(CourseCompleted))  # type: ignore[arg-type]
    of_the_key = "WHERE aggregateid = :key"
    database.execute(
        f"""UPDATE bus.outbox SET failed_at = now(), failure_reason =
            CASE aggregate_version WHEN 1 THEN 'INVALID_RECORD: a test' ELSE '{PARKED}' END {of_the_key}""",  # noqa: S608
        key=key.aggregate_id,
    )
    return f"progress-{database.value(f'SELECT min(seq) FROM bus.outbox {of_the_key}', key=key.aggregate_id)}"  # noqa: S608


def quarantined_events(service: str, *, limit: int = 10, after: int = 0) -> list[dict[str, Any]]:
    reply = deliver(f"{service}.list_quarantined", {"service": service, "limit": limit, "after": after})
    return list(reply["result"])


def test_service_lists_own_quarantined_events(database: Database):
    names = [quarantine(database, parked=2), quarantine(database, parked=0)]

    events = quarantined_events("progress")

    assert [event["id"] for event in events] == names
    assert [event["parked"] for event in events] == [2, 0]
    assert events[0]["reason"] == "INVALID_RECORD: a test"
    assert [event["id"] for event in quarantined_events("progress", limit=1)] == names[:1]
    assert [event["id"] for event in quarantined_events("progress", after=int(names[0].partition("-")[2]))] == names[1:]
    assert quarantined_events("payments") == []


def test_release_affects_only_its_key(database: Database):
    names = [quarantine(database, parked=2), quarantine(database, parked=0)]
    seq = int(names[0].partition("-")[2])

    reply = deliver("progress.release_quarantined", {"service": "progress", "seq": seq})

    assert reply["result"] == {"released": 3}
    assert database.rows(STATES) == [(None,), (None,), (None,), ("INVALID_RECORD: a test",)]
    again = deliver("progress.release_quarantined", {"service": "progress", "seq": seq})
    assert again["error"]["name"] == "NotFound"


def test_parked_events_and_other_services_are_not_released(database: Database):
    name = quarantine(database, parked=1)
    seq = int(name.partition("-")[2])

    for service, number in (("progress", seq + 1), ("payments", seq)):
        reply = deliver(f"{service}.release_quarantined", {"service": service, "seq": number})
        assert reply["error"]["name"] == "NotFound"
