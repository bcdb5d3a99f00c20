"""Receive webhooks of the payment providers: verify, store, acknowledge, then fetch the object from the provider."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from core.db import utc_now
from core.fault_injection import crash_point
from core.log import bind_context, describe_error, get_logger
from models.commands import ApplyProviderEvent
from models.commands.payments import IncomingWebhook
from models.errors import ProviderOutcomeUnknown, Unavailable
from models.payments import DisputeSnapshot, PaymentAttempt, PaymentSnapshot, ProviderEvent, RefundSnapshot
from workers import job, task
from workers.runtime.dependencies import EnqueueAfterCommit
from workers.runtime.execution import Transactions

from .disputes import apply_dispute
from .payment_flow import PaymentFlow, apply_payment_snapshot
from .provider import Provider, ProviderNotification, Providers, provider_at, provider_of
from .refunds import apply_refund

log = get_logger(__name__)

BATCH_SIZE = 100


@task
def receive_webhook(
    session: Session,
    providers: Providers,
    enqueue_after_commit: EnqueueAfterCommit,
    *,
    provider: str,
    webhook: IncomingWebhook,
) -> dict[str, Any]:
    """Verify and store a webhook; the response acknowledges it. Raises SignatureInvalid, SenderNotAllowed,
    WebhookMalformed.

    An event type that is not handled is acknowledged without being stored.
    """
    sender = providers[provider]
    notification = sender.parse_webhook(webhook, at=utc_now())
    if notification is None:
        return {"received": True}
    store_notification(session, enqueue_after_commit, sender, notification, provider=provider)
    return {"received": True}


def store_notification(
    session: Session,
    enqueue_after_commit: EnqueueAfterCommit,
    sender: Provider,
    notification: ProviderNotification,
    *,
    provider: str,
) -> bool:
    """Store a notification of ``sender`` once and enqueue ``apply_provider_event``; return whether the notification
    is new.
    """
    stored_id = ProviderEvent.upsert(
        session,
        provider=provider,
        account=sender.account,
        dedupe_key=notification.dedupe_key,
        kind=notification.type,
        object_id=notification.object_id,
        at=utc_now(),
    )
    if stored_id:
        enqueue_after_commit(ApplyProviderEvent(provider_event_id=stored_id))
    return bool(stored_id)


@task
def apply_provider_event(transactions: Transactions, providers: Providers, *, provider_event_id: UUID) -> None:
    """Fetch the object the webhook refers to and apply its current state. The webhook body is never trusted.

    The event is finished when the fetched state confirms it; until then it is retried. Otherwise a forged webhook that
    arrives early would replace the genuine one, because both have the same deduplication key.

    Raises ProviderUnavailable, so that the event is retried, while the account of the event or of its attempt is not
    the configured one.
    """
    try:
        _apply(transactions, providers, provider_event_id)
    except Unavailable:
        raise  # not counted as a crash: retried for as long as the provider is unavailable
    except Exception as error:
        _count_crash(transactions, provider_event_id, error)
        raise


def _apply(transactions: Transactions, providers: Providers, provider_event_id: UUID) -> None:
    with transactions.begin() as session:
        event = session.get_one(ProviderEvent, provider_event_id)
        if event.status != "received":
            return
        provider = _provider_of_event(session, providers, event)
    with bind_context(**event.headers):  # a sweep is not caused by a request: continue the trace of the webhook
        _apply_received(transactions, providers, provider, event)


def _apply_received(transactions: Transactions, providers: Providers, provider: Provider, event: ProviderEvent) -> None:
    provider_event_id = event.id
    snapshot = provider.fetch(event.object_id)
    refunds: list[RefundSnapshot] = []
    disputes: list[DisputeSnapshot] = []
    if snapshot and _needs_more_calls(event, snapshot):
        with transactions.begin() as session:
            attempt = PaymentAttempt.find_by_provider_object(session, event.provider, snapshot)
        if attempt:
            refunds = provider.list_refunds(event.object_id) if "refund" in event.type else []
            disputes = provider.list_disputes(event.object_id) if "dispute" in event.type else []
            snapshot = PaymentFlow(transactions, providers).capture_or_void(attempt, snapshot)
    crash_point("between a webhook and its outcome")
    with transactions.begin() as session:
        event = session.get_one(ProviderEvent, provider_event_id, with_for_update=True)
        attempt = PaymentAttempt.find_by_provider_object(session, event.provider, snapshot) if snapshot else None
        if snapshot is None or attempt is None:
            _require_foreign_object(session, providers, event)
            event.finish("ignored", at=utc_now())
            return
        order = apply_payment_snapshot(session, attempt, snapshot)
        for refund in refunds:
            apply_refund(session, order, order.attempt(attempt.id), refund)
        attempt = order.attempt(attempt.id)
        for dispute in disputes if attempt.captured_minor else []:
            apply_dispute(session, order, attempt, dispute)
        # Disputes are applied to captured payments only: retry until the capture is known. Staff handle one in review.
        is_known = attempt.captured_minor > 0 or attempt.status == "review" or not disputes
        if provider.confirms(event.type, snapshot) and is_known:
            event.finish("applied", at=utc_now())
        else:
            event.postpone(at=utc_now())


def _needs_more_calls(event: ProviderEvent, snapshot: PaymentSnapshot) -> bool:
    """Return whether to call the provider again: to capture or void, or to list all refunds or disputes."""
    return snapshot.status == "authorized" or "refund" in event.type or "dispute" in event.type


def _provider_of_event(session: Session, providers: Providers, event: ProviderEvent) -> Provider:
    """Return the provider with the account of the event's attempt, or of the event if it belongs to no attempt.

    Raises ProviderUnavailable if that account is not the configured one.
    """
    configured = providers.get(event.provider)
    if configured and configured.account == event.account:
        return configured
    attempt = event.find_attempt(session)
    return provider_of(providers, attempt) if attempt else provider_at(providers, event.provider, event.account)


def _require_foreign_object(session: Session, providers: Providers, event: ProviderEvent) -> None:
    """Raise an error that lets the event be retried if its object belongs to an attempt.

    Raises ProviderUnavailable if the attempt's account is not configured, and ProviderOutcomeUnknown if the configured
    account does not return the object of an attempt.
    """
    attempt = event.find_attempt(session)
    if attempt is None:
        return
    provider = provider_of(providers, attempt)
    log.error("object is unknown to the provider", attempt_id=attempt.id, object_id=event.object_id)
    raise ProviderOutcomeUnknown(provider.name)


def _count_crash(transactions: Transactions, provider_event_id: UUID, error: Exception) -> None:
    with transactions.begin() as session:
        event = session.get_one(ProviderEvent, provider_event_id, with_for_update=True)
        event.count_crash(describe_error(error), at=utc_now())
        if event.status == "failed":
            log.error(
                "webhook failed permanently", provider_event_id=event.id, type=event.type, object_id=event.object_id
            )


@job
def retry_pending_provider_events(session: Session, enqueue_after_commit: EnqueueAfterCommit) -> None:
    """Enqueue each event again whose hint was lost or whose provider did not respond."""
    for event in ProviderEvent.due(session, at=utc_now(), limit=BATCH_SIZE):
        event.postpone(at=utc_now())
        enqueue_after_commit(ApplyProviderEvent(provider_event_id=event.id))
