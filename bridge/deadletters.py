"""Store events that a handler could not process, and park later events of the same key behind them."""

import threading

import msgspec
from sqlalchemy.dialects.postgresql import insert

import settings
from models.base import now, sessions
from models.deadletters import DeadLetter, blocked_keys, first_open_letter, lock_key
from models.faults import reach
from models.log import get_logger, scrubbed

from .lanes import Record

log = get_logger(__name__)


class DeadLetters:
    """Writes dead letters and caches which (handler, key) pairs have an open one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocked: set[tuple[str, str]] = set()

    def reload(self) -> None:
        """Read the blocked keys from the databases: at the start, and when partitions arrive from another bridge.

        Keys are only added. One that was freed stays cached until its next event, when ``bury`` checks the database.
        """
        blocked: set[tuple[str, str]] = set()
        for service in settings.SERVICES:
            with sessions(service).begin() as session:
                blocked |= blocked_keys(session)
        with self._lock:
            self._blocked |= blocked  # do not replace: another thread may have added a key since the query

    def blocks(self, handler: str, key: str) -> bool:
        """Return whether events of ``key`` may be blocked, from the cache; ``bury`` checks the database."""
        return (handler, key) in self._blocked

    def bury(self, handler: str, record: Record, reason: str) -> bool:
        """Store ``record`` as a dead letter.

        Returns False, and stores nothing, if ``reason`` is "parked" and the key has no open dead letter any more.
        """
        with sessions(handler.partition(".")[0]).begin() as session:
            lock_key(session, handler, record.key)
            if reason == "parked" and not first_open_letter(session, handler, record.key):
                with self._lock:
                    self._blocked.discard((handler, record.key))
                return False
            session.execute(insert(DeadLetter).values(**_letter(handler, record, reason)).on_conflict_do_nothing())
            reach("dead letter written, not committed")
        reach("dead letter committed, not stored")
        with self._lock:
            self._blocked.add((handler, record.key))
        log.error("dead letter", handler=handler, event_id=record.event_id, key=record.key, reason=reason)
        return True


def _letter(handler: str, record: Record, reason: str) -> dict[str, object]:
    return {
        "handler": handler,
        "event_id": record.event_id,
        "topic": record.topic,
        "key": record.key,
        "type": record.type,
        "payload": msgspec.json.decode(record.value),
        "headers": {**record.headers, "partition": record.partition, "offset": record.offset},
        "reason": scrubbed(reason),
        "status": "open",
        "created_at": now(),
    }
