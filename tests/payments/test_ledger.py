"""What is booked, and that it cannot be booked otherwise."""

from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from models.base import new_id, now, sessions
from models.payments import Attempt
from models.payments.ledger import LedgerEntry, LedgerTransaction, imbalances
from tests.payments.shop import make_offer, paid
from workers.payments.ledger import list_ledger_accounts, list_ledger_entries
from workers.payments.sync import apply_snapshot

TAKEN = {"status": "succeeded", "page_open": False, "captured_minor": 4900}


@pytest.fixture
def checkout(shop, session):
    return shop.checkout(make_offer(session))


def booked(session, checkout, *, kind: str = "capture") -> dict[str, int]:
    """The entries of an order, by account."""
    page = list_ledger_entries(session, order_id=checkout["order_id"], account=None, limit=10, after=None)
    return {entry["account"]: entry["amount_minor"] for entry in page["items"] if entry["kind"] == kind}


def test_a_capture_is_booked_with_it_and_once(shop, session, checkout):
    for _ in range(2):
        shop.apply(checkout, **TAKEN)
    assert booked(session, checkout) == {"provider.stripe.main": 4900, "sales": -4900}
    assert list(imbalances(session)) == []


def balances(session) -> Counter:
    """What the accounts hold; other tests have committed theirs."""
    accounts = list_ledger_accounts(session, limit=100, after=None)["items"]
    return Counter({(each.account, each.currency): each.balance_minor for each in accounts})


def test_what_did_not_bring_money_is_not_booked(shop, session, checkout):
    shop.apply(checkout, status="failed")
    assert booked(session, checkout) == {}


def test_money_for_an_order_that_is_paid_is_owed_to_the_buyer(shop, session, checkout):
    before = balances(session)
    shop.apply(checkout, **TAKEN)
    order = shop.order(checkout)
    second = Attempt.begin(shop.attempt(checkout).terms, open_for=timedelta(hours=1), at=now())
    order.attempts.append(second)
    session.flush()
    apply_snapshot(session, second, paid(second, payment_id="pi_second"))
    assert second.status == "duplicate"
    after = balances(session)
    after.subtract(before)
    assert {account: change for account, change in after.items() if change} == {
        ("provider.stripe.main", "USD"): 9800,
        ("sales", "USD"): -4900,
        ("owed_to_buyers", "USD"): -4900,
    }


def test_lists_of_the_ledger_go_on_where_they_ended(shop, session, checkout):
    shop.apply(checkout, **TAKEN)
    first = list_ledger_accounts(session, limit=1, after=None)
    rest = list_ledger_accounts(session, limit=1, after=first["next"])
    assert first["items"][0].account < rest["items"][0].account
    newest = list_ledger_entries(session, order_id=None, account=None, limit=1, after=None)
    [older] = list_ledger_entries(session, order_id=None, account=None, limit=1, after=newest["next"])["items"]
    assert older["id"] < newest["items"][0]["id"]
    [sale] = list_ledger_entries(session, order_id=checkout["order_id"], account="sales", limit=5, after=None)["items"]
    assert sale["amount_minor"] == -4900


def test_counters_that_the_ledger_does_not_know_of_are_found(shop, session, checkout):
    shop.apply(checkout, **TAKEN)
    session.execute(update(Attempt).where(Attempt.id == checkout["id"]).values(captured_minor=4899))
    [found] = imbalances(session)
    assert found.startswith("provider.stripe.main USD: ")


def test_a_transaction_that_does_not_sum_to_zero_is_refused_at_its_commit(shop, session, checkout):
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
            recorded_at=now(),
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
def test_what_is_booked_stays_even_for_the_owner_of_the_table(session, sql):
    with pytest.raises(DBAPIError, match="append-only"):
        session.execute(text(sql))


@pytest.mark.parametrize("sql", CHANGES)
def test_the_service_has_no_grant_to_change_what_is_booked(database, sql):
    with sessions("payments")() as session, pytest.raises(DBAPIError, match="permission denied"):
        session.execute(text(sql))
