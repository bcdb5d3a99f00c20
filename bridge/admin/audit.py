"""Compare outboxes with inboxes, and redeliver published events that no handler processed.

Normally there are none, because offsets are stored after the handlers' commits. The audit covers what the offsets
cannot show: an operator who moved the offsets of a group, or a topic whose records were deleted.
"""

import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from confluent_kafka import KafkaException
from sqlalchemy import select, tuple_
from sqlalchemy.exc import DBAPIError

import settings
from bridge.consumer.dispatch import Dispatcher
from bridge.consumer.handled_events import find_unhandled
from bridge.consumer.service_consumer import ServiceConsumer
from bridge.metrics import set_lag
from bridge.publisher.refill import is_refilling
from core.bus.outbox import OutboxEvent
from core.db import session_factory, utc_now
from core.log import get_logger
from models.events.routes import ROUTES, producers_of

from .lag import PartitionLag, consumer_lag
from .past_events import DispatcherStopped, iter_past_events, redeliver_until

log = get_logger(__name__)

PAGE = 1000
REDELIVERY_SECONDS = 10.0  # per service, so that one does not delay the audit and the lag metrics of the others
MAX_CLOCK_SKEW = timedelta(seconds=5)  # maximum clock skew between this host and the database


@dataclass(frozen=True)
class _Watermark:
    """A watermark: every event published before ``at`` has an offset below ``ends`` (by topic and partition)."""

    at: datetime
    ends: dict[tuple[str, int], int]

    def is_reached(self, places: list[PartitionLag]) -> bool:
        """Return whether the group has committed every offset below the watermark."""
        committed = {(place.topic, place.partition): place.committed for place in places}
        return all(committed.get(name, 0) >= end for name, end in self.ends.items())

    def is_stale(self, places: list[PartitionLag]) -> bool:
        """Return whether a topic was recreated: its log ends below the watermark, so offsets are not comparable."""
        ends = {(place.topic, place.partition): place.end for place in places}
        return any(ends.get(name, 0) < end for name, end in self.ends.items())


class Auditor(threading.Thread):
    """Audits each service up to the watermark that its consumer group has committed.

    Every bridge runs one. If two of them redeliver the same event, the inbox processes it once.
    """

    def __init__(self, dispatcher: Dispatcher, stop: threading.Event) -> None:
        super().__init__(name="audit", daemon=True)
        self._dispatcher = dispatcher
        self._stop_requested = stop
        self._services = [service for service in settings.SERVICES if ServiceConsumer.topics_of(service)]
        self._watermarks: dict[str, _Watermark] = {}
        self._audited: dict[str, datetime] = {}

    def run(self) -> None:
        while not self._stop_requested.wait(settings.AUDIT_EVERY_SECONDS):
            for service in self._services:
                try:
                    self.audit(service)
                except (KafkaException, DBAPIError, DispatcherStopped) as error:
                    log.warning("audit postponed", service=service, reason=repr(error))
                except Exception:  # the other services must still be audited; this one is retried in the next round
                    log.exception("audit failed", service=service)

    def audit(self, service: str) -> None:
        """Redeliver missing events up to the last watermark if the group has reached it, and set the next watermark."""
        at = utc_now() - MAX_CLOCK_SKEW
        places = consumer_lag(service)
        set_lag(
            service,
            events=sum(place.events for place in places),
            seconds=max((place.seconds for place in places), default=0.0),
        )
        if is_refilling(ServiceConsumer.topics_of(service)):
            # A watermark assumes that all published events are on their topics; during a refill they are not.
            self._watermarks.pop(service, None)
            return
        mark = self._watermarks.get(service)
        if mark and mark.is_reached(places):
            at_first = mark.at - timedelta(hours=settings.AUDIT_WINDOW_HOURS)
            if not self._redeliver_missing(service, self._audited.get(service, at_first), mark.at):
                log.warning("audit timed out", service=service)
                return  # keep the start time, so that the next audit finds the events that are still missing
            self._audited[service] = mark.at
        if mark is None or mark.is_reached(places) or mark.is_stale(places):
            self._watermarks[service] = _Watermark(at, {(place.topic, place.partition): place.end for place in places})

    def _redeliver_missing(self, service: str, since: datetime, until: datetime) -> bool:
        """Redeliver events published in the period that were not handled.

        Returns False if that was not finished within REDELIVERY_SECONDS.
        """
        give_up_at = time.monotonic() + REDELIVERY_SECONDS
        is_finished = True
        for type_, handlers in ROUTES.items():
            for handler, producer in itertools.product(handlers, producers_of(type_)):
                if handler.startswith(f"{service}."):
                    for missing in _iter_missing(type_, producer, handler, since, until):
                        log.error("unhandled events found", handler=handler, event_ids=[str(id_) for id_ in missing])
                        events = iter_past_events(producer, OutboxEvent.id.in_(missing))
                        is_finished &= redeliver_until(give_up_at, self._dispatcher, handler, events)
        return is_finished


def _iter_missing(type_: str, producer: str, handler: str, since: datetime, until: datetime) -> Iterator[list[UUID]]:
    """Yield pages of events published in the period that ``handler`` has neither processed nor dead-lettered."""
    place = (since, 0)
    while True:
        wanted = (
            select(OutboxEvent.id, OutboxEvent.published_at, OutboxEvent.seq)
            .where(
                OutboxEvent.type == type_,
                OutboxEvent.aggregatetype == producer,
                OutboxEvent.published_at <= until,
                tuple_(OutboxEvent.published_at, OutboxEvent.seq) > place,
            )
            .order_by(OutboxEvent.published_at, OutboxEvent.seq)
            .limit(PAGE)
        )
        with session_factory(producer).begin() as session:
            rows = session.execute(wanted).all()
        if not rows:
            return
        if missing := _unhandled([row.id for row in rows], handler):
            yield missing
        place = (rows[-1].published_at, rows[-1].seq)


def _unhandled(event_ids: list[UUID], handler: str) -> list[UUID]:
    unhandled = find_unhandled(handler.partition(".")[0], {handler: [str(event_id) for event_id in event_ids]})
    return [event_id for event_id in event_ids if (handler, str(event_id)) in unhandled]
