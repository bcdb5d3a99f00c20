"""Notification rules: category, template and channels of each event type that users are notified of."""

from dataclasses import dataclass

from models.events import (
    CertificateIssued,
    CourseCompleted,
    DisputeClosed,
    EnrollmentCreated,
    Event,
    LessonCompleted,
    PaymentDisputed,
    PaymentFailed,
    PaymentRefunded,
    PaymentSucceeded,
    RefundReturned,
    SubscriptionCanceled,
    SubscriptionExpired,
    SubscriptionPastDue,
    SubscriptionRestored,
    SubscriptionStarted,
    SubscriptionTrialEnding,
    UserCreated,
)
from models.notifications import EMAIL, IN_APP, PUSH
from models.notifications.reminders import ABANDONED_CHECKOUT, INACTIVITY, STREAK


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How users are notified of one event type."""

    category: str  # one of models.notifications.CATEGORIES; preferences are set per category
    template: str  # a section of templates/<language>.toml
    channels: tuple[str, ...] = (IN_APP, EMAIL, PUSH)
    mandatory: bool = False  # sent regardless of the user's preferences


RULES: dict[type[Event], Rule] = {
    UserCreated: Rule(category="account", template="welcome"),
    EnrollmentCreated: Rule(category="courses", template="course_welcome"),
    PaymentSucceeded: Rule(category="receipts", template="receipt", mandatory=True),
    PaymentRefunded: Rule(category="receipts", template="refund", mandatory=True),
    RefundReturned: Rule(category="receipts", template="refund_returned", mandatory=True),
    PaymentDisputed: Rule(category="receipts", template="payment_disputed", mandatory=True),
    DisputeClosed: Rule(category="receipts", template="dispute_closed", mandatory=True),
    PaymentFailed: Rule(category="receipts", template="payment_failed", mandatory=True),
    SubscriptionStarted: Rule(category="courses", template="subscription_started"),
    SubscriptionPastDue: Rule(category="receipts", template="subscription_past_due", mandatory=True),
    SubscriptionTrialEnding: Rule(category="receipts", template="trial_ending", mandatory=True),
    SubscriptionCanceled: Rule(category="receipts", template="subscription_canceled", mandatory=True),
    SubscriptionExpired: Rule(category="receipts", template="subscription_expired", mandatory=True),
    SubscriptionRestored: Rule(category="receipts", template="subscription_restored", mandatory=True),
    # Feed only: a player that was offline reports many completions at once.
    LessonCompleted: Rule(category="progress", template="lesson_completed", channels=(IN_APP,)),
    # Both events occur at the same moment. One is pushed and the other is mailed, so the user gets one of each.
    CourseCompleted: Rule(category="progress", template="course_completed", channels=(IN_APP, PUSH)),
    CertificateIssued: Rule(category="progress", template="certificate", channels=(IN_APP, EMAIL)),
}

# Reminders are sent because an expected event did not happen.
REMINDERS = {kind: Rule(category="reminders", template=kind) for kind in (INACTIVITY, STREAK, ABANDONED_CHECKOUT)}
