"""The actions of the stateful test of payments, and the first actions of its sequences."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.integration.payments.reference_model import ReferenceModel, no_access_without_payment, violations
from tests.integration.payments.simulation import (
    Command,
    PaymentsSimulation,
)

PROVIDERS = st.sampled_from(["stripe", "yookassa"])
GOODS = st.sampled_from(["course", "plan", "bundle", "trial", "plan", "other course"])
PICKS = st.integers(0, 7)
CRASHES = st.sampled_from(
    [None, None, None, "after the attempt's commit", "after the provider's response", "before the outcome's commit"]
)
FAULTS = st.sampled_from(
    [{"drop_response_after_commit": 3}, {"error_500": 3}, {"pending_refunds": 1}, {"refuse_refunds": 1}]
)
# Stripe's sessions expire after a day, workers are down for a week at most, trials last one week, dunning three.
HOURS = st.sampled_from([1, 6, 23, 25, 3 * 24, 7 * 24, 31 * 24])
SETTLING_HOURS = (0.2, 1, 1, 3, 6, 6, 12, 24, 12, 12, 24, 48, 24, 24, 48)

STARTED = "ended_at IS NULL AND status <> 'incomplete'"


class Shopping(RuleBasedStateMachine):
    """The possible actions of a buyer, the bank, staff, both providers, the network and time."""

    def __init__(self, simulation: PaymentsSimulation, opening: str = "purchase") -> None:
        super().__init__()
        self.simulation = simulation
        self.opening = opening
        simulation.reset()
        self.commands: list[Command] = []

    @initialize(provider=PROVIDERS)
    def open(self, provider: str) -> None:
        OPENINGS[self.opening].act(self, provider)

    def _send(self, task: str, *, crash_at: str | None = None, **message: Any) -> dict[str, Any] | None:
        self.commands.append(Command(task, message, self.simulation.new_key()))
        return self.simulation.send(self.commands[-1], crash_at=crash_at)

    def _ids(self, table: str, where: str = "true") -> list[UUID]:
        query = f"SELECT id FROM payments.{table} WHERE {where} ORDER BY id"  # noqa: S608 constants of this module
        rows = self.simulation.database.rows(query)
        return [id_ for (id_,) in rows]

    # The buyer.

    @rule(goods=GOODS, provider=PROVIDERS, coupon=st.sampled_from([None, None, "TENTH"]), crash=CRASHES, back=PICKS)
    def check_out(self, goods: str, provider: str, coupon: str | None, crash: str | None, back: int) -> None:
        bought = {"course_id": None, "plan_id": None, "bundle_id": None} | self.simulation.goods[goods]
        if bought["plan_id"]:
            coupon = None
        self._send(
            "payments.start_checkout",
            user_id=self.simulation.buyer,
            provider=provider,
            success_url=f"https://shop.test/{back % 2}",
            cancel_url=None,
            receipt_email="ann@example.com",
            coupon=coupon,
            crash_at=crash,
            **bought,
        )

    @rule(pick=PICKS)
    @precondition(lambda self: self.commands)
    def repeat(self, pick: int) -> None:
        """Repeat a command with its key."""
        self.simulation.send(_pick(self.commands, pick))

    @rule(pick=PICKS, outcome=st.sampled_from(["decline", "succeed", "succeed", "processing", "abandon"]))
    @precondition(lambda self: self.simulation.checkout_sessions())
    def pay(self, pick: int, outcome: str) -> None:
        self.simulation.pay(*_pick(self.simulation.checkout_sessions(), pick), outcome)

    @rule(goods=GOODS, provider=PROVIDERS, is_returning=st.booleans())
    def buy(self, goods: str, provider: str, is_returning: bool) -> None:  # noqa: FBT001 drawn
        """Check out and pay; the buyer returns or closes the browser."""
        for _ in range(2 if goods == "trial" else 1):  # first the trial, then a session that saves the card
            self.check_out(goods, provider, None, None, 0)
        pages = [page for page in self.simulation.checkout_sessions() if page[0] == provider]
        if pages:
            self.simulation.pay(*pages[-1], "succeed")
        if is_returning:
            self.return_from_checkout(0)

    @rule(pick=PICKS)
    def return_from_checkout(self, pick: int) -> None:
        """Return from a checkout session; 0 is the newest one."""
        if ids := self._ids("payment_attempts"):
            self._send("payments.sync_checkout", checkout_id=_pick(ids, pick), user_id=self.simulation.buyer)

    @rule(pick=PICKS, crash=CRASHES)
    @precondition(lambda self: self._ids("orders", "status = 'pending'"))
    def cancel_order(self, pick: int, crash: str | None) -> None:
        order_id = _pick(self._ids("orders", "status = 'pending'"), pick)
        self._send("payments.cancel_order", order_id=order_id, user_id=self.simulation.buyer, crash_at=crash)

    @rule(pick=PICKS)
    @precondition(lambda self: self._ids("subscriptions", STARTED))
    def give_notice(self, pick: int) -> None:
        subscription_id = _pick(self._ids("subscriptions", STARTED), pick)
        self._send("payments.cancel_subscription", subscription_id=subscription_id, user_id=self.simulation.buyer)

    @rule(goods=st.sampled_from(["plan", "trial"]), provider=PROVIDERS)
    @precondition(lambda self: self.simulation.database.count("payments.saved_methods"))
    def subscribe_with_saved_method(self, goods: str, provider: str) -> None:
        plan_id = self.simulation.goods[goods]["plan_id"]
        email = "ann@example.com"
        command = {"user_id": self.simulation.buyer, "plan_id": plan_id, "provider": provider, "receipt_email": email}
        self._send("payments.start_subscription", **command)

    @rule(days=st.sampled_from([1, 10]), provider=PROVIDERS)
    @precondition(lambda self: self._ids("subscriptions", "status IN ('trialing', 'past_due')"))
    def keep_session_of_plan_open(self, days: int, provider: str) -> None:
        """Open a new session of the plan before the last one expires, and never pay."""
        for number in range(days):
            self.check_out("trial", provider, None, None, number)
            self.simulation.advance(hours=22)
            self.simulation.run_jobs()
        self._require_no_free_access()

    @rule()
    @precondition(lambda self: self.simulation.erased_at is None and len(self.commands) > 6)
    def erase_account(self) -> None:
        self.simulation.erase()

    # The provider, the bank and staff.

    @rule(
        pick=PICKS,
        part=st.sampled_from([None, None, 2000]),
        crash=st.sampled_from([None, None, "after the refund's commit"]),
    )
    @precondition(lambda self: self._ids("orders", "paid_at IS NOT NULL"))
    def refund(self, pick: int, part: int | None, crash: str | None) -> None:
        order_id = _pick(self._ids("orders", "paid_at IS NOT NULL"), pick)
        message = {"order_id": order_id, "reason": "requested by the buyer", "requested_by": UUID(int=1)}
        self._send("payments.refund_order", amount_minor=part, crash_at=crash, **message)

    @rule(pick=PICKS, part=st.sampled_from([1500, 4000, 5000]))
    @precondition(lambda self: self._ids("orders", "paid_at IS NOT NULL"))
    def refund_at_provider(self, pick: int, part: int) -> None:
        if payments := ReferenceModel(self.simulation).payments:
            payment = _pick(payments, pick)
            self.simulation.refund_at_provider(payment.provider, payment.id, part)

    @rule(pick=PICKS, part=st.sampled_from([None, 1000]), outcome=st.sampled_from([None, "won", "lost"]))
    @precondition(lambda self: self.stripe_payment_ids)
    def dispute(self, pick: int, part: int | None, outcome: str | None) -> None:
        """Open a dispute, or decide the open one."""
        dispute = f"/__dispute/{_pick(self.stripe_payment_ids, pick)}"
        self.simulation.fakes["stripe"].process.post(dispute, **({"amount": part} if part else {}))
        if outcome:
            self.simulation.fakes["stripe"].process.post(dispute, outcome=outcome)

    @property
    def stripe_payment_ids(self) -> list[str]:
        charges = self.simulation.fakes["stripe"].documents("charge")
        return [charge["payment_intent"] for charge in charges if charge["captured"]]

    @rule(days=st.sampled_from([31, 8, 0]), declines=st.booleans())
    @precondition(lambda self: self.simulation.database.count("payments.saved_methods"))
    def change_cards(self, days: int, declines: bool) -> None:  # noqa: FBT001 drawn
        """Make all saved cards decline, or accept again, for some days."""
        stripe, fake_yookassa = self.simulation.fakes["stripe"], self.simulation.fakes["yookassa"]
        for method in stripe.documents("payment_method"):
            card = "chargeCustomerFail" if declines else "visa"
            stripe.process.post(f"/__methods/{method['id']}", card=card)
        for payment in fake_yookassa.documents("payment"):
            fake_yookassa.process.post(
                f"/__methods/{payment['id']}", declines="insufficient_funds" if declines else None
            )
        self._pass(days * 24)

    @rule(
        provider=PROVIDERS,
        fault=FAULTS,
    )
    def break_provider(self, provider: str, fault: dict[str, int]) -> None:
        self.simulation.fakes[provider].process.faults(**fault)

    # The network and time.

    @rule(pick=PICKS, how=st.sampled_from(["all reversed", "once", "twice", "hint lost", "dropped", "forged"]))
    @precondition(lambda self: self.simulation.webhooks())
    def deliver_webhook(self, pick: int, how: str) -> None:
        pending = self.simulation.webhooks()
        if how == "all reversed":
            while pending:
                self.simulation.receive(pending.pop())
            return
        webhook = _pick(pending, pick)
        if how == "forged":
            self.simulation.receive(webhook, forged=True)
            return
        pending.remove(webhook)
        for _ in range({"dropped": 0, "twice": 2}.get(how, 1)):
            self.simulation.receive(webhook, hint_lost=how == "hint lost")

    @rule(hours=HOURS, carries_events=st.booleans())
    def pass_time(self, hours: int, carries_events: bool) -> None:  # noqa: FBT001 drawn
        if carries_events:
            self.simulation.deliver_events()
        self._pass(hours)

    def _pass(self, hours: float) -> None:
        """Advance the clock; the jobs run at least once a week."""
        while hours > 0:
            self.simulation.advance(hours=min(hours, 7 * 24))
            hours -= 7 * 24
            self.simulation.run_jobs()
            self.simulation.fetch_missed_events()

    # The end of a sequence.

    def teardown(self) -> None:
        self._settle_pending_at_providers()
        for hours in SETTLING_HOURS:
            self._pass(hours)
            self._require_no_free_access()
            if self._is_settled():
                break
        self.simulation.seen |= {
            row[0] for row in self.simulation.database.rows("SELECT DISTINCT type FROM bus.outbox")
        }
        problems = violations(self.simulation)
        for row in self.simulation.database.rows(
            "SELECT order_id, step, detail FROM payments.order_history ORDER BY id"
        ):
            note(str(row))
        assert not problems, "\n".join(problems)

    def _require_no_free_access(self) -> None:
        self.simulation.deliver_events()
        free = list(no_access_without_payment(ReferenceModel(self.simulation)))
        assert not free, free

    def _settle_pending_at_providers(self) -> None:
        """Settle the payments that banks process and the refunds that providers have pending."""
        for fake in self.simulation.fakes.values():
            fake.process.faults(
                **dict.fromkeys(("error_500", "drop_response_after_commit", "pending_refunds", "refuse_refunds"), 0)
            )
            for refund in fake.process.get("/__state")["refunds"]:
                if refund["status"] == "pending":
                    fake.process.post(f"/__refund/{refund['id']}", outcome="succeed")
        for page in self.simulation.fakes["stripe"].documents("checkout.session"):
            if page["status"] == "complete" and page["payment_status"] == "unpaid":
                self.simulation.pay("stripe", page["id"], "succeed")

    def _is_settled(self) -> bool:
        """Return whether nothing but subscriptions would still change with time."""
        unsettled = """
            SELECT (SELECT count(*) FROM payments.provider_events WHERE status = 'received')
                + (SELECT count(*) FROM payments.payment_attempts
                   WHERE next_sync_at IS NOT NULL OR checkout_session_open)
                + (SELECT count(*) FROM payments.refunds WHERE next_sync_at IS NOT NULL)
                + (SELECT count(*) FROM payments.provider_erasures)
                + (SELECT count(*) FROM payments.orders WHERE status = 'pending' AND subscription_id IS NULL)
        """
        return self.simulation.database.value(unsettled) == 0


def _pick(things: list[Any], pick: int) -> Any:
    """Pick an element; 0 is the newest one."""
    return things[-1 - pick % len(things)]


@dataclass(frozen=True)
class Opening:
    """The first actions of a sequence, and an event that they cause."""

    act: Callable[[Shopping, str], None]
    causes: str


def _declined_payment(shop: Shopping, provider: str) -> None:
    shop.check_out("course", provider, "TENTH", None, 0)
    shop.pay(0, "decline")


def _lost_response(shop: Shopping, provider: str) -> None:
    shop.break_provider(provider, {"drop_response_after_commit": 3})
    shop.check_out("bundle", provider, None, None, 0)
    shop.repeat(0)
    shop.check_out("bundle", "stripe" if provider == "yookassa" else "yookassa", None, None, 0)


def _crash(shop: Shopping, provider: str) -> None:
    shop.buy("bundle", provider, is_returning=False)
    shop.return_from_checkout(0)
    shop.refund(0, 2000, "after the refund's commit")
    shop.check_out("course", provider, None, "after the provider's response", 0)
    shop.repeat(0)


def _webhooks(shop: Shopping, provider: str) -> None:
    shop.buy("course", provider, is_returning=False)
    for how in ("forged", "dropped", "twice", "hint lost", "all reversed"):
        if shop.simulation.webhooks():
            shop.deliver_webhook(0, how)


def _abandoned_checkout(shop: Shopping, provider: str) -> None:
    shop.check_out("course", provider, "TENTH", None, 0)
    shop.pass_time(3 * 24, carries_events=True)


def _paid_twice(shop: Shopping, provider: str) -> None:
    shop.check_out("course", provider, None, None, 0)
    shop.check_out("bundle", provider, None, None, 0)
    for page in shop.simulation.checkout_sessions():
        shop.simulation.pay(*page, "succeed")
    shop.return_from_checkout(0)
    shop.return_from_checkout(1)


def _disputed_duplicate(shop: Shopping, _provider: str) -> None:
    _paid_twice(shop, "stripe")
    shop.dispute(1, None, None)  # of the first payment, which became the duplicate
    shop.deliver_webhook(0, "all reversed")
    for _ in range(2):
        shop.pass_time(25, carries_events=True)  # its refund is refused, then nothing is left to refund
    shop.dispute(1, None, "won")


def _refund_at_provider(shop: Shopping, provider: str) -> None:
    shop.buy("bundle", provider, is_returning=True)
    shop.refund(0, 1500, None)
    shop.refund_at_provider(0, 5000)


def _dispute(shop: Shopping, _provider: str) -> None:
    shop.buy("bundle", "stripe", is_returning=True)
    shop.dispute(0, 1000, "won")
    shop.dispute(0, None, "lost")


def _declining_card(shop: Shopping, provider: str) -> None:
    shop.buy("plan", provider, is_returning=True)
    shop.change_cards(31, declines=True)


def _open_page_of_trial(shop: Shopping, provider: str) -> None:
    shop.check_out("trial", provider, None, None, 0)
    shop.keep_session_of_plan_open(10, provider)  # longer than the trial and its grace period


def _erasure(shop: Shopping, provider: str) -> None:
    shop.buy("plan", provider, is_returning=True)
    shop.check_out("course", provider, None, None, 0)
    shop.erase_account()
    shop.simulation.advance(minutes=1)  # the job that closes the page has not run yet
    shop.pay(0, "succeed")


OPENINGS = {
    "purchase": Opening(lambda shop, provider: shop.buy("bundle", provider, is_returning=True), "COURSE_PURCHASED"),
    "renewal": Opening(lambda shop, provider: shop.buy("trial", provider, is_returning=True), "SUBSCRIPTION_RENEWED"),
    "declined payment": Opening(_declined_payment, "PAYMENT_FAILED"),
    "lost response": Opening(_lost_response, "ORDER_CREATED"),
    "crash": Opening(_crash, "PAYMENT_REFUNDED"),
    "webhooks": Opening(_webhooks, "PAYMENT_SUCCEEDED"),
    "abandoned checkout": Opening(_abandoned_checkout, "ORDER_EXPIRED"),
    "paid twice": Opening(_paid_twice, "PAYMENT_SUCCEEDED"),
    "refund at provider": Opening(_refund_at_provider, "PAYMENT_REFUNDED"),
    "dispute": Opening(_dispute, "DISPUTE_CLOSED"),
    "declining card": Opening(_declining_card, "SUBSCRIPTION_PAST_DUE"),
    "open page of trial": Opening(_open_page_of_trial, "SUBSCRIPTION_EXPIRED"),
    "erasure": Opening(_erasure, "SUBSCRIPTION_EXPIRED"),
    "disputed duplicate": Opening(_disputed_duplicate, "DISPUTE_CLOSED"),
}
