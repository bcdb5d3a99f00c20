"""Events that were published and never handled, found and handled without a hand.

It should never find one: the offset is stored behind the handlers' commits. But offsets can be moved by hand, and a
topic can be emptied behind our back; outboxes and inboxes know better.
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

import celery_app
import settings
from models.base import now, sessions
from models.log import get_logger
from models.outbox import OutboxEvent

from .consume import ServiceConsumer
from .dispatch import Dispatcher
from .feed import DispatcherEnded, feed_until, past_events
from .known import known_to
from .lag import PartitionLag, lag_of
from .metrics import tell_lag
from .refill import is_refilling
from .routes import ROUTES
from .tellers import tellers_of

log = get_logger(__name__)

PAGE = 1000
FEED_SECONDS = 10.0  # for one service: then the others have their turn, and the lag of all is measured again
CLOCKS_DIFFER = timedelta(seconds=5)  # ours and the database's


@dataclass(frozen=True)
class _Mark:
    """All that was published before ``at`` lies below ``ends``."""

    at: datetime
    ends: dict[tuple[str, int], int]

    def is_passed(self, places: list[PartitionLag]) -> bool:
        """Whether the group has stored that it has handled everything below."""
        committed = {(place.topic, place.partition): place.committed for place in places}
        return all(committed.get(name, 0) >= end for name, end in self.ends.items())

    def is_void(self, places: list[PartitionLag]) -> bool:
        """Whether the log is another one now, whose offsets say nothing about these."""
        ends = {(place.topic, place.partition): place.end for place in places}
        return any(ends.get(name, 0) < end for name, end in self.ends.items())


class Auditor(threading.Thread):
    """Compares outboxes with inboxes, for each service up to where its group has said "done".

    Each bridge has one; what two of them find is handled once.
    """

    def __init__(self, dispatcher: Dispatcher, stop: threading.Event) -> None:
        super().__init__(name="audit", daemon=True)
        self._dispatcher = dispatcher
        self._stop_asked = stop
        self._services = [service for service in celery_app.SERVICES if ServiceConsumer.topics_of(service)]
        self._marks: dict[str, _Mark] = {}
        self._audited: dict[str, datetime] = {}

    def run(self) -> None:
        while not self._stop_asked.wait(settings.AUDIT_EVERY_SECONDS):
            for service in self._services:
                try:
                    self.audit(service)
                except (KafkaException, DBAPIError, DispatcherEnded) as error:
                    log.warning("audit put off", service=service, reason=repr(error))
                except Exception:  # the other services are audited, and this one later
                    log.exception("audit stumbled", service=service)

    def audit(self, service: str) -> None:
        """Look after what the group of ``service`` has passed since its last mark, and set the next one."""
        at = now() - CLOCKS_DIFFER
        places = lag_of(service)
        tell_lag(
            service,
            events=sum(place.events for place in places),
            seconds=max((place.seconds for place in places), default=0.0),
        )
        if is_refilling(ServiceConsumer.topics_of(service)):
            # A mark says that all published events are on their topics, which holds again after the refill.
            self._marks.pop(service, None)
            return
        mark = self._marks.get(service)
        if mark and mark.is_passed(places):
            at_first = mark.at - timedelta(hours=settings.AUDIT_WINDOW_HOURS)
            if not self._handle_the_missing(service, self._audited.get(service, at_first), mark.at):
                log.warning("audit not finished in time", service=service)
                return  # the next one finds what is still missing
            self._audited[service] = mark.at
        if mark is None or mark.is_passed(places) or mark.is_void(places):
            self._marks[service] = _Mark(at, {(place.topic, place.partition): place.end for place in places})

    def _handle_the_missing(self, service: str, since: datetime, until: datetime) -> bool:
        """Have the events of that time handled which were not; whether it was finished in FEED_SECONDS."""
        give_up_at = time.monotonic() + FEED_SECONDS
        is_finished = True
        for type_, handlers in ROUTES.items():
            for handler, teller in itertools.product(handlers, tellers_of(type_)):
                if handler.startswith(f"{service}."):
                    for missing in _missing(type_, teller, handler, since, until):
                        log.error("events were never handled", handler=handler, event_ids=[str(id_) for id_ in missing])
                        events = past_events(teller, OutboxEvent.id.in_(missing))
                        is_finished &= feed_until(give_up_at, self._dispatcher, handler, events)
        return is_finished


def _missing(type_: str, teller: str, handler: str, since: datetime, until: datetime) -> Iterator[list[UUID]]:
    """The events published in that time which ``handler`` has neither done nor left to people."""
    place = (since, 0)
    while True:
        wanted = (
            select(OutboxEvent.id, OutboxEvent.published_at, OutboxEvent.seq)
            .where(
                OutboxEvent.type == type_,
                OutboxEvent.aggregatetype == teller,
                OutboxEvent.published_at <= until,
                tuple_(OutboxEvent.published_at, OutboxEvent.seq) > place,
            )
            .order_by(OutboxEvent.published_at, OutboxEvent.seq)
            .limit(PAGE)
        )
        with sessions(teller).begin() as session:
            rows = session.execute(wanted).all()
        if not rows:
            return
        if missing := _not_known([row.id for row in rows], handler):
            yield missing
        place = (rows[-1].published_at, rows[-1].seq)


def _not_known(event_ids: list[UUID], handler: str) -> list[UUID]:
    known = known_to(handler.partition(".")[0], [(handler, str(event_id)) for event_id in event_ids])
    return [event_id for event_id in event_ids if (handler, str(event_id)) not in known]
