"""Reference model of the providers' side, and the invariants that compare the product with it.

Amounts come from the providers only. The product's tables are only read to learn what an order is for.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import permutations
from typing import Any
from uuid import UUID

from core.db import session_factory
from models.payments.ledger import balances, imbalances
from models.payments.plans import add_periods
from models.payments.subscriptions import GRACE_PERIOD, OUTCOME_TIMEOUT, TRIAL_GRACE_PERIOD
from tests.integration.payments.simulation import PaymentsSimulation

# The first period starts when the product learns of its payment, and jobs run some time after the due time.
SLACK = timedelta(hours=7)


@dataclass(frozen=True)
class Payment:
    """A payment that a provider captured."""

    id: str
    provider: str
    order_id: UUID
    amount_minor: int
    taken_at: datetime
    refunded_minor: int
    disputed_minor: int  # sum of the open and lost disputes
    is_contested: bool  # has an open dispute
    is_lost: bool  # has a lost dispute

    @property
    def kept_minor(self) -> int:
        return self.amount_minor - self.refunded_minor - self.disputed_minor

    @property
    def pays(self) -> bool:
        """Whether the payment entitles the buyer to what it paid for."""
        return self.kept_minor > 0 and not self.is_contested


@dataclass(frozen=True)
class SoldItem:
    """What an order sells."""

    courses: frozenset[UUID]
    subscription_id: UUID | None
    period: tuple[datetime, datetime] | None


@dataclass(frozen=True)
class SubscriptionState:
    id: UUID
    courses: frozenset[UUID]
    created_at: datetime
    trial_end: datetime | None
    grace_end: datetime | None  # the announced end, unless the subscription was canceled


class ReferenceModel:
    """The providers' state at this moment."""

    def __init__(self, simulation: PaymentsSimulation) -> None:
        self.simulation = simulation
        self.at = simulation.clock()
        self.payments = [*_of_stripe(simulation), *_of_yookassa(simulation)]

    @cached_property
    def sold(self) -> dict[UUID, SoldItem]:
        rows = self.simulation.database.rows(
            "SELECT id, course_id, bundle_courses, subscription_id, period_start, period_end FROM payments.orders"
        )
        found = {}
        for id_, course_id, bundle, subscription_id, start, end in rows:
            courses = {course_id} if course_id else {UUID(each["course_id"]) for each in bundle or []}
            found[id_] = SoldItem(frozenset(courses), subscription_id, (start, end) if start else None)
        return found

    @cached_property
    def subscriptions(self) -> list[SubscriptionState]:
        trials = {
            UUID(payload["subscription_id"]): datetime.fromisoformat(payload["period_end"])
            for (payload,) in self.simulation.database.rows(
                "SELECT payload FROM bus.outbox WHERE type = 'SUBSCRIPTION_STARTED' AND (payload->>'trial')::boolean"
            )
        }
        announced = {
            UUID(payload["subscription_id"]): datetime.fromisoformat(payload["ends_at"])
            for (payload,) in self.simulation.database.rows(
                "SELECT payload FROM bus.outbox past_due WHERE type = 'SUBSCRIPTION_PAST_DUE' AND NOT EXISTS ("
                " SELECT FROM bus.outbox WHERE type = 'SUBSCRIPTION_CANCELED' AND aggregateid = past_due.aggregateid"
                ") ORDER BY seq"
            )
        }
        rows = self.simulation.database.rows("SELECT id, course_ids, created_at FROM payments.subscriptions")
        return [
            SubscriptionState(id_, frozenset(map(UUID, course_ids)), created_at, trials.get(id_), announced.get(id_))
            for id_, course_ids, created_at in rows
        ]

    @cached_property
    def duplicates(self) -> set[str]:
        """The payments that pay for nothing. The product decides which of two payments it is."""
        query = "SELECT payment_id FROM payments.payment_attempts WHERE status = 'duplicate'"
        return {payment_id for (payment_id,) in self.simulation.database.rows(query)}

    def paying_orders(self, *, with_duplicates: bool = True) -> list[SoldItem]:
        """Return what is sold by the paid orders that belong to no subscription."""
        return [
            self.sold[payment.order_id]
            for payment in self.payments
            if payment.pays and not self.sold[payment.order_id].subscription_id
            if with_duplicates or payment.id not in self.duplicates
        ]

    def periods(self, subscription: SubscriptionState) -> list[tuple[datetime, datetime, bool]]:
        """Return each captured period as (start, end, whether it is still paid), in order."""
        found: dict[datetime, tuple[datetime, datetime, bool]] = {}
        for payment in self.payments:
            sold = self.sold[payment.order_id]
            if sold.subscription_id != subscription.id or sold.period is None:
                continue
            start, end = sold.period
            if start == subscription.created_at:  # the first period starts at its payment
                start, end = payment.taken_at, add_periods(payment.taken_at, "month", 1)
            pays = payment.pays or found.get(sold.period[0], (start, end, False))[2]
            found[sold.period[0]] = (start, end, pays)
        return [found[start] for start in sorted(found)]

    def must_have(self, course_id: UUID) -> str | None:
        """Return why the buyer must have access to a course, or None."""
        if self.simulation.erased_at:
            return None
        # The bank may take a part of a duplicate; a provider refunds no rest of it.
        if any(course_id in sold.courses for sold in self.paying_orders(with_duplicates=False)):
            return "an order is paid"
        for subscription in self.subscriptions:
            if course_id not in subscription.courses:
                continue
            periods = self.periods(subscription)
            if not periods and subscription.trial_end and self.at < subscription.trial_end:
                return "it is on trial"
            if periods and periods[-1][2] and periods[-1][0] <= self.at < periods[-1][1]:
                return "the period is paid"
            is_lost = bool(periods) and not periods[-1][2]
            if subscription.grace_end and self.at < subscription.grace_end and not is_lost:
                return "it is in grace"
        return None

    def may_have(self, course_id: UUID) -> bool:
        """Return whether any payment, trial or grace period allows access."""
        if self.simulation.erased_at:
            return False
        if any(course_id in sold.courses for sold in self.paying_orders()):
            return True
        return any(
            course_id in subscription.courses and self.at < self._ends(subscription)
            for subscription in self.subscriptions
        )

    def _ends(self, subscription: SubscriptionState) -> datetime:
        """Return when access by a subscription ends at the latest."""
        periods = self.periods(subscription)
        if periods:
            start, end, pays = periods[-1]
            return end + OUTCOME_TIMEOUT + GRACE_PERIOD + SLACK if pays else start
        if subscription.trial_end:
            return subscription.trial_end + TRIAL_GRACE_PERIOD + SLACK
        return subscription.created_at


