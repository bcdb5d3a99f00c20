"""Webhook deliveries: one row per event and endpoint, so that no crash loses a delivery."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint, func, or_, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, joinedload, mapped_column, relationship

import settings
from core.db import Base, new_id
from models.errors import NotFound

from .endpoints import Endpoint
from .event_log import EventLogEntry
from .outcomes import Outcome

MAX_IN_FLIGHT_PER_ENDPOINT = (
    4  # concurrent attempts per process; 1 while the endpoint fails, so that it occupies few threads
)
MAX_RETRY_AFTER_SECONDS = 3600  # upper bound of a receiver's Retry-After


@dataclass(frozen=True, kw_only=True)
class WebhookRequest:
    """The data of an attempt, so that the request can be sent outside of a transaction."""

    delivery_id: UUID
    attempt: int
    endpoint_id: UUID
    url: str
    secrets: list[str]
    event: dict[str, Any]


class WebhookDelivery(Base):
    """The delivery of an event to an endpoint, with the result of its last attempt."""

    __tablename__ = "webhook_deliveries"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    endpoint_id: Mapped[UUID] = mapped_column(ForeignKey("integrations.webhook_endpoints.id", ondelete="CASCADE"))
    event_id: Mapped[UUID] = mapped_column(ForeignKey("integrations.events.id", ondelete="CASCADE"))
    status: Mapped[str] = mapped_column(default="pending")  # pending, delivered or failed
    attempts: Mapped[int] = mapped_column(default=0)  # counted at their start, so that a crash counts too
    due_at: Mapped[datetime]  # time of the next attempt; during an attempt: end of the lease, after which it is retried
    status_code: Mapped[int | None]  # of the last attempt, like ``error`` and ``duration_ms``
    error: Mapped[str | None]
    duration_ms: Mapped[int | None]
    created_at: Mapped[datetime]
    attempted_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]

    endpoint: Mapped[Endpoint] = relationship(lazy="raise")
    event: Mapped[EventLogEntry] = relationship(lazy="raise")

    __table_args__ = (
        UniqueConstraint("event_id", "endpoint_id"),
        Index("ix_webhook_deliveries_due", "endpoint_id", "due_at", postgresql_where=text("status = 'pending'")),
        Index("ix_webhook_deliveries_endpoint", "endpoint_id", "id"),
        {"schema": "integrations"},
    )

    @classmethod
    def schedule(cls, session: Session, events: Mapping[UUID, str], *, at: datetime) -> int:
        """Schedule events, given as type by id, for all subscribed endpoints; return the number of deliveries."""
        endpoints = Endpoint.list_subscribed(session, set(events.values())) if events else []
        rows = [
            cls._new_row(endpoint.id, event_id, at)
            for event_id, type_ in events.items()
            for endpoint in endpoints
            if endpoint.is_subscribed_to(type_)
        ]
        if rows:
            session.execute(insert(cls), rows)
        return len(rows)

    @classmethod
    def schedule_replay(
        cls,
        session: Session,
        endpoint: Endpoint,
        *,
        since: datetime,
        until: datetime,
        include_delivered: bool,
        at: datetime,
    ) -> int:
        """Schedule the events of a period for an endpoint; return their number.

        Without ``include_delivered``, events that were delivered before are skipped.
        """
        happened = select(EventLogEntry.id).where(EventLogEntry.occurred_at >= since, EventLogEntry.occurred_at < until)
        if endpoint.event_types:
            happened = happened.where(EventLogEntry.type.in_(endpoint.event_types))
        rows = [cls._new_row(endpoint.id, event_id, at) for event_id in session.scalars(happened)]
        count = 0
        for start in range(0, len(rows), 1000):
            upsert = insert(cls).values(rows[start : start + 1000])
            reset = {name: upsert.excluded[name] for name in _RESET_BY_REPLAY}
            upsert = upsert.on_conflict_do_update(
                index_elements=["event_id", "endpoint_id"],
                set_=reset,
                where=None if include_delivered else cls.status != "delivered",
            )
            count += len(session.scalars(upsert.returning(cls.id)).all())
        return count

    @classmethod
    def claim(
        cls, session: Session, *, in_flight: Mapping[UUID, int], limit: int, at: datetime
    ) -> Iterator[WebhookRequest]:
        """Lease up to ``limit`` due deliveries, within the concurrency limit of each endpoint.

        ``busy`` is the number of attempts in flight by endpoint. Send the claimed deliveries immediately: the lease
        expires after twice the timeout of an attempt, and the delivery is then retried.
        """
        mine = select(cls.id).where(cls.endpoint_id == Endpoint.id, cls.status == "pending", cls.due_at <= at)
        open_ = (
            Endpoint.disabled_at.is_(None),
            or_(Endpoint.circuit_open_until.is_(None), Endpoint.circuit_open_until <= at),
        )
        # In random order, so that endpoints with many deliveries do not starve others.
        wanted = select(Endpoint).where(*open_, mine.exists()).order_by(func.random())
        for endpoint in session.scalars(wanted).all():
            room = (1 if endpoint.failures else MAX_IN_FLIGHT_PER_ENDPOINT) - in_flight.get(endpoint.id, 0)
            for delivery in cls._due_for_update(session, endpoint, limit=min(room, limit), at=at):
                delivery.attempts += 1
                delivery.attempted_at = at
                delivery.due_at = at + timedelta(seconds=2 * settings.WEBHOOK_TIMEOUT_SECONDS)
                limit -= 1
                yield delivery.to_request(endpoint, at=at)

    @classmethod
    def oldest_due_seconds(cls, session: Session, *, at: datetime) -> float:
        """Return for how many seconds the oldest sendable delivery has been due; 0 if there is none."""
        open_ = (
            Endpoint.disabled_at.is_(None),
            or_(Endpoint.circuit_open_until.is_(None), Endpoint.circuit_open_until <= at),
        )
        due = select(func.min(cls.due_at)).join(Endpoint, Endpoint.id == cls.endpoint_id)
        oldest = session.scalars(due.where(cls.status == "pending", *open_)).one()
        return max((at - oldest).total_seconds(), 0.0) if oldest else 0.0

    @classmethod
    def _due_for_update(cls, session: Session, endpoint: Endpoint, *, limit: int, at: datetime) -> list[Self]:
        due = (
            select(cls)
            .where(cls.endpoint_id == endpoint.id, cls.status == "pending", cls.due_at <= at)
            .options(joinedload(cls.event, innerjoin=True))
            .order_by(cls.due_at)
            .limit(max(limit, 0))
            .with_for_update(of=cls, skip_locked=True)
        )
        return list(session.scalars(due))

    @classmethod
    def get_for_update(cls, session: Session, delivery_id: UUID, endpoint_id: UUID) -> Self:
        """Return a delivery of an endpoint, locked. Lock the endpoint first. Raises NotFound."""
        whole = (joinedload(cls.event, innerjoin=True),)
        delivery = session.get(cls, delivery_id, options=whole, with_for_update={"of": cls})
        if delivery is None or delivery.endpoint_id != endpoint_id:
            raise NotFound("delivery", str(delivery_id))
        return delivery

    @classmethod
    def list_page(
        cls, session: Session, endpoint_id: UUID, *, status: str | None, limit: int, after: UUID | None
    ) -> list[Self]:
        """Return up to ``limit`` deliveries of an endpoint, newest first."""
        newest = select(cls).where(cls.endpoint_id == endpoint_id).options(joinedload(cls.event, innerjoin=True))
        if status:
            newest = newest.where(cls.status == status)
        if after:
            newest = newest.where(cls.id < after)
        return list(session.scalars(newest.order_by(cls.id.desc()).limit(limit)))

    def to_request(self, endpoint: Endpoint, *, at: datetime) -> WebhookRequest:
        return WebhookRequest(
            delivery_id=self.id,
            attempt=self.attempts,
            endpoint_id=endpoint.id,
            url=endpoint.url,
            secrets=endpoint.secrets(at=at),
            event=self.event.cloud_event(),
        )

    def finish_attempt(self, attempt: int, outcome: Outcome, *, at: datetime) -> None:
        """Record the result of an attempt: finish the delivery or schedule a retry.

        A failure is ignored if a later attempt has started.
        """
        if self.status != "pending" or (attempt != self.attempts and not outcome.is_success):
            return
        self.status_code, self.error, self.duration_ms = outcome.status_code, outcome.error, outcome.duration_ms
        if outcome.is_success:
            self.status, self.ended_at = "delivered", at
        elif outcome.is_gone or attempt > len(settings.WEBHOOK_RETRY_DELAYS_SECONDS):
            self.status, self.ended_at = "failed", at
        else:
            asked_seconds = min(outcome.retry_after_seconds or 0, MAX_RETRY_AFTER_SECONDS)
            planned_seconds = settings.WEBHOOK_RETRY_DELAYS_SECONDS[attempt - 1] * random.uniform(0.8, 1.2)
            self.due_at = at + timedelta(seconds=max(asked_seconds, planned_seconds))

    def replay(self, *, at: datetime) -> None:
        """Schedule the delivery again with the same webhook-id; its attempts count from 0."""
        for name, value in self._new_row(self.endpoint_id, self.event_id, at).items():
            if name in _RESET_BY_REPLAY:
                setattr(self, name, value)

    def to_response(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "event_id": self.event_id,
            "event_type": self.event.type,
            "status": self.status,
            "attempts": self.attempts,
            "next_attempt_at": self.due_at if self.status == "pending" else None,
            "status_code": self.status_code,
            "error": self.error,
            "duration_ms": self.duration_ms,
            "created_at": self.created_at,
            "attempted_at": self.attempted_at,
            "ended_at": self.ended_at,
        }

    @staticmethod
    def _new_row(endpoint_id: UUID, event_id: UUID, at: datetime) -> dict[str, Any]:
        return {
            "id": new_id(),
            "endpoint_id": endpoint_id,
            "event_id": event_id,
            "status": "pending",
            "attempts": 0,
            "due_at": at,
            "created_at": at,
            "ended_at": None,
        }


_RESET_BY_REPLAY = ("status", "attempts", "due_at", "ended_at")
