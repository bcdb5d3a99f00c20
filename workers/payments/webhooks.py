"""Receive webhooks of the payment providers: verify, store, acknowledge, then fetch the object from the provider."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from models.base import now
from models.errors import ProviderOutcomeUnknown, Unavailable
from models.faults import reach
from models.log import bound, described, get_logger
from models.payments import Attempt, ProviderEvent
from workers import job, task
from workers._delivery import Sessions
from workers.resources import Poke

from .disputes import apply_dispute
from .provider import Notice, Provider, Providers, Webhook, provider_at, provider_of
from .refunds import apply_refund
from .sync import apply_snapshot, settle_hold

log = get_logger(__name__)

EVENTS_A_RUN = 100


@task
def receive_webhook(
    session: Session, providers: Providers, poke: Poke, *, provider: str, webhook: Webhook
) -> dict[str, Any]:
    """Verify and store a webhook; the response acknowledges it. Raises SignatureInvalid, SenderRefused, HookUnreadable.

    An event type that is not handled is acknowledged without being stored.
    """
    sender = providers[provider]
    notice = sender.read_notice(webhook, at=now())
    if notice is None:
        return {"received": True}
    take_in(session, poke, sender, notice, provider=provider)
    return {"received": True}


def take_in(session: Session, poke: Poke, sender: Provider, notice: Notice, *, provider: str) -> bool:
    """Store a notice of ``sender`` once and enqueue ``apply_provider_event``; return whether the notice is new."""
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
    """Fetch the object the webhook refers to and apply its current state. The webhook body is never trusted.

    The event is finished when the fetched state confirms it; until then it is retried. Otherwise a forged notice that
    arrives early would replace the genuine one, because both have the same deduplication key.

    Raises ProviderUnavailable, so that the event is retried, while the account of the event or of its attempt is not
    the configured one.
    """
    try:
        _apply(sessions, providers, provider_event_id)
    except Unavailable:
        raise  # not counted as a crash: retried for as long as the provider is unavailable
    except Exception as error:
        _count_crash(sessions, provider_event_id, error)
        raise


def _apply(sessions: Sessions, providers: Providers, provider_event_id: UUID) -> None:
    with sessions.begin() as session:
        event = session.get_one(ProviderEvent, provider_event_id)
        if event.status != "received":
            return
        provider = _provider_of_event(session, providers, event)
    with bound(**event.headers):  # a sweep is not caused by a request: continue the trace of the webhook
        _apply_received(sessions, providers, provider, event)


def _apply_received(sessions: Sessions, providers: Providers, provider: Provider, event: ProviderEvent) -> None:
    provider_event_id = event.id
    snapshot = provider.fetch(event.object_id)
    with sessions.begin() as session:
        attempt = Attempt.named_by(session, event.provider, snapshot) if snapshot else None
        if snapshot is None or attempt is None:
            _refuse_to_ignore_own(session, providers, event)
            event = session.get_one(ProviderEvent, provider_event_id, with_for_update=True)
            event.finish("ignored", at=now())
            return
    # An event about one refund or dispute triggers fetching all refunds or disputes of the payment.
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
        # Disputes are applied to captured payments only: retry until the capture is known. Staff handle one in review.
        is_known = attempt.captured_minor > 0 or attempt.status == "review" or not disputes
        if provider.bears_out(event.type, snapshot) and is_known:
            event.finish("applied", at=now())
        else:
            event.postpone(at=now())


def _provider_of_event(session: Session, providers: Providers, event: ProviderEvent) -> Provider:
    """Return the provider with the account of the event's attempt, or of the event if it belongs to no attempt.

    Raises ProviderUnavailable if that account is not the configured one.
    """
    configured = providers.get(event.provider)
    if configured and configured.account == event.account:
        return configured
    attempt = event.own_attempt(session)
    return provider_of(providers, attempt) if attempt else provider_at(providers, event.provider, event.account)


def _refuse_to_ignore_own(session: Session, providers: Providers, event: ProviderEvent) -> None:
    """Raise an error that lets the event be retried if its object belongs to an attempt.

    Raises ProviderUnavailable if the attempt's account is not configured, and ProviderOutcomeUnknown if the configured
    account does not return the object of an attempt.
    """
    attempt = event.own_attempt(session)
    if attempt is None:
        return
    provider = provider_of(providers, attempt)
    log.error("object is not known to its provider", attempt_id=attempt.id, object_id=event.object_id)
    raise ProviderOutcomeUnknown(provider.name)


def _count_crash(sessions: Sessions, provider_event_id: UUID, error: Exception) -> None:
    with sessions.begin() as session:
        event = session.get_one(ProviderEvent, provider_event_id, with_for_update=True)
        event.count_crash(described(error), at=now())
        if event.status == "failed":
            log.error("webhook given up", provider_event_id=event.id, type=event.type, object_id=event.object_id)


@job(every_seconds=15)
def sweep_provider_events(session: Session, poke: Poke) -> None:
    """Enqueue each event again whose hint was lost or whose provider did not respond."""
    for event in ProviderEvent.due(session, at=now(), limit=EVENTS_A_RUN):
        event.postpone(at=now())
        poke("payments.apply_provider_event", provider_event_id=event.id)
