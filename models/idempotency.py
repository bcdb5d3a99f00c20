"""Idempotency keys: claimed in the command's own transaction, answered with its commit."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import JSON, Index, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from .base import Base, now
from .errors import IdempotencyKeyReused, RequestInProgress

KEPT_FOR = timedelta(hours=24)


@dataclass(frozen=True)
class Claim:
    """What a client said of its request: ``scope`` is caller and route, ``fingerprint`` a hash of the body."""

    scope: str
    key: str
    fingerprint: str


def claim_from(fields: dict[str, Any] | None) -> Claim | None:
    """Read the claim of an envelope or an operation. Fields of a newer sender are ignored."""
    return msgspec.convert(fields, Claim) if fields else None


class IdempotencyKey(Base):
    __tablename__ = "idempotency_keys"

    scope: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str]
    # As on the reply list; None while the command runs. As text, so that its fields come back in their order.
    answer: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    leased_until: Mapped[datetime | None]  # a command of several transactions is at work until then, or has died
    created_at: Mapped[datetime]

    __table_args__ = (Index("ix_idempotency_keys_created_at", "created_at"), {"schema": "bus"})


def claim_key(session: Session, claim: Claim, *, lease_seconds: int | None = None) -> dict[str, Any] | None:
    """Claim the key, or return the answer that was given under it.

    A concurrent twin waits here for the first one's commit. A command of several transactions takes a lease with its
    first; when the lease is over without an answer, the command was cut off and the key is claimed anew.
    Raises IdempotencyKeyReused for another body, RequestInProgress while another holds the lease.
    """
    leased_until = now() + timedelta(seconds=lease_seconds) if lease_seconds else None
    row = {
        "scope": claim.scope,
        "key": claim.key,
        "fingerprint": claim.fingerprint,
        "created_at": now(),
        "leased_until": leased_until,
    }
    claimed = insert(IdempotencyKey).values(**row).on_conflict_do_nothing().returning(IdempotencyKey.key)
    if session.execute(claimed).first() is not None:
        return None
    known = session.get_one(IdempotencyKey, (claim.scope, claim.key), with_for_update=True)
    if known.fingerprint != claim.fingerprint:
        raise IdempotencyKeyReused
    if known.answer is None:
        if known.leased_until and known.leased_until > now():
            raise RequestInProgress
        known.leased_until = leased_until
    return known.answer


def store_answer(session: Session, claim: Claim, answer: dict[str, Any]) -> None:
    """Keep ``answer`` for repeats of the claimed key."""
    session.execute(
        update(IdempotencyKey)
        .where(IdempotencyKey.scope == claim.scope, IdempotencyKey.key == claim.key)
        .values(answer=answer)
    )


def release_key(session: Session, claim: Claim) -> None:
    """End the lease of a command that was given up: a repeat begins at once."""
    session.execute(
        update(IdempotencyKey)
        .where(IdempotencyKey.scope == claim.scope, IdempotencyKey.key == claim.key)
        .values(leased_until=None)
    )
