"""Rebuild projections from the outbox, key by key."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

import settings
from core.bus.outbox import OutboxEvent
from core.db import session_factory
from core.messaging.rpc import call
from models.commands import ListProjections, RebuildProjection
from models.commands.common import StoredEvent

PAGE = 500


@dataclass(frozen=True)
class ProjectionSource:
    """The events that a projection is built from."""

    topic: str
    types: list[str]


class ProjectionNotFound(Exception):
    """``args[0]`` is not the name of a projection."""


def rebuild(projection: str) -> int:
    """Rebuild every key of ``projection`` from its events; return the number of keys. Raises ProjectionNotFound.

    Handlers continue during the rebuild. Rows whose key has no event in the outbox are not changed.
    """
    service = projection.partition(".")[0]
    known = call(ListProjections(service=service)) if service in settings.SERVICES else {}
    if projection not in known:
        raise ProjectionNotFound(projection)
    source = ProjectionSource(**known[projection])
    count = 0
    for key in _keys(source):
        _rebuild_key(service, projection, source, key)
        count += 1
    return count


def _rebuild_key(service: str, projection: str, source: ProjectionSource, key: str) -> None:
    # The rebuild undoes an event that a handler processed after the query and before the rebuild's commit. That event
    # is in the outbox, so query and rebuild again until the number of events is stable.
    done = -1
    while True:
        with session_factory(source.topic).begin() as session:
            events = _events(session, source, key)
        if len(events) == done:
            return
        call(RebuildProjection(service=service, name=projection, key=key, events=events))
        done = len(events)


def _keys(source: ProjectionSource) -> Iterator[str]:
    after = ""
    while True:
        query = (
            select(OutboxEvent.aggregateid)
            .where(
                OutboxEvent.aggregatetype == source.topic,
                OutboxEvent.aggregateid > after,
                OutboxEvent.type.in_(source.types),
            )
            .distinct()
            .order_by(OutboxEvent.aggregateid)
            .limit(PAGE)
        )
        with session_factory(source.topic).begin() as session:
            keys = list(session.scalars(query))
        if not keys:
            return
        yield from keys
        after = keys[-1]


def _events(session: Session, source: ProjectionSource, key: str) -> list[StoredEvent]:
    query = select(OutboxEvent.type, OutboxEvent.payload, OutboxEvent.aggregate_version).where(
        OutboxEvent.aggregatetype == source.topic,
        OutboxEvent.aggregateid == key,
        OutboxEvent.type.in_(source.types),
    )
    return [
        StoredEvent(type=row.type, payload=row.payload, version=row.aggregate_version)
        for row in session.execute(query.order_by(OutboxEvent.aggregate_version))
    ]
