"""Notification rules: category, template and channels of each event type that users are notified of."""

from dataclasses import dataclass

from models.events import (
    AccessEnding,
    CertificateIssued,
    CertificateReinstated,
    CertificateRevoked,
    CourseAnnounced,
    CourseCompleted,
    DisputeClosed,
    DisputeOpened,
    EnrollmentCreated,
    Event,
    LessonCompleted,
    LessonUnlocked,
    PaymentFailed,
    PaymentRefunded,
    PaymentSucceeded,
    RefundReversed,
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
class NotificationRule:
    """How users are notified of one event type."""

    category: str  # one of models.notifications.CATEGORIES; preferences are set per category
    template: str  # the kind in models/notification_data.py, and a section of templates/<language>.toml
    channels: tuple[str, ...] = (IN_APP, EMAIL, PUSH)
    mandatory: bool = False  # sent regardless of the user's preferences


RULES: dict[type[Event], NotificationRule] = {
    UserCreated: NotificationRule(category="account", template="welcome"),
    EnrollmentCreated: NotificationRule(category="courses", template="course_welcome"),
    AccessEnding: NotificationRule(category="courses", template="access_ending"),
    PaymentSucceeded: NotificationRule(category="receipts", template="receipt", mandatory=True),
    PaymentRefunded: NotificationRule(category="receipts", template="refund", mandatory=True),
    RefundReversed: NotificationRule(category="receipts", template="refund_reversed", mandatory=True),
    DisputeOpened: NotificationRule(category="receipts", template="dispute_opened", mandatory=True),
    DisputeClosed: NotificationRule(category="receipts", template="dispute_closed", mandatory=True),
    PaymentFailed: NotificationRule(category="receipts", template="payment_failed", mandatory=True),
    SubscriptionStarted: NotificationRule(category="courses", template="subscription_started"),
    SubscriptionPastDue: NotificationRule(category="receipts", template="subscription_past_due", mandatory=True),
    SubscriptionTrialEnding: NotificationRule(
        category="receipts", template="subscription_trial_ending", mandatory=True
    ),
    SubscriptionCanceled: NotificationRule(category="receipts", template="subscription_canceled", mandatory=True),
    SubscriptionExpired: NotificationRule(category="receipts", template="subscription_expired", mandatory=True),
    SubscriptionRestored: NotificationRule(category="receipts", template="subscription_restored", mandatory=True),
    # In the inbox only: a player that was offline reports many completions at once.
    LessonCompleted: NotificationRule(category="progress", template="lesson_completed", channels=(IN_APP,)),
    # In the inbox only, one for each course and day: send_lesson_unlocked.
    LessonUnlocked: NotificationRule(category="courses", template="lesson_unlocked", channels=(IN_APP,)),
    # Both events occur at the same moment. One is pushed and the other is mailed, so the user gets one of each.
    CourseCompleted: NotificationRule(category="progress", template="course_completed", channels=(IN_APP, PUSH)),
    CourseAnnounced: NotificationRule(category="announcements", template="announcement"),
    CertificateIssued: NotificationRule(category="progress", template="certificate", channels=(IN_APP, EMAIL)),
    CertificateRevoked: NotificationRule(category="progress", template="certificate_revoked", channels=(IN_APP, EMAIL)),
    CertificateReinstated: NotificationRule(
        category="progress", template="certificate_reinstated", channels=(IN_APP, EMAIL)
    ),
}

# Reminders are sent because an expected event did not happen.
REMINDER_RULES = {
    kind: NotificationRule(category="reminders", template=kind) for kind in (INACTIVITY, STREAK, ABANDONED_CHECKOUT)
}
