"""Idempotency keys of commands that call a provider: a permanent refusal is stored as the response."""

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from core.db import session_factory, utc_now
from models.errors import PaymentRefused
from models.payments import PaymentAttempt, Plan
from tests.integration.payments.harness import CommittingTransactions, make_offer
from workers import payments
from workers.payments.checkouts import start_checkout
from workers.payments.payment_sync import sync_attempt

CHECKOUT_FIELDS = {"provider": "stripe", "success_url": None, "cancel_url": None, "receipt_email": None}


class RefusingProvider:
    """A provider that refuses to expire a checkout session."""

    def __init__(self, provider: Any) -> None:
        self._provider = provider

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)

    def expire_checkout_session(self, _page_id: str) -> None:
        raise PaymentRefused("page_not_closable")


class RejectedCommands:
    """A buyer with an open order, and the data with which each command of the table is refused permanently."""

    def __init__(self, stripe: Any, fake_stripe: Any) -> None:
        self._stripe, self._fake, self.buyer_id = stripe, fake_stripe, uuid4()
        # a currency that Stripe refuses
        terms = {"amount_minor": 4900, "currency": "XAU", "interval": "month", "trial_days": 0}
        with session_factory("payments").begin() as session:
            self.course_id = make_offer(session)
            plan = Plan.create(name="Baking", course_ids=[str(self.course_id)], at=utc_now(), **terms)
            session.add(plan)
            self.plan_id = plan.id

    def start_checkout(self) -> dict[str, Any]:
        return {
            "user_id": self.buyer_id,
            "course_id": self.course_id,
            "plan_id": None,
            "coupon": "NO",
            **CHECKOUT_FIELDS,
        }

    def start_subscription(self) -> dict[str, Any]:
        return {"user_id": self.buyer_id, "plan_id": self.plan_id, "provider": "stripe", "receipt_email": None}

    def refund_order(self) -> dict[str, Any]:
        refund = {"amount_minor": 5000, "reason": "too much", "requested_by": uuid4()}
        return {"order_id": self._order(is_paid=True), **refund}

    def cancel_order(self) -> dict[str, Any]:
        return {"order_id": self._order(is_paid=False), "user_id": self.buyer_id}

    def _order(self, *, is_paid: bool) -> UUID:
        message = {"user_id": self.buyer_id, "course_id": self.course_id, "plan_id": None, **CHECKOUT_FIELDS}
        checkout = start_checkout(CommittingTransactions(), {"stripe": self._stripe}, **message)
        if is_paid:
            with session_factory("payments")() as session:
                self._fake.pay(session.get_one(PaymentAttempt, checkout["id"]).checkout_session_id, "succeed")
            sync_attempt(CommittingTransactions(), {"stripe": self._stripe}, attempt_id=checkout["id"])
        return checkout["order_id"]


@pytest.fixture
def rejected_commands(monkeypatch, database, stripe, fake_stripe) -> RejectedCommands:
    monkeypatch.setattr(payments, "_PROVIDERS", {"stripe": RefusingProvider(stripe)})
    return RejectedCommands(stripe, fake_stripe)


@pytest.mark.parametrize(
    ("message_of", "refusal"),
    [
        (RejectedCommands.start_checkout, "CouponUnknown"),
        (RejectedCommands.start_subscription, "CurrencyNotSupported"),
        (RejectedCommands.refund_order, "RefundTooLarge"),
        (RejectedCommands.cancel_order, "PaymentRefused"),
    ],
)
def test_permanent_error_is_replayed_for_its_key(
    deliver, rejected_commands: RejectedCommands, message_of: Callable[[RejectedCommands], dict[str, Any]], refusal: str
):
    task, message = f"payments.{message_of.__name__}", message_of(rejected_commands)
    claim = {"scope": f"ann {task}", "key": "k-1", "fingerprint": "this body"}

    first = deliver(task, message, claim=claim)
    repeat = deliver(task, message, claim=claim)
    other_body = deliver(task, message, claim=claim | {"fingerprint": "another body"})

    assert first["error"]["name"] == refusal
    assert (repeat["error"], repeat["replayed"]) == (first["error"], True)
    assert other_body["error"]["name"] == "IdempotencyKeyReused"
