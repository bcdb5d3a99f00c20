"""Money back at YooKassa: its own words for the same promises."""

import pytest

from models.errors import PaymentRefused
from models.payments import Refund
from tests.payments.shop import Shop, make_offer
from workers.payments.refunds import sync_refund


@pytest.fixture
def shop(kassa_shop) -> Shop:
    return kassa_shop


@pytest.fixture
def checkout(shop, session):
    course_id = make_offer(session, price_minor=199000, currency="RUB")
    return shop.bought(course_id, provider="yookassa", receipt_email="ann@example.com")


def refund_of(shop, checkout) -> Refund:
    [refund] = Refund.of_order(shop.session, checkout["order_id"])
    return refund


def made(shop, checkout) -> list[int]:
    refunds = shop.providers["yookassa"].refunds_of(shop.attempt(checkout).payment_id)
    return [refund.amount_minor for refund in refunds if refund.status == "succeeded"]


def test_a_refund_names_its_kopecks_exactly(shop, checkout):
    assert shop.refund(checkout, 110)["status"] == "succeeded"
    assert made(shop, checkout) == [110]
    assert shop.order(checkout).view()["refunded_minor"] == 110


def test_the_tax_office_hears_of_the_refund(shop, checkout):
    shop.refund(checkout)
    [made] = shop.providers["yookassa"]._refunds.list({"payment_id": shop.attempt(checkout).payment_id}).items  # noqa: SLF001 the SDK itself
    assert made.receipt_registration == "succeeded"


@pytest.mark.parametrize("fault", ["error_500", "drop_response_after_commit"])
def test_an_unclear_answer_is_made_clear_by_the_job(shop, checkout, fault):
    shop.kassa.faults(**{fault: 1})
    assert shop.refund(checkout)["status"] == "unknown"
    sync_refund(shop.sessions, shop.providers, refund_id=refund_of(shop, checkout).id)
    assert (refund_of(shop, checkout).status, made(shop, checkout)) == ("succeeded", [199000])


def test_a_notice_of_a_refund_is_a_hint_to_look(shop, checkout):
    shop.kassa.faults(pending_refunds=1)
    assert shop.refund(checkout)["status"] == "pending"
    refund = refund_of(shop, checkout)
    shop.kassa.post(f"/__refund/{refund.object_id}", outcome="succeed")
    for _ in range(2):
        shop.hear(refund.object_id, "refund.succeeded", provider="yookassa")
    assert (refund.status, shop.order(checkout).status) == ("succeeded", "refunded")
    assert shop.told(checkout).count("PAYMENT_REFUNDED") == 1


def test_a_canceled_refund_that_nobody_tells_of_is_found_by_asking(shop, checkout):
    shop.kassa.faults(pending_refunds=1)
    shop.refund(checkout)
    refund = refund_of(shop, checkout)
    shop.kassa.post(f"/__refund/{refund.object_id}", outcome="fail")
    sync_refund(shop.sessions, shop.providers, refund_id=refund.id)
    assert (refund.status, refund.problem) == ("failed", "rejected_by_payee")
    assert shop.order(checkout).view()["refund_pending_minor"] == 0


def test_a_refusal_frees_the_money(shop, checkout):
    # Somebody was faster in YooKassa's own cabinet, and we have not heard of it.
    adapter = shop.providers["yookassa"]
    amount = {"value": "1990.00", "currency": "RUB"}
    adapter._refunds.create({"payment_id": shop.attempt(checkout).payment_id, "amount": amount}, "by hand")  # noqa: SLF001
    with pytest.raises(PaymentRefused):
        shop.refund(checkout)
    assert shop.order(checkout).view()["refund_pending_minor"] == 0
