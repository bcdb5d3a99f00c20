"""Store events that a handler could not process, and park later events of the same key behind them."""

import threading

import msgspec
from sqlalchemy.dialects.postgresql import insert

import settings
from bridge.record import Record
from core.bus.dead_letters import DeadLetter, blocked_keys, first_open_dead_letter, lock_partition_key
from core.db import session_factory, utc_now
from core.fault_injection import crash_point
from core.log import get_logger, scrub

log = get_logger(__name__)


class DeadLetters:
    """Writes dead letters and caches which (handler, key) pairs have an open one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocked: set[tuple[str, str]] = set()

    def reload_blocked_keys(self) -> None:
        """Read the blocked keys from the databases: at the start, and when partitions arrive from another bridge.

        Keys are only added. One that was freed stays cached until its next event, when ``store`` checks the database.
        """
        blocked: set[tuple[str, str]] = set()
        for service in settings.SERVICES:
            with session_factory(service).begin() as session:
                blocked |= blocked_keys(session)
        with self._lock:
            self._blocked |= blocked  # do not replace: another thread may have added a key since the query

    def is_blocked(self, handler: str, key: str) -> bool:
        """Return whether events of ``key`` may be blocked, from the cache; ``store`` checks the database."""
        return (handler, key) in self._blocked

    def store(self, handler: str, record: Record, reason: str) -> bool:
        """Store ``record`` as a dead letter.

        Returns False, and stores nothing, if ``reason`` is "parked" and the key has no open dead letter any more.
        """
        with session_factory(handler.partition(".")[0]).begin() as session:
            lock_partition_key(session, handler, record.key)
            if reason == "parked" and not first_open_dead_letter(session, handler, record.key):
                with self._lock:
                    self._blocked.discard((handler, record.key))
                return False
            session.execute(insert(DeadLetter).values(**_row(handler, record, reason)).on_conflict_do_nothing())
            crash_point("dead letter written, not committed")
        crash_point("dead letter committed, not stored")
        with self._lock:
            self._blocked.add((handler, record.key))
        log.error("dead letter", handler=handler, event_id=record.event_id, key=record.key, reason=reason)
        return True


def _row(handler: str, record: Record, reason: str) -> dict[str, object]:
    return {
        "handler": handler,
        "event_id": record.event_id,
        "topic": record.topic,
        "key": record.key,
        "type": record.type,
        "payload": msgspec.json.decode(record.value),
        "headers": {**record.headers, "partition": record.partition, "offset": record.offset},
        "reason": scrub(reason),
        "status": "open",
        "created_at": utc_now(),
    }
