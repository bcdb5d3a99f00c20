"""What a buyer is given for the books."""

import pytest

from models.errors import NotFound, OrderNotPaid
from tests.payments.shop import make_coupon, make_offer
from workers.payments.orders import show_invoice


def test_an_invoice_adds_up(shop, session):
    checkout = shop.bought(make_offer(session), coupon=make_coupon(session))
    shop.refund(checkout, 1000)
    invoice = show_invoice(session, order_id=checkout["order_id"], user_id=shop.buyer)
    [line] = invoice["lines"]
    assert (line["title"], line["amount"], invoice["discount"], invoice["total"]) == (
        "Sourdough",
        "49.00",
        "4.90",
        "44.10",
    )
    assert line["amount_minor"] - invoice["discount_minor"] == invoice["total_minor"] == 4410
    assert (invoice["refunded"], invoice["currency"]) == ("10.00", "USD")


def test_what_was_not_paid_has_no_invoice(shop, session):
    checkout = shop.checkout(make_offer(session))
    with pytest.raises(OrderNotPaid):
        show_invoice(session, order_id=checkout["order_id"], user_id=shop.buyer)


def test_anothers_invoice_is_not_found(shop, session):
    checkout = shop.bought(make_offer(session))
    with pytest.raises(NotFound):
        show_invoice(session, order_id=checkout["order_id"], user_id=make_offer(session))
