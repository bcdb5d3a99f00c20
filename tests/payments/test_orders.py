from uuid import uuid4

import pytest

from models.errors import NotFound
from tests.payments.harness import make_offer
from workers.payments.orders import list_orders, show_order


def buy(harness, session):
    return harness.checkout(make_offer(session, price_minor=0))["order_id"]


def test_order_is_shown_to_its_buyer(harness, session):
    order = show_order(session, order_id=buy(harness, session), user_id=harness.buyer)
    assert (order["status"], order["course_title"], order["amount_minor"]) == ("paid", "Sourdough", 0)
    assert order["version"] == 2


def test_order_of_another_user_is_not_found(harness, session):
    order_id = buy(harness, session)
    with pytest.raises(NotFound):
        show_order(session, order_id=order_id, user_id=uuid4())


def test_staff_can_read_any_order(harness, session):
    order_id = buy(harness, session)
    assert show_order(session, order_id=order_id, user_id=None)["id"] == order_id


def test_own_orders_are_paginated_newest_first(harness, session):
    orders = [buy(harness, session) for _ in range(5)]
    harness.buyer, buyer = uuid4(), harness.buyer
    buy(harness, session)
    seen, after = [], None
    while True:
        page = list_orders(session, user_id=buyer, limit=2, after=after)
        seen += [order["id"] for order in page["items"]]
        if (after := page["next"]) is None:
            break
    assert seen == orders[::-1]
