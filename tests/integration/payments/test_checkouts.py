import pytest

import settings
from core.db import utc_now
from models.errors import (
    AlreadyPurchased,
    NotFound,
    PaymentInProgress,
    PaymentRefused,
    ReturnUrlNotAllowed,
)
from models.events import CourseUpdated
from models.payments import Orders
from tests.integration.payments.harness import PaymentsHarness, make_offer, paid_snapshot
from tests.support.statements import at_most
from tests.support.tasks import Killed
from workers.payments.offers import update_offer
from workers.payments.payment_flow import apply_payment_snapshot


@pytest.fixture
def course_id(session):
    return make_offer(session)


def checkout_sessions_of(harness: PaymentsHarness, order_id) -> list[dict]:
    """Return Stripe's checkout sessions of an order, newest first."""
    return [page for page in harness.checkout_sessions() if page["client_reference_id"] == str(order_id)]


def test_checkout_opens_session_at_offer_price(harness, course_id):
    checkout = harness.checkout(course_id)
    [page] = checkout_sessions_of(harness, checkout["order_id"])
    assert (page["amount_total"], page["currency"], page["success_url"]) == (4900, "usd", "https://shop.test/done")
    assert page["metadata"] == {"order_id": str(checkout["order_id"]), "attempt_id": str(checkout["id"])}
    assert checkout["redirect_url"] == page["url"]
    assert (checkout["status"], checkout["amount_minor"], checkout["currency"]) == ("requires_action", 4900, "USD")
    assert int(checkout["expires_at"].timestamp()) == page["expires_at"]


def test_purchase_takes_few_statements(harness, course_id, plain_engine):
    with at_most(15, plain_engine):
        checkout = harness.checkout(course_id)
    harness.pay(checkout)
    with at_most(20, plain_engine):  # the webhook is stored; its state is fetched, applied and booked
        harness.complete_session(checkout)
    assert harness.event_types(checkout)[-1] == "COURSE_PURCHASED"


def test_order_created_event_is_published_once(harness, course_id):
    checkout = harness.checkout(course_id)
    harness.checkout(course_id)
    assert harness.event_types(checkout) == ["ORDER_CREATED"]


def test_repeated_checkout_returns_same_session(harness, course_id):
    first = harness.checkout(course_id)
    assert harness.checkout(course_id) == first
    assert len(checkout_sessions_of(harness, first["order_id"])) == 1


def test_declined_session_is_reused(harness, course_id):
    first = harness.checkout(course_id)
    harness.pay(first, "decline")
    again = harness.checkout(course_id)
    assert (again["id"], again["redirect_url"], again["status"]) == (first["id"], first["redirect_url"], "failed")


def test_changed_terms_replace_open_session(harness, course_id):
    first = harness.checkout(course_id)
    second = harness.checkout(course_id, success_url="https://shop.test/elsewhere")
    assert second["order_id"] == first["order_id"]
    assert [page["status"] for page in checkout_sessions_of(harness, first["order_id"])] == ["open", "expired"]
    assert harness.attempt(first).status == "expired"
    assert harness.order(first).status == "pending"
    assert harness.event_types(first) == ["ORDER_CREATED"]


def test_changed_price_replaces_open_session(harness, course_id):
    first = harness.checkout(course_id)
    reprice(harness, course_id, 3900)
    second = harness.checkout(course_id)
    assert (first["amount_minor"], second["amount_minor"], harness.order(second).amount_minor) == (4900, 3900, 3900)
    assert [page["status"] for page in checkout_sessions_of(harness, first["order_id"])] == ["open", "expired"]


def test_open_session_keeps_its_price(harness, course_id):
    checkout = harness.checkout(course_id)
    reprice(harness, course_id, 3900)
    harness.pay(checkout)
    harness.complete_session(checkout)
    assert (harness.order(checkout).status, harness.order(checkout).amount_minor) == ("paid", 4900)


def test_paid_session_is_not_replaced(harness, course_id):
    checkout = harness.checkout(course_id)
    harness.pay(checkout)
    with pytest.raises(AlreadyPurchased):
        harness.checkout(course_id, success_url="https://shop.test/elsewhere")
    assert harness.order(checkout).status == "paid"
    assert len(checkout_sessions_of(harness, checkout["order_id"])) == 1


def test_buyers_get_separate_orders(harness, course_id):
    own = harness.checkout(course_id)
    other = harness.checkout(course_id, user_id=make_offer(harness.session))
    assert own["order_id"] != other["order_id"]


