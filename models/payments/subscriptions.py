"""Subscriptions: one billing engine for both providers, which only execute the charges.

Each period is paid by an order of its own (unique per ``subscription_id`` and ``period_start``) with ordinary payment
attempts. The outcome of an order is applied here under the order's lock. To avoid deadlocks, the order is always locked
before the subscription.
"""

from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from sqlalchemy.orm import Mapped, mapped_column

from core.db import Aggregate, Base, PrivateText
from models.errors import SubscriptionEnded
from models.events import (
    Event,
    SubscriptionCanceled,
    SubscriptionExpired,
    SubscriptionPastDue,
    SubscriptionRenewed,
    SubscriptionRestored,
    SubscriptionStarted,
    SubscriptionTrialEnding,
)

from .orders import Order
from .payment_attempts import PaymentAttempt
from .plans import Interval, Plan, add_periods

SubscriptionStatus = Literal["incomplete", "trialing", "active", "past_due", "canceled", "expired"]
Step = Literal["notify_trial_ending", "charge", "end"]
OPEN = ("incomplete", "trialing", "active", "past_due")

# End reasons for a subscription whose current period was refunded or disputed: it is restored if the money returns.
REVERSAL_END_REASONS = frozenset({"refunded", "disputed"})
# A subscription without a first payment ends after this time.
INCOMPLETE_TTL = timedelta(days=1)
TRIAL_END_NOTICE_PERIOD = timedelta(days=3)
# Pauses after the first, second, … failed charge. The subscription ends GRACE_PERIOD after it became past due.
DUNNING = tuple(timedelta(days=days) for days in (2, 5, 7, 6))
GRACE_PERIOD = timedelta(days=21)
# After a trial whose charge failed, access lasts this long, so that the buyer can pay in a checkout session.
TRIAL_GRACE_PERIOD = timedelta(days=1)
# A renewal whose outcome is still unknown after this time is treated as past due.
OUTCOME_TIMEOUT = timedelta(days=7)
RECHECK_DELAY = timedelta(minutes=10)
# Decline codes after which a retry of the same charge cannot succeed; card networks fine some retries. So no further
# charge is scheduled: until ``ends_at`` the buyer can pay in a checkout session, with another card or authentication.
HARD_DECLINES = frozenset(
    {
        *("authentication_required", "3d_secure_failed", "identification_required"),
        *("stop_payment_order", "revocation_of_authorization", "revocation_of_all_authorizations"),
        *("restricted_card", "transaction_not_allowed"),
        *("lost_card", "stolen_card", "pickup_card", "fraudulent", "expired_card", "invalid_account"),
        *("permission_revoked", "card_expired", "fraud_suspected", "country_forbidden", "payment_method_restricted"),
        *("invalid_card_number", "resource_missing", "payment_method_id"),
    }
)


