"""Many at once, with real commits in a database of their own and under the grants that the service has."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from models.base import sessions
from models.errors import AlreadyPurchased
from models.payments import Attempt, Order
from tests.payments.shop import make_offer, paid, told
from tests.support.waiting import at_once, eventually
from workers import payments
from workers.payments.checkouts import start_checkout
from workers.payments.stripe_amounts import StripeAmounts
from workers.payments.sync import apply_snapshot

TWINS = 8  # as many as there are connections


class Committing:
    """``Sessions`` that claims nothing."""

    def __init__(self, command_id: UUID | None = None) -> None:
        self.command_id = command_id or uuid4()

    @contextmanager
    def begin(self) -> Iterator[Session]:
        with sessions("payments").begin() as session:
            yield session

    def answer(self, _session: Session, result: Any) -> Any:
        return result


@pytest.fixture
def course_id(database):
    with sessions("payments").begin() as session:
        return make_offer(session)


@pytest.fixture
def message(course_id) -> dict[str, Any]:
    """A buyer's wish."""
    terms = {"provider": "stripe", "success_url": "https://shop.test/done", "cancel_url": None, "receipt_email": None}
    return {"user_id": uuid4(), "course_id": course_id, "plan_id": None, **terms}


@pytest.fixture
def check_out(message, stripe) -> Callable[[], dict[str, Any]]:
    return partial(start_checkout, Committing(), {"stripe": stripe}, **message)


def take_money(attempt: Attempt) -> None:
    """Hear of an attempt's success, in a transaction of one's own."""
    with sessions("payments").begin() as session:
        apply_snapshot(session, attempt, paid(attempt, payment_id=f"pi_{attempt.id}"))


def orders_of(session: Session, user_id) -> list[Order]:
    return list(session.scalars(select(Order).where(Order.user_id == user_id)))


def test_twins_of_one_success_fulfil_once(check_out):
    checkout = check_out()
    with sessions("payments")() as session:
        attempt = session.get_one(Attempt, checkout["id"])
    at_once(*[partial(take_money, attempt)] * TWINS)
    with sessions("payments")() as session:
        assert told(session, checkout["order_id"]) == ["ORDER_CREATED", "PAYMENT_SUCCEEDED", "COURSE_PURCHASED"]


def test_rivals_for_one_order_fulfil_it_once_and_the_rest_are_duplicates(check_out):
    checkout = check_out()
    with sessions("payments").begin() as session:
        order = Order.locked(session, checkout["order_id"])
        [open_one] = order.attempts
        ended = [
            Attempt.begin(open_one.terms, open_for=timedelta(hours=1), at=open_one.created_at) for _ in range(TWINS - 1)
        ]
        for attempt in ended:
            attempt.status = "expired"
        order.attempts += ended
    at_once(*[partial(take_money, attempt) for attempt in (open_one, *ended)])
    with sessions("payments")() as session:
        statuses = sorted(attempt.status for attempt in Order.locked(session, order.id).attempts)
        assert statuses == ["duplicate"] * (TWINS - 1) + ["succeeded"]
        assert told(session, order.id) == ["ORDER_CREATED", "PAYMENT_SUCCEEDED", "COURSE_PURCHASED"]


def test_twin_checkouts_of_one_buyer_share_one_order_and_one_page(check_out, message):
    checkouts = at_once(*[check_out] * TWINS)
    assert len({(checkout["id"], checkout["redirect_url"]) for checkout in checkouts}) == 1
    with sessions("payments")() as session:
        [order] = orders_of(session, message["user_id"])
        assert len(Order.locked(session, order.id).attempts) == 1
        assert told(session, order.id) == ["ORDER_CREATED"]


def test_a_checkout_that_meets_a_payment_being_applied_finds_the_course_bought(check_out, message, database):
    checkout = check_out()
    with ThreadPoolExecutor(1) as pool:
        with sessions("payments").begin() as session:
            attempt = session.get_one(Attempt, checkout["id"])
            apply_snapshot(session, attempt, paid(attempt))
            meeting = pool.submit(check_out)
            eventually(lambda: database.value("SELECT count(*) FROM pg_locks WHERE NOT granted"), "the checkout")
        with pytest.raises(AlreadyPurchased):
            meeting.result()
    with sessions("payments")() as session:
        assert len(orders_of(session, message["user_id"])) == 1


@pytest.fixture
def send(deliver, message, stripe, monkeypatch) -> Callable[..., dict[str, Any]]:
    """Has the wish carried out as the worker does it, under an Idempotency-Key."""
    monkeypatch.setattr(payments, "_PROVIDERS", {"stripe": stripe})

    def send(fingerprint: str = "as sent") -> dict[str, Any]:
        claim = {"scope": "a buyer POST /v1/checkouts", "key": "once", "fingerprint": fingerprint}
        return deliver("payments.start_checkout", message, claim=claim, seconds_left=10)

    return send


def test_a_repeat_under_the_same_key_gets_the_first_answer(send):
    first, repeat = send(), send()
    assert (repeat["result"], repeat["replayed"]) == (first["result"], True)
    assert send("another body")["error"]["name"] == "IdempotencyKeyReused"


def test_twins_under_the_same_key_get_the_same_answer(send):
    answers = at_once(*[send] * 4)
    assert len({answer["result"]["id"] for answer in answers}) == 1
    assert sum(not answer.get("replayed", False) for answer in answers) == 1


def test_a_repeat_after_an_unclear_answer_need_not_wait_for_a_lease(send, standin):
    standin.faults(error_500=3)
    began = time.monotonic()
    assert send()["error"]["name"] == "CheckoutOutcomeUnknown"
    assert send()["result"]["status"] == "requires_action"
    assert time.monotonic() - began < 5


def test_a_refusal_that_lasts_is_the_answer_to_every_repeat(send, deliver, course_id, monkeypatch):
    # The account settles in a currency whose minimum we do not know, so Stripe itself refuses.
    monkeypatch.setattr(StripeAmounts, "check_charge", lambda *_: None)
    change = {"slug": "s", "title": "S", "on_sale": True, "currency": "USD", "updated_at": "2026-01-01T00:00:00Z"}
    deliver("payments.change_offer", {"event": {"course_id": course_id, "price_minor": 1, **change}})
    assert [send()["error"]["name"] for _ in range(2)] == ["PaymentRefused"] * 2
    deliver("payments.change_offer", {"event": {"course_id": course_id, "price_minor": 4900, **change}})
    repeat = send()
    assert (repeat["error"]["name"], repeat["replayed"]) == ("PaymentRefused", True)


def test_an_event_is_delivered_twice_and_kept_once(deliver, database, course_id):
    event = {
        "course_id": course_id,
        "course_version": 2,
        "slug": "sourdough",
        "title": "Sourdough",
        "instructor_id": uuid4(),
        "price_minor": 5900,
        "currency": "USD",
        "sequential": False,
        "sections": [],
        "published_at": "2026-01-01T00:00:00Z",
    }
    event_id = uuid4()
    replies = [deliver("payments.keep_offer", {"event": event}, event_id=event_id) for _ in range(2)]
    assert [reply.get("replayed", False) for reply in replies] == [False, True]
    assert database.rows("SELECT amount_minor FROM payments.offers") == [(5900,)]