def test_processing_payment_blocks_new_checkout(harness, course_id):
    checkout = harness.checkout(course_id)
    harness.pay(checkout, "processing")
    for terms in ({}, {"success_url": "https://shop.test/elsewhere"}):
        with pytest.raises(PaymentInProgress):
            harness.checkout(course_id, **terms)
    assert harness.attempt(checkout).status == "processing"


def test_unknown_course_is_not_found(harness):
    with pytest.raises(NotFound):
        harness.checkout(harness.buyer)


def test_free_course_is_fulfilled_immediately(harness, session):
    checkout = harness.checkout(make_offer(session, price_minor=0))
    assert (checkout["status"], checkout["redirect_url"], checkout["amount_minor"]) == ("succeeded", None, 0)
    assert harness.order(checkout).status == "paid"
    assert harness.event_types(checkout) == ["ORDER_CREATED", "COURSE_PURCHASED"]
    assert harness.return_from_checkout(checkout)["status"] == "paid"


def test_pending_order_is_fulfilled_when_course_becomes_free(harness, course_id):
    first = harness.checkout(course_id)
    reprice(harness, course_id, 0)
    second = harness.checkout(course_id)
    assert (second["order_id"], second["status"]) == (first["order_id"], "succeeded")
    assert [page["status"] for page in checkout_sessions_of(harness, first["order_id"])] == ["expired"]
    assert harness.event_types(first) == ["ORDER_CREATED", "COURSE_PURCHASED"]


def test_checkout_crash_after_provider_call_opens_one_session(harness, course_id):
    crashing = harness.transactions
    crashing.killed_before = 2
    with pytest.raises(Killed):
        harness.checkout(course_id, transactions=crashing)
    checkout = harness.checkout(course_id)
    assert len(checkout_sessions_of(harness, checkout["order_id"])) == 1
    harness.pay(checkout)
    harness.complete_session(checkout)
    assert [row["amount_minor"] for row in harness.fake_stripe.payments_of(str(checkout["order_id"]))] == [4900]
    assert harness.event_types(checkout) == ["ORDER_CREATED", "PAYMENT_SUCCEEDED", "COURSE_PURCHASED"]


def test_single_lost_response_is_retried(harness, course_id):
    harness.fake_stripe.faults(drop_response_after_commit=1)
    checkout = harness.checkout(course_id)
    assert len(checkout_sessions_of(harness, checkout["order_id"])) == 1


def test_provider_refusal_fails_attempt_but_not_order(harness, session):
    course_id = make_offer(session)
    with pytest.raises(PaymentRefused, match="url_invalid"):
        harness.checkout(course_id, success_url="ftp://shop.test/done")
    checkout = harness.checkout(course_id)
    assert [attempt.status for attempt in Orders(session).get_for_update(checkout["order_id"]).attempts] == [
        "failed",
        "requires_action",
    ]


def test_late_success_of_expired_session_pays_order(harness, course_id):
    first = harness.checkout(course_id)
    second = harness.checkout(course_id, success_url="https://shop.test/elsewhere")
    apply_payment_snapshot(harness.session, harness.attempt(first), paid_snapshot(harness.attempt(first)))
    assert harness.order(first).status == "paid"
    harness.pay(second)
    harness.complete_session(second)
    assert (harness.attempt(first).status, harness.attempt(second).status) == ("succeeded", "duplicate")
    assert harness.event_types(first) == ["ORDER_CREATED", "PAYMENT_SUCCEEDED", "COURSE_PURCHASED"]


@pytest.mark.parametrize("url", ["https://evil.test/done", "https://shop.test@evil.test/", "http://shop.test/done"])
def test_foreign_return_url_is_rejected(harness, course_id, monkeypatch, url):
    monkeypatch.setattr(settings, "RETURN_URL_ORIGINS", ("https://shop.test",))
    with pytest.raises(ReturnUrlNotAllowed):
        harness.checkout(course_id, success_url=url)
    with pytest.raises(ReturnUrlNotAllowed):
        harness.checkout(course_id, cancel_url=url)
    assert harness.checkout(course_id)["status"] == "requires_action"


def reprice(harness: PaymentsHarness, course_id, price_minor: int) -> None:
    event = CourseUpdated(
        course_id=course_id,
        slug="sourdough",
        title="Sourdough",
        on_sale=True,
        price_minor=price_minor,
        currency="USD",
        updated_at=utc_now(),
    )
    update_offer(harness.session, event=event)
    harness.session.expire_all()