def _of_stripe(simulation: PaymentsSimulation) -> Iterator[Payment]:
    fake = simulation.fakes["stripe"]
    state = fake.process.get("/__state")
    charged = {each["payment_intent"]: each["created"] for each in fake.documents("charge") if each["captured"]}
    disputes = [each for each in fake.documents("dispute") if each["status"] != "won"]
    for row in state["payments"]:
        if row["id"] not in charged or row["order_id"] is None:
            continue
        against = [each for each in disputes if each["payment_intent"] == row["id"]]
        yield Payment(
            **_common(row, state["refunds"], "stripe"),
            taken_at=datetime.fromtimestamp(charged[row["id"]], UTC),
            disputed_minor=sum(each["amount"] for each in against),
            is_contested=any(each["status"] != "lost" for each in against),
            is_lost=any(each["status"] == "lost" for each in against),
        )


def _of_yookassa(simulation: PaymentsSimulation) -> Iterator[Payment]:
    fake = simulation.fakes["yookassa"]
    state = fake.process.get("/__state")
    captured_at = {each["id"]: each.get("captured_at") for each in fake.documents("payment")}
    for row in state["payments"]:
        if row["status"] == "succeeded":
            taken_at = datetime.fromisoformat(captured_at[row["id"]])
            yield Payment(
                **_common(row, state["refunds"], "yookassa"),
                taken_at=taken_at,
                disputed_minor=0,
                is_contested=False,
                is_lost=False,
            )


def _common(row: dict[str, Any], refunds: list[dict[str, Any]], provider: str) -> dict[str, Any]:
    succeeded = [each for each in refunds if each["payment_id"] == row["id"] and each["status"] == "succeeded"]
    return {
        "id": row["id"],
        "provider": provider,
        "order_id": UUID(row["order_id"]),
        "amount_minor": row["amount_minor"],
        "refunded_minor": sum(each["amount_minor"] for each in succeeded),
    }


# Invariants: each yields its violations as text.


def ledger_agrees(truth: ReferenceModel) -> Iterator[str]:
    """The ledger and the counters of the attempts equal the balances at the providers."""
    with session_factory("payments")() as session:
        yield from imbalances(session)
        booked = {
            each.account.split(".")[1]: each.balance_minor
            for each in balances(session, limit=100)
            if each.account.startswith("provider.")
        }
    for provider in truth.simulation.fakes:
        kept = sum(each.kept_minor for each in truth.payments if each.provider == provider)
        if booked.get(provider, 0) != kept:
            yield f"balance at {provider} is {kept}, in the ledger {booked.get(provider, 0)}"


