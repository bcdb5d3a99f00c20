"""Which event is told how: the whole policy of notifications on one page."""

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
    """How one kind of event is told."""

    category: str  # of models.notifications.CATEGORIES, by which a user chooses
    template: str  # a section of templates/<language>.toml
    channels: tuple[str, ...] = (IN_APP, EMAIL, PUSH)
    mandatory: bool = False  # goes out whatever the user prefers


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
    # In the feed alone: a player that was offline sends many completions at once.
    LessonCompleted: Rule(category="progress", template="lesson_completed", channels=(IN_APP,)),
    # A completed course and its certificate come at the same moment: the former is pushed, the latter is mailed.
    CourseCompleted: Rule(category="progress", template="course_completed", channels=(IN_APP, PUSH)),
    CertificateIssued: Rule(category="progress", template="certificate", channels=(IN_APP, EMAIL)),
}

# What no event tells of, but that nothing happened.
REMINDERS = {kind: Rule(category="reminders", template=kind) for kind in (INACTIVITY, STREAK, ABANDONED_CHECKOUT)}
