"""Idempotency keys of the commands that call a provider: a lasting refusal is the answer to its key."""

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from models.base import now, sessions
from models.errors import PaymentRefused
from models.payments import Attempt, Plan
from tests.payments.shop import make_offer
from tests.payments.test_races import Committing
from workers import payments
from workers.payments.checkouts import start_checkout
from workers.payments.sync import sync_attempt

PAGE = {"provider": "stripe", "success_url": None, "cancel_url": None, "receipt_email": None}


class Refusing:
    """A provider that closes no page."""

    def __init__(self, provider: Any) -> None:
        self._provider = provider

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)

    def expire_page(self, _page_id: str) -> None:
        raise PaymentRefused("page_not_closable")


class Counter:
    """A buyer with an open order, and what each command of the table needs to be refused for good."""

    def __init__(self, stripe: Any, standin: Any) -> None:
        self._stripe, self._standin, self.buyer_id = stripe, standin, uuid4()
        terms = {"amount_minor": 4900, "currency": "XAU", "interval": "month", "trial_days": 0}  # not taken by Stripe
        with sessions("payments").begin() as session:
            self.course_id = make_offer(session)
            plan = Plan.make(name="Baking", course_ids=[str(self.course_id)], at=now(), **terms)
            session.add(plan)
            self.plan_id = plan.id

    def start_checkout(self) -> dict[str, Any]:
        return {"user_id": self.buyer_id, "course_id": self.course_id, "plan_id": None, "coupon": "NO", **PAGE}

    def start_subscription(self) -> dict[str, Any]:
        return {"user_id": self.buyer_id, "plan_id": self.plan_id, "provider": "stripe", "receipt_email": None}

    def refund_order(self) -> dict[str, Any]:
        refund = {"amount_minor": 5000, "reason": "too much", "requested_by": uuid4()}
        return {"order_id": self._order(is_paid=True), **refund}

    def cancel_order(self) -> dict[str, Any]:
        return {"order_id": self._order(is_paid=False), "user_id": self.buyer_id}

    def _order(self, *, is_paid: bool) -> UUID:
        wanted = {"user_id": self.buyer_id, "course_id": self.course_id, "plan_id": None, **PAGE}
        checkout = start_checkout(Committing(), {"stripe": self._stripe}, **wanted)
        if is_paid:
            with sessions("payments")() as session:
                self._standin.pay(session.get_one(Attempt, checkout["id"]).page_id, "succeed")
            sync_attempt(Committing(), {"stripe": self._stripe}, attempt_id=checkout["id"])
        return checkout["order_id"]


@pytest.fixture
def counter(monkeypatch, database, stripe, standin) -> Counter:
    monkeypatch.setattr(payments, "_PROVIDERS", {"stripe": Refusing(stripe)})
    return Counter(stripe, standin)


@pytest.mark.parametrize(
    ("message_of", "refusal"),
    [
        (Counter.start_checkout, "CouponUnknown"),
        (Counter.start_subscription, "CurrencyNotSupported"),
        (Counter.refund_order, "RefundTooLarge"),
        (Counter.cancel_order, "PaymentRefused"),
    ],
)
def test_lasting_refusal_is_kept_under_its_key(
    deliver, counter: Counter, message_of: Callable[[Counter], dict[str, Any]], refusal: str
):
    task, message = f"payments.{message_of.__name__}", message_of(counter)
    claim = {"scope": f"ann {task}", "key": "k-1", "fingerprint": "this body"}

    first = deliver(task, message, claim=claim)
    repeat = deliver(task, message, claim=claim)
    other_body = deliver(task, message, claim=claim | {"fingerprint": "another body"})

    assert first["error"]["name"] == refusal
    assert (repeat["error"], repeat["replayed"]) == (first["error"], True)
    assert other_body["error"]["name"] == "IdempotencyKeyReused"
