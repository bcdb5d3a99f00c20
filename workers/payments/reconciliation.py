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

from models.base import now
from models.errors import DomainError
from models.log import get_logger
from models.payments import Movement, ProviderEvent, ProviderPull, ReconciledDay, Reconciliation
from models.payments.reconciliations import DAY, Difference, booked_between
from workers import job, task
from workers._delivery import Sessions
from workers.resources import Poke

from .provider import Notice, Provider, Providers
from .webhooks import take_in

log = get_logger(__name__)

NOTICES_A_LOOKUP = 500


@job(every_seconds=3600)
def pull_missed_news(sessions: Sessions, providers: Providers, poke: Poke) -> None:
    """Store the events that the providers list since the last run and that no webhook has delivered."""

    def pull(name: str, provider: Provider) -> None:
        until = now()
        with sessions.begin() as session:
            since = ProviderPull.since(session, name, provider.account, at=until)
        notices = provider.missed(since)
        while some := list(islice(notices, NOTICES_A_LOOKUP)):
            _take_in_unknown(sessions, poke, name, provider, some)
        with sessions.begin() as session:
            ProviderPull.finish(session, name, provider.account, until=until)

    _at_each(providers, pull)


@job(every_seconds=3600)
def compare_days(sessions: Sessions, providers: Providers, poke: Poke) -> None:
    """Compare each due day (``ReconciledDay.due``) with the ledger. A missed day is due again in the next run."""

    def compare(name: str, provider: Provider) -> None:
        with sessions.begin() as session:
            due = ReconciledDay.due(session, name, provider.account, at=now())
        crash: Exception | None = None
        for since in due:
            try:
                compare_day(sessions, poke, name, provider, since=since)
            except DomainError:
                raise  # the provider is unavailable: leave the other days to the next run
            except Exception as error:
                log.exception("day was not compared", provider=name, since=since)
                crash = error
        if crash:
            raise crash

    _at_each(providers, compare)


def compare_day(sessions: Sessions, poke: Poke, name: str, provider: Provider, *, since: datetime) -> list[Difference]:
    """Compare the provider's movements of the day from ``since`` with the ledger, in both directions.

    Return the differences. Each one is handled like a webhook about its object: usually a webhook was lost, and
    fetching the object resolves the difference. Raises ProviderUnavailable, ProviderOutcomeUnknown.
    """
    listed = list(provider.movements(since, since + DAY))
    with sessions.begin() as session:
        booked = booked_between(session, name, provider.account, since, since + DAY)
    known = {(each.kind, each.object_id) for each in listed}
    unlisted = [_looked_up(provider, each) for each in booked if (each.kind, each.object_id) not in known]
    with sessions.begin() as session:
        differing = Reconciliation.compare(
            session, listed, provider=name, account=provider.account, since=since, at=now(), unlisted=unlisted
        )
    for each in differing:
        moved = each.movement
        log.error(
            "provider and ledger differ",
            provider=name,
            kind=moved.kind,
            object_id=moved.object_id,
            theirs_minor=moved.amount_minor,
            ours_minor=each.ours_minor,
            currency=moved.currency,
        )
        kind = "payment.reconciled" if moved.kind == "capture" else f"{moved.kind}.reconciled"
        key = f"reconciled:{moved.object_id}:{now().date()}"
        _take_in(sessions, poke, name, provider, Notice(dedupe_key=key, type=kind, object_id=moved.payment_id))
    return differing


def _looked_up(provider: Provider, booked: Movement) -> Movement:
    """Return a booked but unlisted movement with the amount that the provider reports for its object, or 0."""
    amounts: Iterable[int]
    if booked.kind == "capture":
        snapshot = provider.fetch(booked.payment_id)
        amounts = [snapshot.captured_minor] if snapshot else []
    elif booked.kind == "refund":
        refunds = [each for each in provider.refunds_of(booked.payment_id) if each.object_id == booked.object_id]
        amounts = [each.amount_minor for each in refunds if each.status == "succeeded"]
    else:
        disputes = [each for each in provider.disputes_of(booked.payment_id) if each.object_id == booked.object_id]
        amounts = [each.amount_minor for each in disputes if each.has_taken]
    return replace(booked, amount_minor=sum(amounts))


@task
def list_reconciliations(session: Session, *, limit: int, after: UUID | None) -> dict[str, Any]:
    """Return a page of reconciliation reports, newest first: {"items", "next"}."""
    found = Reconciliation.page(session, limit=limit + 1, after=after)
    shown = found[:limit]
    return {"items": [each.view() for each in shown], "next": shown[-1].id if len(found) > limit else None}


def _take_in_unknown(sessions: Sessions, poke: Poke, name: str, provider: Provider, notices: list[Notice]) -> None:
    with sessions.begin() as session:
        keys = [notice.dedupe_key for notice in notices]
        unknown = ProviderEvent.unknown(session, name, provider.account, keys)
    for notice in notices:
        if notice.dedupe_key in unknown:
            _take_in(sessions, poke, name, provider, notice)


def _take_in(sessions: Sessions, poke: Poke, name: str, provider: Provider, notice: Notice) -> None:
    with sessions.begin() as session:
        is_new = take_in(session, poke, provider, notice, provider=name)
    if is_new:
        log.warning("news that no webhook has brought", provider=name, kind=notice.type, object_id=notice.object_id)


def _at_each(providers: Providers, do: Callable[[str, Provider], None]) -> None:
    """Call ``do`` for each provider, even if an earlier one fails; then raise the last error, so the job is retried."""
    failed: Exception | None = None
    for name, provider in providers.items():
        try:
            do(name, provider)
        except DomainError as error:
            log.warning("provider was not asked", provider=name, reason=str(error))
            failed = error
        except Exception as error:
            log.exception("provider was not asked", provider=name)
            failed = error
    if failed:
        raise failed
