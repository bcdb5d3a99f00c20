"""Invoices and credit notes of an order."""

import pytest

from models.errors import NotFound, OrderNotPaid
from tests.integration.payments.harness import make_coupon, make_offer
from workers.payments.orders import show_invoice


def test_invoice_adds_up(harness, session):
    checkout = harness.buy(make_offer(session), coupon=make_coupon(session))
    harness.refund(checkout, 1000)
    invoice = show_invoice(session, order_id=checkout["order_id"], user_id=harness.buyer)
    [line] = invoice["lines"]
    assert (line["title"], line["amount"], invoice["discount"], invoice["total"]) == (
        "Sourdough",
        "49.00",
        "4.90",
        "44.10",
    )
    assert line["amount_minor"] - invoice["discount_minor"] == invoice["total_minor"] == 4410
    assert (invoice["refunded"], invoice["currency"]) == ("10.00", "USD")


def test_unpaid_order_has_no_invoice(harness, session):
    checkout = harness.checkout(make_offer(session))
    with pytest.raises(OrderNotPaid):
        show_invoice(session, order_id=checkout["order_id"], user_id=harness.buyer)


def test_invoice_of_another_user_is_not_found(harness, session):
    checkout = harness.buy(make_offer(session))
    with pytest.raises(NotFound):
        show_invoice(session, order_id=checkout["order_id"], user_id=make_offer(session))
