"""Asking the providers what we may have missed: each hour for news, each day for the sums.

What is found goes the way of a webhook: an event is kept once, and the provider asked what has become of its object.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import islice
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from models.base import now
from models.errors import DomainError
from models.jobs import slot_of
from models.log import get_logger
from models.payments import ProviderEvent, ProviderPull, Reconciliation
from models.payments.reconciliations import DAY, Difference
from workers import job, task
from workers._delivery import Sessions
from workers.resources import Poke

from .provider import Notice, Provider, Providers
from .webhooks import take_in

log = get_logger(__name__)

NOTICES_A_LOOKUP = 500
# What is on its way at the end of a day has arrived by then.
SETTLES_WITHIN = timedelta(hours=1)


@job(every_seconds=3600)
def pull_missed_news(sessions: Sessions, providers: Providers, poke: Poke) -> None:
    """Store what the providers list and no webhook has brought, since the last time that this was done."""

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


@job(every_seconds=86400)
def compare_days(sessions: Sessions, providers: Providers, poke: Poke) -> None:
    """Compare the last day's movements at the providers with the ledger, and anew the days that did not agree."""
    last = slot_of(now(), 86400) - DAY - SETTLES_WITHIN

    def compare(name: str, provider: Provider) -> None:
        with sessions.begin() as session:
            off = Reconciliation.off_since(session, name, provider.account, at=now())
        for since in dict.fromkeys([*off, last]):
            compare_day(sessions, poke, name, provider, since=since)

    _at_each(providers, compare)


def compare_day(sessions: Sessions, poke: Poke, name: str, provider: Provider, *, since: datetime) -> list[Difference]:
    """Compare what was made at a provider in the day from ``since`` on with the ledger; returns what differs.

    What differs is looked at again, as if a webhook told of it: mostly one was lost, and that mends it.
    """
    movements = list(provider.movements(since, since + DAY))
    with sessions.begin() as session:
        differing = Reconciliation.compare(
            session, movements, provider=name, account=provider.account, since=since, at=now()
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
        kind = "payment.reconciled" if moved.kind == "capture" else "refund.reconciled"
        key = f"reconciled:{moved.object_id}:{now().date()}"
        _take_in(sessions, poke, name, provider, Notice(dedupe_key=key, type=kind, object_id=moved.payment_id))
    return differing


@task
def list_reconciliations(session: Session, *, limit: int, after: UUID | None) -> dict[str, Any]:
    """A page of reports, newest first: {"items", "next"}."""
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
    """Do it at each provider, though another should fail. Raises the last failure, so that the job comes again."""
    failed: DomainError | None = None
    for name, provider in providers.items():
        try:
            do(name, provider)
        except DomainError as error:
            log.warning("provider was not asked", provider=name, reason=str(error))
            failed = error
    if failed:
        raise failed
