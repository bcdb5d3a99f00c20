"""Webhook endpoints: URL, subscribed event types, signing secrets and circuit breaker."""

import random
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID

from sqlalchemy import func, or_, select
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.orm import Mapped, Session, mapped_column

import settings
from core.db import Aggregate, Base, PrivateText, new_id
from core.revision import Revised
from models.errors import EndpointDisabled, NotFound, TooManyEndpoints, UnknownEventType
from models.events import Event, WebhookEndpointDisabled

from .outcomes import Outcome
from .signing import new_secret

FAILURE_THRESHOLD = 5
MIN_OPEN_TIME, MAX_OPEN_TIME = timedelta(seconds=10), timedelta(minutes=15)

_ALL: list[str] = []  # subscribed to all event types


class Endpoint(Revised, Aggregate, Base):
    """A webhook endpoint of an integrator."""

    __tablename__ = "webhook_endpoints"
    __table_args__ = ({"schema": "integrations"},)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    url: Mapped[PrivateText]
    description: Mapped[PrivateText]
    event_types: Mapped[list[str]]  # empty: all types
    secret: Mapped[PrivateText]
    previous_secret: Mapped[PrivateText | None]
    previous_secret_until: Mapped[datetime | None]
    # The circuit breaker: open until ``circuit_open_until``. ``failures`` counts since the last success.
    failures: Mapped[int]
    failing_since: Mapped[datetime | None]
    circuit_open_until: Mapped[datetime | None]
    disabled_reason: Mapped[str | None]  # manual, failing or gone
    disabled_at: Mapped[datetime | None]
    created_at: Mapped[datetime]

    @classmethod
    def require_capacity(cls, session: Session) -> None:
        """Raise TooManyEndpoints if no further endpoint may be created.

        A lock makes concurrent creations wait for this transaction, so that the limit holds.
        """
        session.execute(select(func.pg_advisory_xact_lock(func.hashtext("integrations.webhook_endpoints"))))
        count = session.scalars(select(func.count()).select_from(cls)).one()
        if count >= settings.WEBHOOK_ENDPOINTS_MAX:
            raise TooManyEndpoints(str(count))

    @classmethod
    def create(cls, *, url: str, description: str, event_types: list[str], at: datetime) -> Self:
        """Create an endpoint with a new secret. Raises UnknownEventType."""
        return cls(
            id=new_id(),
            version=0,
            revision=1,
            url=url,
            description=description,
            event_types=validate_event_types(event_types),
            secret=new_secret(),
            failures=0,
            created_at=at,
        )

    @classmethod
    def get(cls, session: Session, endpoint_id: UUID) -> Self:
        """Return an endpoint without a lock. Raises NotFound."""
        return cls._require_found(session.get(cls, endpoint_id), endpoint_id)

    @classmethod
    def get_for_update(cls, session: Session, endpoint_id: UUID, *, to_delete: bool = False) -> Self:
        """Return an endpoint, locked. Raises NotFound."""
        # FOR NO KEY UPDATE allows concurrent inserts of deliveries, which refer to the endpoint.
        lock = {"key_share": not to_delete}
        return cls._require_found(
            session.get(cls, endpoint_id, with_for_update=lock, populate_existing=True), endpoint_id
        )

    @classmethod
    def _require_found(cls, endpoint: Self | None, endpoint_id: UUID) -> Self:
        if endpoint is None:
            raise NotFound("webhook endpoint", str(endpoint_id))
        return endpoint

    @classmethod
    def list_page(cls, session: Session, *, limit: int, after: UUID | None) -> list[Self]:
        """Return up to ``limit`` endpoints, newest first."""
        newest = select(cls).order_by(cls.id.desc()).limit(limit)
        return list(session.scalars(newest.where(cls.id < after) if after else newest))

    @classmethod
    def list_subscribed(cls, session: Session, types: Collection[str]) -> list[Self]:
        """Return the endpoints subscribed to one of the event types, locked against deletion."""
        subscribed = select(cls).where(
            cls.disabled_at.is_(None), or_(cls.event_types == _ALL, cls.event_types.has_any(array(sorted(types))))
        )
        return list(session.scalars(subscribed.with_for_update(read=True, key_share=True)))

    def is_subscribed_to(self, type_: str) -> bool:
        return not self.event_types or type_ in self.event_types

    def change(self, changes: dict[str, Any], *, at: datetime) -> None:
        """Apply the given changes. Enabling resets the failures. Raises UnknownEventType."""
        if "event_types" in changes:
            self.event_types = validate_event_types(changes["event_types"])
        self.url = changes.get("url", self.url)
        self.description = changes.get("description", self.description)
        match changes.get("enabled"):
            case True:
                self.disabled_at = self.disabled_reason = None
                self._close_circuit()
            case False if self.disabled_at is None:
                self.disabled_at, self.disabled_reason = at, "manual"

    def rotate_secret(self, *, at: datetime) -> None:
        """Create a new secret. The previous one also signs for WEBHOOK_SECRET_OVERLAP_HOURS."""
        self.previous_secret = self.secret
        self.previous_secret_until = at + timedelta(hours=settings.WEBHOOK_SECRET_OVERLAP_HOURS)
        self.secret = new_secret()

    def secrets(self, *, at: datetime) -> list[str]:
        """Return the secrets to sign with, newest first."""
        overlaps = self.previous_secret and self.previous_secret_until and at < self.previous_secret_until
        return [self.secret, self.previous_secret] if overlaps and self.previous_secret else [self.secret]

    def require_enabled(self) -> None:
        """Raise EndpointDisabled if the endpoint is disabled."""
        if self.disabled_reason:
            raise EndpointDisabled(self.disabled_reason)

    def record_outcome(self, outcome: Outcome, *, at: datetime) -> WebhookEndpointDisabled | None:
        """Update the circuit breaker with the result of an attempt.

        Returns the event if this disables the endpoint, which happens after WEBHOOK_DISABLED_AFTER_HOURS of failures or
        after 410 Gone.
        """
        if outcome.is_success:
            self._close_circuit()
            return None
        self.failures += 1
        self.failing_since = self.failing_since or at
        if self.failures >= FAILURE_THRESHOLD:
            open_time = min(MIN_OPEN_TIME * 2 ** min(self.failures - FAILURE_THRESHOLD, 10), MAX_OPEN_TIME)
            self.circuit_open_until = at + open_time * random.uniform(0.8, 1.2)
        too_long = at - self.failing_since >= timedelta(hours=settings.WEBHOOK_DISABLED_AFTER_HOURS)
        if self.disabled_at or not (too_long or outcome.is_gone):
            return None
        self.disabled_at, self.disabled_reason = at, "gone" if outcome.is_gone else "failing"
        return WebhookEndpointDisabled(
            endpoint_id=self.id, reason=self.disabled_reason, failing_since=self.failing_since, disabled_at=at
        )

    def _close_circuit(self) -> None:
        self.failures, self.failing_since, self.circuit_open_until = 0, None, None

    def to_response(self) -> dict[str, Any]:
        """Return the endpoint as the API shows it, without its secrets."""
        return {
            "id": self.id,
            "url": self.url,
            "description": self.description,
            "event_types": self.event_types,
            "enabled": self.disabled_at is None,
            "disabled_reason": self.disabled_reason,
            "disabled_at": self.disabled_at,
            "failures": self.failures,
            "failing_since": self.failing_since,
            "previous_secret_until": self.previous_secret_until,
            "created_at": self.created_at,
            "version": self.revision,
        }


def validate_event_types(types: list[str]) -> list[str]:
    """Return ``types`` sorted and without duplicates. Raises UnknownEventType."""
    for type_ in types:
        if type_ not in Event.by_type:
            raise UnknownEventType(type_)
    return sorted(set(types))
