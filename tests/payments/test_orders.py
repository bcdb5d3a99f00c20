from uuid import uuid4

import pytest

from models.errors import NotFound
from tests.payments.shop import make_offer
from workers.payments.orders import list_orders, show_order


def buy(shop, session):
    return shop.checkout(make_offer(session, price_minor=0))["order_id"]


def test_an_order_is_shown_to_its_buyer(shop, session):
    order = show_order(session, order_id=buy(shop, session), user_id=shop.buyer)
    assert (order["status"], order["course_title"], order["amount_minor"]) == ("paid", "Sourdough", 0)
    assert order["version"] == 2


def test_anothers_order_is_not_found(shop, session):
    order_id = buy(shop, session)
    with pytest.raises(NotFound):
        show_order(session, order_id=order_id, user_id=uuid4())


def test_who_may_read_all_orders_reads_this_one(shop, session):
    order_id = buy(shop, session)
    assert show_order(session, order_id=order_id, user_id=None)["id"] == order_id


def test_orders_are_listed_in_pages_newest_first_and_only_ones_own(shop, session):
    orders = [buy(shop, session) for _ in range(5)]
    shop.buyer, mine = uuid4(), shop.buyer
    buy(shop, session)
    seen, after = [], None
    while True:
        page = list_orders(session, user_id=mine, limit=2, after=after)
        seen += [order["id"] for order in page["items"]]
        if (after := page["next"]) is None:
            break
    assert seen == orders[::-1]
