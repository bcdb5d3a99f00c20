"""Idempotency keys: claimed in the transaction of the command, which also stores the response."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import JSON, Index, bindparam, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base, utc_now
from core.errors import IdempotencyKeyReused, RequestInProgress

RETENTION = timedelta(hours=24)


@dataclass(frozen=True)
class IdempotencyClaim:
    """An idempotency key of a request. ``scope`` is the caller and the route, ``fingerprint`` a hash of the body."""

    scope: str
    key: str
    fingerprint: str


def claim_from(fields: dict[str, Any] | None) -> IdempotencyClaim | None:
    """Read the claim of an envelope or of an operation; unknown fields, sent by a newer version, are ignored."""
    return msgspec.convert(fields, IdempotencyClaim) if fields else None


class IdempotencyKey(Base):
    __tablename__ = "idempotency_keys"

    scope: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str]
    # The reply; None while the command runs. JSON instead of JSONB, to keep the order of its fields.
    response: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    leased_until: Mapped[datetime | None]  # of a running command of several transactions
    created_at: Mapped[datetime]

    __table_args__ = (Index("ix_idempotency_keys_created_at", "created_at"), {"schema": "bus"})


# Built once: building a statement takes longer than executing it.
_CLAIM = insert(IdempotencyKey).on_conflict_do_nothing().returning(IdempotencyKey.key)
_STORE_RESPONSE = (
    update(IdempotencyKey)
    .where(IdempotencyKey.scope == bindparam("claimed_scope"), IdempotencyKey.key == bindparam("claimed_key"))
    .values(response=bindparam("response"))
)


def claim_key(session: Session, claim: IdempotencyClaim, *, lease_seconds: int | None = None) -> dict[str, Any] | None:
    """Claim the key and return None, or return the response that was stored under it.

    A concurrent request with the same key waits here until the first transaction has ended. A command of several
    transactions takes a lease of ``lease_seconds``. If the lease expires and no response is stored, the command was
    interrupted, and the key can be claimed again. Raises IdempotencyKeyReused if the body differs,
    RequestInProgress while another process holds the lease.
    """
    leased_until = utc_now() + timedelta(seconds=lease_seconds) if lease_seconds else None
    row = {
        "scope": claim.scope,
        "key": claim.key,
        "fingerprint": claim.fingerprint,
        "created_at": utc_now(),
        "leased_until": leased_until,
    }
    if session.connection().execute(_CLAIM, row).first() is not None:
        return None
    stored = session.get_one(IdempotencyKey, (claim.scope, claim.key), with_for_update=True)
    if stored.fingerprint != claim.fingerprint:
        raise IdempotencyKeyReused
    if stored.response is None:
        if stored.leased_until and stored.leased_until > utc_now():
            raise RequestInProgress
        stored.leased_until = leased_until
    return stored.response


def store_response(session: Session, claim: IdempotencyClaim, response: dict[str, Any]) -> None:
    """Store the response that is returned to repeated requests with the claimed key."""
    stored = {"claimed_scope": claim.scope, "claimed_key": claim.key, "response": response}
    session.connection().execute(_STORE_RESPONSE, stored)


def release_key(session: Session, claim: IdempotencyClaim) -> None:
    """End the lease of an aborted command, so that a repeated request can start at once."""
    session.execute(
        update(IdempotencyKey)
        .where(IdempotencyKey.scope == claim.scope, IdempotencyKey.key == claim.key)
        .values(leased_until=None)
    )
