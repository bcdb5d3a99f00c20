"""The entries of the ledger, and the constraints that reject wrong ones."""

from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from core.db import new_id, session_factory, utc_now
from models.payments import PaymentAttempt
from models.payments.ledger import LedgerEntry, LedgerTransaction, imbalances
from tests.integration.payments.harness import make_offer, paid_snapshot
from workers.payments.ledger import list_ledger_accounts, list_ledger_entries
from workers.payments.payment_flow import apply_payment_snapshot

CAPTURED = {"status": "succeeded", "checkout_session_open": False, "captured_minor": 4900}


@pytest.fixture
def checkout(harness, session):
    return harness.checkout(make_offer(session))


def entries_by_account(session, checkout, *, kind: str = "capture") -> dict[str, int]:
    """Return the entries of an order by account."""
    page = list_ledger_entries(session, order_id=checkout["order_id"], account=None, limit=10, after=None)
    return {entry["account"]: entry["amount_minor"] for entry in page["items"] if entry["kind"] == kind}


def test_capture_is_booked_once(harness, session, checkout):
    for _ in range(2):
        harness.apply(checkout, **CAPTURED)
    assert entries_by_account(session, checkout) == {"provider.stripe.main": 4900, "sales": -4900}
    assert list(imbalances(session)) == []


def balances(session) -> Counter:
    """Return the balances of the accounts; other tests may have committed more."""
    accounts = list_ledger_accounts(session, limit=100, after=None)["items"]
    return Counter({(each.account, each.currency): each.balance_minor for each in accounts})


def test_failed_payment_is_not_booked(harness, session, checkout):
    harness.apply(checkout, status="failed")
    assert entries_by_account(session, checkout) == {}


def test_duplicate_payment_is_booked_as_owed_to_buyer(harness, session, checkout):
    before = balances(session)
    harness.apply(checkout, **CAPTURED)
    order = harness.order(checkout)
    second = PaymentAttempt.create(harness.attempt(checkout).terms, ttl=timedelta(hours=1), at=utc_now())
    order.attempts.append(second)
    session.flush()
    apply_payment_snapshot(session, second, paid_snapshot(second, payment_id="pi_second"))
    assert second.status == "duplicate"
    after = balances(session)
    after.subtract(before)
    assert {account: change for account, change in after.items() if change} == {
        ("provider.stripe.main", "USD"): 9800,
        ("sales", "USD"): -4900,
        ("owed_to_buyers", "USD"): -4900,
    }


def test_ledger_lists_are_paginated(harness, session, checkout):
    harness.apply(checkout, **CAPTURED)
    first = list_ledger_accounts(session, limit=1, after=None)
    rest = list_ledger_accounts(session, limit=1, after=first["next"])
    assert first["items"][0].account < rest["items"][0].account
    newest = list_ledger_entries(session, order_id=None, account=None, limit=1, after=None)
    [older] = list_ledger_entries(session, order_id=None, account=None, limit=1, after=newest["next"])["items"]
    assert older["id"] < newest["items"][0]["id"]
    [sale] = list_ledger_entries(session, order_id=checkout["order_id"], account="sales", limit=5, after=None)["items"]
    assert sale["amount_minor"] == -4900


def test_counter_mismatch_is_reported_as_imbalance(harness, session, checkout):
    harness.apply(checkout, **CAPTURED)
    session.execute(update(PaymentAttempt).where(PaymentAttempt.id == checkout["id"]).values(captured_minor=4899))
    [found] = imbalances(session)
    assert found.startswith("provider.stripe.main USD: ")


def test_database_rejects_unbalanced_transaction(harness, session, checkout):
    entries = [
        LedgerEntry(id=new_id(), account="sales", amount_minor=amount, currency=currency)
        for amount, currency in ((5, "USD"), (-5, "EUR"))
    ]
    session.add(
        LedgerTransaction(
            id=new_id(),
            kind="capture",
            source_id=new_id(),
            order_id=checkout["order_id"],
            recorded_at=utc_now(),
            entries=entries,
        )
    )
    session.flush()
    with pytest.raises(IntegrityError, match="does not sum to zero"):
        session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))


CHANGES = [
    "UPDATE payments.ledger_entries SET amount_minor = 1",
    "DELETE FROM payments.ledger_entries",
    "UPDATE payments.ledger_transactions SET recorded_at = now()",
    "TRUNCATE payments.ledger_entries",
]


@pytest.mark.parametrize("sql", CHANGES)
def test_ledger_is_append_only_for_table_owner(session, sql):
    with pytest.raises(DBAPIError, match="append-only"):
        session.execute(text(sql))


@pytest.mark.parametrize("sql", CHANGES)
def test_service_role_cannot_change_ledger(database, sql):
    with session_factory("payments")() as session, pytest.raises(DBAPIError, match="permission denied"):
        session.execute(text(sql))