class Subscription(Aggregate, Base):
    """A buyer's subscription to a plan, with its own copy of the plan's terms."""

    __tablename__ = "subscriptions"
    __table_args__ = ({"schema": "payments"},)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    plan_id: Mapped[UUID]
    status: Mapped[SubscriptionStatus]
    provider: Mapped[str]
    # The plan's terms at the last checkout before the subscription started.
    plan_name: Mapped[str]
    amount_minor: Mapped[int]
    currency: Mapped[str]
    interval: Mapped[Interval]
    course_ids: Mapped[list[str]]
    receipt_email: Mapped[PrivateText | None]
    # Periods are counted from the anchor, so that a period that starts on the 31st does so again after February.
    anchor_at: Mapped[datetime]
    periods: Mapped[int]
    period_start: Mapped[datetime]
    period_end: Mapped[datetime]
    paid_order_id: Mapped[UUID | None]  # the order that paid the current period; None: a trial
    had_trial: Mapped[bool]
    trial_end_notified: Mapped[bool]
    failed_charges: Mapped[int]
    cancel_at_period_end: Mapped[bool]
    problem: Mapped[str | None]  # why the last charge failed, or why the subscription ended
    next_step_at: Mapped[datetime | None]  # when the renewal job handles it next; None: ended
    ends_at: Mapped[datetime | None]  # past due: when access ends unless a payment arrives, as announced
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]

    @property
    def title(self) -> str:
        return self.plan_name

    def apply_plan_terms(self, plan: Plan) -> None:
        """Copy the plan's current terms."""
        self.plan_name, self.interval, self.course_ids = plan.name, plan.interval, plan.course_ids
        self.amount_minor, self.currency = plan.amount_minor, plan.currency

    def start_trial(self, plan: Plan, *, at: datetime) -> list[Event]:
        """Start the trial, without a payment; returns the events to publish."""
        self.status, self.had_trial = "trialing", True
        self.period_start, self.period_end = at, at + timedelta(days=plan.trial_days)
        self.anchor_at = self.period_end
        self.next_step_at = max(at, self.period_end - TRIAL_END_NOTICE_PERIOD)
        return [self._started_event(at)]

    def next_period(self) -> tuple[datetime, datetime]:
        """Return start and end of the period that the next payment is for.

        Before the first payment they are provisional: the first period starts when the payment succeeds.
        """
        if self.status == "incomplete":
            return self.created_at, add_periods(self.created_at, self.interval, 1)
        return self.period_end, add_periods(self.anchor_at, self.interval, self.periods + 1)

    def start_paid_period(self, order: Order, attempt: PaymentAttempt, *, at: datetime) -> list[Event]:
        """Start the period that ``order`` paid; later periods are charged at the provider of ``attempt``.

        Does nothing if the subscription has ended. Returns the events to publish.
        """
        if self.ended_at:
            return []
        was, self.status = self.status, "active"
        self.provider, self.receipt_email = attempt.provider, attempt.receipt_email or self.receipt_email
        self.paid_order_id = order.id
        self.failed_charges, self.problem, self.ends_at = 0, None, None
        if was == "incomplete":
            self.anchor_at, self.periods = at, 1
            self.period_start, self.period_end = at, add_periods(at, self.interval, 1)
        else:
            assert order.period_start is not None
            assert order.period_end is not None
            self.periods += 1
            self.period_start, self.period_end = order.period_start, order.period_end
        self.next_step_at = self.period_end
        if was == "incomplete":
            return [self._started_event(at)]
        renewed = SubscriptionRenewed(
            subscription_id=self.id,
            user_id=self.user_id,
            plan_name=self.plan_name,
            order_id=order.id,
            period_start=self.period_start,
            period_end=self.period_end,
            renewed_at=at,
        )
        return [renewed]

    def record_failed_charge(self, reason: str, *, at: datetime) -> list[Event]:
        """Record a failed scheduled charge and schedule the next one, or none after a hard decline.

        Returns SUBSCRIPTION_PAST_DUE when the subscription becomes past due, and again on a hard decline.
        """
        was, self.status = self.status, "past_due"
        self.problem = reason
        if self.ends_at is None:
            self.ends_at = max(at, self.period_end + TRIAL_GRACE_PERIOD) if was == "trialing" else at + GRACE_PERIOD
        may_try_again = reason not in HARD_DECLINES and self.failed_charges < len(DUNNING)
        pause_ends_at = at + DUNNING[self.failed_charges] if may_try_again else self.ends_at
        self.next_step_at = min(pause_ends_at, self.ends_at)
        self.failed_charges += 1
        if was == "past_due" and reason not in HARD_DECLINES:
            return []
        past_due = SubscriptionPastDue(
            subscription_id=self.id,
            user_id=self.user_id,
            plan_name=self.plan_name,
            reason=reason,
            ends_at=self.ends_at,
            failed_at=at,
            is_retried=self.next_step_at < self.ends_at,
        )
        return [past_due]

    def apply_payment_outcome(self, order: Order, attempt: PaymentAttempt, *, at: datetime) -> list[Event]:
        """Apply the outcome of a payment attempt for ``order``; returns the events to publish."""
        if attempt.status == "succeeded":
            return self.start_paid_period(order, attempt, at=at)
        # Failed payments by the buyer in a checkout session do not count as dunning retries.
        is_step = attempt.status == "failed" and attempt.is_scheduled
        if is_step and not self.ended_at and not self.cancel_at_period_end:
            return self.record_failed_charge(attempt.problem or "declined", at=at)
        return []

    def due_step(self, *, at: datetime) -> Step | None:
        """Return the step that is due now, or None."""
        if self.next_step_at is None or self.next_step_at > at:
            return None
        if self.status == "incomplete" or self.cancel_at_period_end or (self.ends_at and self.ends_at <= at):
            return "end"
        if self.status == "trialing" and at < self.period_end:
            return "notify_trial_ending"
        return "charge"

    def waits_for(self, attempt: PaymentAttempt, *, at: datetime) -> bool:
        """Whether the due step waits for the outcome of the live ``attempt``.

        An open checkout session does not extend a trial, and nothing extends access beyond the announced end.
        """
        if self.status == "incomplete":
            return True  # it gives no access, so waiting is harmless
        if self.cancel_at_period_end:
            return False
        if self.status == "trialing" and attempt.waits_for_buyer:
            return False
        return at < self._wait_deadline

    def can_wait(self, *, at: datetime) -> bool:
        """Whether access still waits for a payment of the due period."""
        return at < self._wait_deadline

    def stops_waiting_for(self, attempt: PaymentAttempt, *, at: datetime) -> bool:
        """Whether to stop waiting for ``attempt``: no outcome in time, or a session that could not be closed."""
        return at >= self._wait_deadline and (attempt.superseded or not attempt.waits_for_buyer)

    def postpone_step(self, *, at: datetime) -> None:
        """Postpone the step by RECHECK_DELAY, but not beyond the end of the wait for a payment."""
        later = at + RECHECK_DELAY
        self.next_step_at = min(later, self._wait_deadline) if at < self._wait_deadline else later

    @property
    def _wait_deadline(self) -> datetime:
        """The time until which access waits for the outcome of a payment."""
        return self.ends_at or self.period_end + (TRIAL_GRACE_PERIOD if self.status == "trialing" else OUTCOME_TIMEOUT)

    def announce_trial_end(self, *, at: datetime) -> list[Event]:
        """Return the event that announces the end of the trial, once, TRIAL_END_NOTICE_PERIOD in advance."""
        self.next_step_at = self.period_end
        if self.trial_end_notified:
            return []
        self.trial_end_notified = True
        ending = SubscriptionTrialEnding(
            subscription_id=self.id,
            user_id=self.user_id,
            plan_name=self.plan_name,
            amount_minor=self.amount_minor,
            currency=self.currency,
            trial_ends_at=self.period_end,
            notified_at=at,
        )
        return [ending]

    def cancel(self, *, at: datetime) -> list[Event]:
        """Cancel at the end of the paid period, or at once if it is past due.

        Raises SubscriptionEnded if it has ended or never started.
        """
        if self.ended_at or self.status == "incomplete":
            raise SubscriptionEnded(str(self.id))
        if self.cancel_at_period_end:
            return []
        self.cancel_at_period_end = True
        ends_at = self.period_end
        if self.status == "past_due":
            ends_at = self.ends_at = at
        self.next_step_at = ends_at
        canceled = SubscriptionCanceled(
            subscription_id=self.id,
            user_id=self.user_id,
            plan_name=self.plan_name,
            ends_at=ends_at,
            canceled_at=at,
        )
        return [canceled]

    def end(self, *, at: datetime, reason: str | None = None) -> list[Event]:
        """End the subscription. Returns no event if it never started."""
        had_started = self.status != "incomplete"
        reason = reason or ("canceled" if self.cancel_at_period_end else "unpaid")
        self.status = "canceled" if self.cancel_at_period_end or reason in REVERSAL_END_REASONS else "expired"
        self.problem, self.ended_at, self.next_step_at, self.ends_at = reason, at, None, None
        if not had_started:
            return []
        expired = SubscriptionExpired(
            subscription_id=self.id, user_id=self.user_id, plan_name=self.plan_name, reason=reason, expired_at=at
        )
        return [expired]

    def end_for_reversal(self, *, reason: str, at: datetime) -> list[Event]:
        """End at once because the current period was refunded or disputed; ``reason`` is one of
        REVERSAL_END_REASONS.
        """
        return [] if self.ended_at else self.end(at=at, reason=reason)

    def can_be_restored(self, *, at: datetime) -> bool:
        """Whether it ended for a reason of REVERSAL_END_REASONS and its period has not ended yet."""
        return self.problem in REVERSAL_END_REASONS and at < self.period_end

    def restore(self, *, at: datetime) -> list[Event]:
        """Restore access until the period ends, because its money returned. No further period is charged."""
        if not self.can_be_restored(at=at):
            return []
        self.status, self.ended_at, self.problem = "active", None, None
        self.cancel_at_period_end, self.next_step_at = True, self.period_end
        restored = SubscriptionRestored(
            subscription_id=self.id,
            user_id=self.user_id,
            plan_name=self.plan_name,
            period_end=self.period_end,
            restored_at=at,
        )
        return [restored]

    def _started_event(self, at: datetime) -> SubscriptionStarted:
        return SubscriptionStarted(
            subscription_id=self.id,
            user_id=self.user_id,
            plan_id=self.plan_id,
            plan_name=self.plan_name,
            course_ids=[UUID(course_id) for course_id in self.course_ids],
            trial=self.status == "trialing",
            period_end=self.period_end,
            started_at=at,
        )

    def to_trial_checkout_response(self) -> dict[str, Any]:
        """Return the response of POST /v1/checkouts for a trial, which needs no checkout session."""
        return {
            "id": self.id,
            "order_id": None,
            "status": "succeeded",
            "amount_minor": 0,
            "currency": self.currency,
            "redirect_url": None,
            "expires_at": None,
        }

    def to_response(self) -> dict[str, Any]:
        """Return the representation in GET /v1/subscriptions/{id}."""
        return {
            "id": self.id,
            "status": self.status,
            "plan_id": self.plan_id,
            "plan_name": self.plan_name,
            "price": {"amount_minor": self.amount_minor, "currency": self.currency},
            "interval": self.interval,
            "provider": self.provider,
            "course_ids": self.course_ids,
            "period_start": self.period_start,
            "period_end": self.period_end,
            "cancel_at_period_end": self.cancel_at_period_end,
            "ends_at": self.ends_at,
            "problem": self.problem,
            "created_at": self.created_at,
            "ended_at": self.ended_at,
            "version": self.version,
        }
