"""Invoices and credit notes of an order."""

from dataclasses import replace
from datetime import timedelta
from functools import partial
from uuid import UUID, uuid4

import pytest
from sqlalchemy import delete, select, update

import settings
from core.db import new_id, session_factory, utc_now
from models.commands.payments import BuyerDetails
from models.errors import NotFound, OrderNotPaid, PreconditionFailed
from models.payments import Invoice, Refund
from models.payments.invoices import InvoiceCounter, tax_included
from tests.integration.payments.harness import CONCURRENCY, make_coupon, make_offer
from tests.support.polling import run_concurrently
from workers.payments.invoices import number_invoices, replace_billing_details, show_billing_details, show_invoice
from workers.payments.refunds import apply_refund

COMPANY = BuyerDetails(company="Lee & Sons", address="1 Harbour Street\nRotterdam", tax_id="NL1")


def invoice_of(harness, checkout) -> dict:
    return show_invoice(harness.session, order_id=checkout["order_id"], user_id=harness.buyer)


def test_invoice_adds_up(harness, session):
    checkout = harness.buy(make_offer(session), coupon=make_coupon(session))
    harness.refund(checkout, 1000)

    invoice = invoice_of(harness, checkout)

    [line] = invoice["lines"]
    assert (line["title"], line["amount"], invoice["discount"], invoice["total"]) == (
        "Sourdough",
        "49.00",
        "4.90",
        "44.10",
    )
    assert line["amount_minor"] - invoice["discount_minor"] == invoice["total_minor"] == 4410
    assert (invoice["refunded"], invoice["currency"]) == ("10.00", "USD")


def test_numbers_have_no_gaps_and_follow_the_payments(harness, session):
    bought = [harness.buy(make_offer(session)) for _ in range(3)]
    with session.begin_nested() as savepoint:
        number_invoices(session)
        savepoint.rollback()
    number_invoices(session)

    numbers = [invoice_of(harness, checkout)["number"] for checkout in bought]

    first = int(numbers[0].removeprefix(f"{utc_now().year}-"))
    assert numbers == [f"{utc_now().year}-{first + step:06d}" for step in range(3)]


def test_workers_that_number_at_once_give_each_number_once(committed_checkout):
    year = 1990  # of no other document
    with session_factory("payments").begin() as session:
        invoice = session.scalars(select(Invoice).where(Invoice.order_id == committed_checkout["order_id"])).one()
        order = {"order_id": invoice.order_id, "user_id": uuid4(), "amount_minor": 100, "currency": "EUR"}
        at = utc_now().replace(year=year)
        for _ in range(CONCURRENCY * 5):
            Invoice.add(session, **order, refund_id=new_id(), at=at)

    def number() -> None:
        with session_factory("payments").begin() as session:
            number_invoices(session)

    run_concurrently(*[number] * CONCURRENCY)

    with session_factory("payments").begin() as session:
        numbers = session.scalars(select(Invoice.number).where(Invoice.year == year).order_by(Invoice.id)).all()
        session.execute(delete(Invoice).where(Invoice.year == year))
        session.execute(delete(InvoiceCounter).where(InvoiceCounter.year == year))
    assert numbers == list(range(1, CONCURRENCY * 5 + 1))


def test_refund_gets_a_credit_note_that_is_void_when_it_is_reversed(harness, session):
    checkout = harness.buy(make_offer(session))
    harness.refund(checkout, 1000)
    [note] = invoice_of(harness, checkout)["credit_notes"]
    [refund] = Refund.list_for_order(session, checkout["order_id"])

    order = harness.order(checkout)
    reversed_refund = replace(refund.failed_snapshot("the bank refused it"), object_id=refund.object_id)
    apply_refund(session, order, order.successful_attempt, reversed_refund)

    [void] = invoice_of(harness, checkout)["credit_notes"]
    assert note["number"].startswith(f"CN-{utc_now().year}-")
    assert (note["total_minor"], note["refund_id"], note["voided_at"]) == (1000, refund.id, None)
    assert (void["number"], void["voided_at"] is None) == (note["number"], False)


def test_tax_of_the_day_of_issue_is_included_in_the_total(harness, session, monkeypatch):
    monkeypatch.setattr(settings, "INVOICE_TAX_BASIS_POINTS", 2000)
    monkeypatch.setattr(settings, "INVOICE_SELLER_ADDRESS", "2 Quay; Bergen")
    checkout = harness.buy(make_offer(session))
    invoice_of(harness, checkout)
    monkeypatch.setattr(settings, "INVOICE_TAX_BASIS_POINTS", 0)

    invoice = invoice_of(harness, checkout)

    assert (invoice["tax_name"], invoice["tax_basis_points"]) == ("VAT", 2000)
    assert (invoice["net_minor"], invoice["tax_minor"], invoice["total_minor"]) == (4083, 817, 4900)
    assert invoice["seller_address"] == "2 Quay\nBergen"


@pytest.mark.parametrize(
    ("amount_minor", "rate", "tax"), [(12000, 2000, 2000), (0, 2000, 0), (4900, 0, 0), (1, 10000, 1), (1000, 810, 75)]
)
def test_included_tax_is_rounded_half_up(amount_minor: int, rate: int, tax: int):
    assert tax_included(amount_minor, rate) == tax


def test_billing_details_of_the_day_of_issue_are_on_the_invoice(harness, session):
    replace_billing_details(session, user_id=harness.buyer, expected_version=1, details=COMPANY)
    checkout = harness.buy(make_offer(session))
    before = invoice_of(harness, checkout)["buyer"]
    replace_billing_details(session, user_id=harness.buyer, expected_version=2, details=BuyerDetails(name="Ann Lee"))

    assert before == invoice_of(harness, checkout)["buyer"]
    assert (before["company"], before["tax_id"], before["name"]) == ("Lee & Sons", "NL1", None)


@pytest.mark.parametrize(("age_days", "is_added"), [(0, True), (31, False)])
def test_billing_details_are_added_to_recent_invoices_without_any(harness, session, age_days: int, is_added):
    checkout = harness.buy(make_offer(session))
    invoice_of(harness, checkout)
    session.execute(
        update(Invoice)
        .where(Invoice.order_id == checkout["order_id"])
        .values(issued_at=utc_now() - timedelta(days=age_days))
    )

    replace_billing_details(session, user_id=harness.buyer, expected_version=1, details=COMPANY)

    assert (invoice_of(harness, checkout)["buyer"] is not None) == is_added


def test_stale_billing_details_are_refused(session):
    user_id = uuid4()
    change = partial(replace_billing_details, session, user_id=user_id, expected_version=1, details=COMPANY)
    change()

    with pytest.raises(PreconditionFailed):
        change()
    assert show_billing_details(session, user_id=user_id)["view"]["version"] == 2


def test_order_of_an_earlier_version_is_invoiced_when_it_is_read(harness, session):
    checkout = harness.buy(make_offer(session))
    harness.refund(checkout, 1000)
    session.execute(delete(Invoice).where(Invoice.order_id == checkout["order_id"]))

    invoice = invoice_of(harness, checkout)

    assert (invoice["total_minor"], len(invoice["credit_notes"])) == (4900, 1)


def test_unpaid_order_has_no_invoice(harness, session):
    checkout = harness.checkout(make_offer(session))
    with pytest.raises(OrderNotPaid):
        invoice_of(harness, checkout)


def test_invoice_of_another_user_is_not_found(harness, session):
    checkout = harness.buy(make_offer(session))
    with pytest.raises(NotFound):
        show_invoice(session, order_id=checkout["order_id"], user_id=UUID(int=1))
