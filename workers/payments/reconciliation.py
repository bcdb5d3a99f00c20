"""Reconcile with the providers: poll hourly for undelivered events, compare each day's movements with the ledger.

A finding is handled like a webhook: it is stored once, and the object is fetched from the provider.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from core.db import utc_now
from core.log import get_logger
from models.errors import DomainError
from models.payments import ProviderEvent, ProviderPull, ProviderTransaction, ReconciledDay, Reconciliation
from models.payments.reconciliations import DAY, ComparedTransaction, booked_between
from workers import job, task
from workers.runtime.dependencies import EnqueueAfterCommit
from workers.runtime.execution import Transactions

from .provider import Provider, ProviderNotification, Providers
from .webhooks import store_notification

log = get_logger(__name__)

LOOKUP_BATCH_SIZE = 500


@job
def fetch_undelivered_events(
    transactions: Transactions, providers: Providers, enqueue_after_commit: EnqueueAfterCommit
) -> None:
    """Store the events that the providers list since the last run and that no webhook has delivered."""

    def pull(name: str, provider: Provider) -> None:
        until = utc_now()
        with transactions.begin() as session:
            since = ProviderPull.since(session, name, provider.account, at=until)
        notifications = provider.list_events(since)
        while batch := list(islice(notifications, LOOKUP_BATCH_SIZE)):
            _store_unknown_notifications(transactions, enqueue_after_commit, name, provider, batch)
        with transactions.begin() as session:
            ProviderPull.finish(session, name, provider.account, until=until)

    _for_each_provider(providers, pull)


@job
def reconcile_recent_days(
    transactions: Transactions, providers: Providers, enqueue_after_commit: EnqueueAfterCommit
) -> None:
    """Compare each due day (``ReconciledDay.due``) with the ledger. A missed day is due again in the next run."""

    def compare(name: str, provider: Provider) -> None:
        with transactions.begin() as session:
            due = ReconciledDay.due(session, name, provider.account, at=utc_now())
        crash: Exception | None = None
        for since in due:
            try:
                reconcile_day(transactions, enqueue_after_commit, name, provider, since=since)
            except DomainError:
                raise  # the provider is unavailable: leave the other days to the next run
            except Exception as error:
                log.exception("reconciliation of a day failed", provider=name, since=since)
                crash = error
        if crash:
            raise crash

    _for_each_provider(providers, compare)


def reconcile_day(
    transactions: Transactions,
    enqueue_after_commit: EnqueueAfterCommit,
    name: str,
    provider: Provider,
    *,
    since: datetime,
) -> list[ComparedTransaction]:
    """Compare the provider's movements of the day from ``since`` with the ledger, in both directions.

    Return the differences. Each one is handled like a webhook about its object: usually a webhook was lost, and
    fetching the object resolves the difference. Raises ProviderUnavailable, ProviderOutcomeUnknown.
    """
    listed = list(provider.list_transactions(since, since + DAY))
    with transactions.begin() as session:
        booked = booked_between(session, name, provider.account, since, since + DAY)
    known = {(each.kind, each.object_id) for each in listed}
    unlisted = [_with_provider_amount(provider, each) for each in booked if (each.kind, each.object_id) not in known]
    with transactions.begin() as session:
        differing = Reconciliation.compare(
            session, listed, provider=name, account=provider.account, since=since, at=utc_now(), unlisted=unlisted
        )
    for each in differing:
        transaction = each.transaction
        log.error(
            "provider and ledger differ",
            provider=name,
            kind=transaction.kind,
            object_id=transaction.object_id,
            provider_minor=transaction.amount_minor,
            ledger_minor=each.ledger_minor,
            currency=transaction.currency,
        )
        kind = "payment.reconciled" if transaction.kind == "capture" else f"{transaction.kind}.reconciled"
        key = f"reconciled:{transaction.object_id}:{utc_now().date()}"
        _store_and_log_notification(
            transactions,
            enqueue_after_commit,
            name,
            provider,
            ProviderNotification(dedupe_key=key, type=kind, object_id=transaction.payment_id),
        )
    return differing


def _with_provider_amount(provider: Provider, booked: ProviderTransaction) -> ProviderTransaction:
    """Return a booked but unlisted movement with the amount that the provider reports for its object, or 0."""
    amounts: Iterable[int]
    if booked.kind == "capture":
        snapshot = provider.fetch(booked.payment_id)
        amounts = [snapshot.captured_minor] if snapshot else []
    elif booked.kind == "refund":
        refunds = [each for each in provider.list_refunds(booked.payment_id) if each.object_id == booked.object_id]
        amounts = [each.amount_minor for each in refunds if each.status == "succeeded"]
    else:
        disputes = [each for each in provider.list_disputes(booked.payment_id) if each.object_id == booked.object_id]
        amounts = [each.amount_minor for each in disputes if each.holds_funds]
    return replace(booked, amount_minor=sum(amounts))


@task
def list_reconciliations(session: Session, *, limit: int, after: UUID | None) -> dict[str, Any]:
    """Return a page of reconciliation reports, newest first: {"items", "next"}."""
    found = Reconciliation.list_page(session, limit=limit + 1, after=after)
    shown = found[:limit]
    return {"items": [each.to_response() for each in shown], "next": shown[-1].id if len(found) > limit else None}


def _store_unknown_notifications(
    transactions: Transactions,
    enqueue_after_commit: EnqueueAfterCommit,
    name: str,
    provider: Provider,
    notifications: list[ProviderNotification],
) -> None:
    with transactions.begin() as session:
        keys = [notification.dedupe_key for notification in notifications]
        unknown = ProviderEvent.find_unknown_keys(session, name, provider.account, keys)
    for notification in notifications:
        if notification.dedupe_key in unknown:
            _store_and_log_notification(transactions, enqueue_after_commit, name, provider, notification)


def _store_and_log_notification(
    transactions: Transactions,
    enqueue_after_commit: EnqueueAfterCommit,
    name: str,
    provider: Provider,
    notification: ProviderNotification,
) -> None:
    with transactions.begin() as session:
        is_new = store_notification(session, enqueue_after_commit, provider, notification, provider=name)
    if is_new:
        log.warning(
            "provider event without webhook", provider=name, kind=notification.type, object_id=notification.object_id
        )


def _for_each_provider(providers: Providers, do: Callable[[str, Provider], None]) -> None:
    """Call ``do`` for each provider, even if an earlier one fails; then raise the last error, so the job is retried."""
    failed: Exception | None = None
    for name, provider in providers.items():
        try:
            do(name, provider)
        except DomainError as error:
            log.warning("provider call failed", provider=name, reason=str(error))
            failed = error
        except Exception as error:
            log.exception("provider call failed", provider=name)
            failed = error
    if failed:
        raise failed
