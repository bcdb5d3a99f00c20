"""Reading the ledger; it is written where money is believed (sync.py, refunds.py)."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from models.payments.ledger import LedgerEntry, balances
from workers import task


@task
def list_ledger_accounts(session: Session, *, limit: int, after: tuple[str, str] | None) -> dict[str, Any]:
    """The accounts and what they hold: {"items", "next"}; ``after`` is the "next" of the page before."""
    found = balances(session, limit=limit + 1, after=after)
    shown = found[:limit]
    return {"items": shown, "next": (shown[-1].account, shown[-1].currency) if len(found) > limit else None}


@task
def list_ledger_entries(
    session: Session, *, order_id: UUID | None, account: str | None, limit: int, after: UUID | None
) -> dict[str, Any]:
    """A page of entries, newest first: {"items", "next"}."""
    found = LedgerEntry.page(session, order_id=order_id, account=account, limit=limit + 1, after=after)
    shown = found[:limit]
    return {"items": [entry.view() for entry in shown], "next": shown[-1].id if len(found) > limit else None}