def no_access_without_payment(truth: ReferenceModel) -> Iterator[str]:
    """A buyer has no access to a course that is neither paid, nor on trial, nor in grace."""
    for number, course_id in enumerate(truth.simulation.courses):
        if truth.simulation.has_access(course_id) and not truth.may_have(course_id):
            yield f"access to unpaid course {number}"


def no_payment_without_access(truth: ReferenceModel) -> Iterator[str]:
    """A buyer who has paid, or is on trial, has access."""
    for number, course_id in enumerate(truth.simulation.courses):
        if (why := truth.must_have(course_id)) and not truth.simulation.has_access(course_id):
            yield f"no access to course {number}, though {why}"


def nothing_is_paid_twice(truth: ReferenceModel) -> Iterator[str]:
    """A second payment for the same item is refunded."""
    kept = [payment for payment in truth.payments if payment.pays and not payment.is_lost]
    paid: dict[Any, list[str]] = {}
    for payment in kept:
        sold = truth.sold[payment.order_id]
        key = (sold.subscription_id, sold.period) if sold.subscription_id else payment.order_id
        paid.setdefault(key, []).append(payment.id)
    for what, ids in paid.items():
        if len(ids) > 1:
            yield f"{what} was paid by {ids} and not refunded"
    bought = [truth.sold[payment.order_id].courses for payment in kept]
    bought = [courses for courses in bought if courses]
    if not any(_each_adds_something(order) for order in permutations(bought)):
        yield f"owned courses were sold again: {bought}"


def _each_adds_something(bought: tuple[frozenset[UUID], ...]) -> bool:
    owned: set[UUID] = set()
    for courses in bought:
        if courses <= owned:
            return False
        owned |= courses
    return True


def no_duplicate_keeps_money(truth: ReferenceModel) -> Iterator[str]:
    """A payment that pays for nothing is refunded, unless the bank has its money."""
    for payment in truth.payments:
        if payment.id in truth.duplicates and payment.pays and not payment.is_lost:
            yield f"{payment.id} is a duplicate, and {payment.kept_minor} of it were not refunded"


def no_payment_after_erasure(truth: ReferenceModel) -> Iterator[str]:
    """A payment captured after the erasure of the buyer's account is refunded."""
    erased_at = truth.simulation.erased_at
    for payment in truth.payments:
        if erased_at and payment.taken_at > erased_at + timedelta(seconds=1) and payment.pays and not payment.is_lost:
            yield f"{payment.id} was captured from an erased buyer and not refunded"


def nothing_is_left_unfinished(truth: ReferenceModel) -> Iterator[str]:
    """Every webhook is processed, and no payment or refund waits for a decision of staff."""
    rows = truth.simulation.database.rows
    for kind, status, problem in rows(
        "SELECT type, status, problem FROM payments.provider_events WHERE status IN ('received', 'failed')"
    ):
        yield f"the webhook {kind} is {status}: {problem}"
    for id_, status, problem in rows(
        "SELECT id, status, problem FROM payments.payment_attempts WHERE status IN ('review', 'authorized')"
    ):
        yield f"payment {id_} is {status}: {problem}"
    for id_, status, problem in rows(
        "SELECT id, status, problem FROM payments.refunds WHERE status IN ('created', 'unknown', 'pending', 'review')"
    ):
        yield f"refund {id_} is {status}: {problem}"


def no_coupon_of_dead_orders(truth: ReferenceModel) -> Iterator[str]:
    """An order that can no longer be paid holds no coupon."""
    for id_, status in truth.simulation.database.rows(
        "SELECT id, status FROM payments.orders JOIN payments.coupon_redemptions ON order_id = id"
        " WHERE status IN ('expired', 'canceled')"
    ):
        yield f"the {status} order {id_} holds a coupon"


INVARIANTS = (
    ledger_agrees,
    no_access_without_payment,
    no_payment_without_access,
    nothing_is_paid_twice,
    no_duplicate_keeps_money,
    no_payment_after_erasure,
    no_coupon_of_dead_orders,
    nothing_is_left_unfinished,
)


def violations(simulation: PaymentsSimulation) -> list[str]:
    """Return all violated invariants."""
    truth = ReferenceModel(simulation)
    return [f"{invariant.__name__}: {problem}" for invariant in INVARIANTS for problem in invariant(truth)]
