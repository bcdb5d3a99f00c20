"""Read the ledger. Entries are written by payment_sync.py, refunds.py, disputes.py and reviews.py, with each status
change.
"""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from models.payments.ledger import LedgerEntry, balances
from workers import task


@task
def list_ledger_accounts(session: Session, *, limit: int, after: tuple[str, str] | None) -> dict[str, Any]:
    """Return a page of account balances: {"items", "next"}. ``after`` is the "next" of the previous page."""
    found = balances(session, limit=limit + 1, after=after)
    shown = found[:limit]
    return {"items": shown, "next": (shown[-1].account, shown[-1].currency) if len(found) > limit else None}


@task
def list_ledger_entries(
    session: Session, *, order_id: UUID | None, account: str | None, limit: int, after: UUID | None
) -> dict[str, Any]:
    """Return a page of ledger entries, newest first: {"items", "next"}."""
    found = LedgerEntry.list_page(session, order_id=order_id, account=account, limit=limit + 1, after=after)
    shown = found[:limit]
    return {"items": [entry.to_response() for entry in shown], "next": shown[-1].id if len(found) > limit else None}
