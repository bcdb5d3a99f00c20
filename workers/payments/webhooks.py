"""Providers' webhooks: verified, kept, thanked; then the provider itself is asked."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from models.base import now
from models.errors import Unavailable
from models.faults import reach
from models.log import get_logger
from models.payments import Attempt, ProviderEvent
from workers import job, task
from workers._delivery import Sessions
from workers.resources import Poke

from .disputes import apply_dispute
from .provider import Notice, Provider, Providers, Webhook
from .refunds import apply_refund
from .sync import apply_snapshot, settle_hold

log = get_logger(__name__)

EVENTS_A_RUN = 100


@task
def receive_webhook(
    session: Session, providers: Providers, poke: Poke, *, provider: str, webhook: Webhook
) -> dict[str, Any]:
    """Keep a webhook, so that its sender may forget it. Raises SignatureInvalid, SenderRefused, HookUnreadable."""
    sender = providers[provider]
    notice = sender.read_notice(webhook, at=now())
    if notice is None:
        return {"received": True}
    take_in(session, poke, sender, notice, provider=provider)
    return {"received": True}


def take_in(session: Session, poke: Poke, sender: Provider, notice: Notice, *, provider: str) -> bool:
    """Keep what ``sender`` told, once, and have it looked at; whether it is new."""
    kept = ProviderEvent.keep(
        session,
        provider=provider,
        account=sender.account,
        dedupe_key=notice.dedupe_key,
        kind=notice.type,
        object_id=notice.object_id,
        at=now(),
    )
    if kept:
        poke("payments.apply_provider_event", provider_event_id=kept)
    return bool(kept)


@task
def apply_provider_event(sessions: Sessions, providers: Providers, *, provider_event_id: UUID) -> None:
    """Fetch what a webhook told of, and apply that: the webhook itself is believed in nothing.

    It is done with when what was fetched bears it out. Until then it is looked at again: a forged notice that came
    early must not take the place of the true one.
    """
    try:
        _apply(sessions, providers, provider_event_id)
    except Unavailable:
        raise  # the provider is asked again, for as long as it does not answer
    except Exception as error:
        _count_crash(sessions, provider_event_id, error)
        raise


def _apply(sessions: Sessions, providers: Providers, provider_event_id: UUID) -> None:
    with sessions.begin() as session:
        event = session.get_one(ProviderEvent, provider_event_id)
        if event.status != "received":
            return
    provider = providers[event.provider]
    snapshot = provider.fetch(event.object_id)
    with sessions.begin() as session:
        attempt = Attempt.named_by(session, event.provider, snapshot) if snapshot else None
        if snapshot is None or attempt is None:
            event = session.get_one(ProviderEvent, provider_event_id, with_for_update=True)
            event.finish("ignored", at=now())
            return
    # An event about one refund or dispute is a hint to look at all of the payment's.
    refunds = provider.refunds_of(event.object_id) if "refund" in event.type else []
    disputes = provider.disputes_of(event.object_id) if "dispute" in event.type else []
    reach("between a notice and its outcome")
    snapshot = settle_hold(sessions, providers, attempt, snapshot)
    with sessions.begin() as session:
        event = session.get_one(ProviderEvent, provider_event_id, with_for_update=True)
        order = apply_snapshot(session, attempt, snapshot)
        for refund in refunds:
            apply_refund(session, order, order.attempt(attempt.id), refund)
        attempt = order.attempt(attempt.id)
        for dispute in disputes if attempt.captured_minor else []:
            apply_dispute(session, order, attempt, dispute)
        # A dispute over money of which we have not heard yet waits until we have. In review a person sees to it.
        is_known = attempt.captured_minor > 0 or attempt.status == "review" or not disputes
        if provider.bears_out(event.type, snapshot) and is_known:
            event.finish("applied", at=now())
        else:
            event.postpone(at=now())


def _count_crash(sessions: Sessions, provider_event_id: UUID, error: Exception) -> None:
    with sessions.begin() as session:
        event = session.get_one(ProviderEvent, provider_event_id, with_for_update=True)
        event.count_crash(f"{type(error).__name__}: {error}", at=now())
        if event.status == "failed":
            log.error("webhook given up", provider_event_id=event.id, type=event.type, object_id=event.object_id)


@job(every_seconds=15)
def sweep_provider_events(session: Session, poke: Poke) -> None:
    """Have each event applied whose hint was lost, or whose provider did not answer."""
    for event in ProviderEvent.due(session, at=now(), limit=EVENTS_A_RUN):
        event.postpone(at=now())
        poke("payments.apply_provider_event", provider_event_id=event.id)
