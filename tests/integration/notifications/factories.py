"""Factories of contacts and events with defaults."""

from uuid import UUID

from sqlalchemy.orm import Session

import settings
from core.db import new_id, utc_now
from models.events import (
    AccessEnding,
    CertificateIssued,
    CertificateReinstated,
    CertificateRevoked,
    CourseCompleted,
    DisputeClosed,
    DisputeOpened,
    EnrollmentCreated,
    LessonCompleted,
    PaymentFailed,
    PaymentRefunded,
    PaymentSucceeded,
    Person,
    RefundReversed,
    SubscriptionCanceled,
    SubscriptionExpired,
    SubscriptionPastDue,
    SubscriptionRestored,
    SubscriptionStarted,
    SubscriptionTrialEnding,
    UserCreated,
)
from models.notifications import Contact, Preferences
from models.notifications.preference_store import PreferenceStore
from tests.support.events import build_event
from workers.notifications import event_handlers
from workers.notifications.channels import smtp


def make_person(**pii) -> Person:
    return Person(**{"email": "ann@example.com", "email_verified": True, "name": "Ann", **pii})


def make_contact(session: Session, *, version: int = 1, **pii) -> UUID:
    user_id = new_id()
    Contact.upsert(session, user_id, version=version, pii=make_person(**pii))
    return user_id


def choose(preference_store: PreferenceStore, user_id: UUID, preferences: Preferences) -> None:
    """Replace a user's preferences at their current version."""
    preference_store.replace(user_id, preferences, expected_version=preference_store.get_version(user_id))


def user_created(user_id: UUID, **fields) -> UserCreated:
    return UserCreated(
        **{"user_id": user_id, "sub": "auth0|ann", "pii": make_person(), "created_at": utc_now(), **fields}
    )


def enrollment_created(user_id: UUID, **fields) -> EnrollmentCreated:
    return EnrollmentCreated(
        **{
            "enrollment_id": new_id(),
            "user_id": user_id,
            "course_id": new_id(),
            "course_title": "Practical Statistics",
            "source": "order",
            "source_id": str(new_id()),
            "enrolled_at": utc_now(),
            **fields,
        }
    )


def payment_succeeded(user_id: UUID, **fields) -> PaymentSucceeded:
    return PaymentSucceeded(
        **{
            "order_id": new_id(),
            "payment_id": new_id(),
            "user_id": user_id,
            "description": "Practical Statistics",
            "amount_minor": 4900,
            "currency": "USD",
            "provider": "stripe",
            "paid_at": utc_now(),
            **fields,
        }
    )


def payment_failed(user_id: UUID, **fields) -> PaymentFailed:
    return PaymentFailed(
        **{
            "order_id": new_id(),
            "payment_id": new_id(),
            "user_id": user_id,
            "description": "Practical Statistics",
            "provider": "stripe",
            "reason": "card_declined",
            "failed_at": utc_now(),
            **fields,
        }
    )


def payment_refunded(user_id: UUID, **fields) -> PaymentRefunded:
    return PaymentRefunded(
        **{
            "order_id": new_id(),
            "refund_id": new_id(),
            "payment_id": new_id(),
            "user_id": user_id,
            "description": "Practical Statistics",
            "amount_minor": 4900,
            "currency": "USD",
            "provider": "stripe",
            "is_full_refund": True,
            "refunded_at": utc_now(),
            **fields,
        }
    )


def refund_reversed(user_id: UUID) -> RefundReversed:
    fields = {"description": "Practical Statistics", "amount_minor": 4900, "currency": "USD", "order_restored": True}
    return build_event(RefundReversed, user_id=user_id, **fields)


def dispute_opened(user_id: UUID) -> DisputeOpened:
    fields = {"description": "Practical Statistics", "amount_minor": 4900, "currency": "USD", "order_suspended": True}
    return build_event(DisputeOpened, user_id=user_id, **fields)


def dispute_closed(user_id: UUID) -> DisputeClosed:
    fields = {"description": "Practical Statistics", "amount_minor": 4900, "currency": "USD", "won": True}
    return build_event(DisputeClosed, user_id=user_id, order_restored=True, **fields)


def subscription_started(user_id: UUID) -> SubscriptionStarted:
    return build_event(SubscriptionStarted, user_id=user_id, plan_name="Statistics by the month", trial=True)


def subscription_past_due(user_id: UUID) -> SubscriptionPastDue:
    return build_event(SubscriptionPastDue, user_id=user_id, plan_name="Statistics by the month")


def subscription_trial_ending(user_id: UUID) -> SubscriptionTrialEnding:
    fields = {"plan_name": "Statistics by the month", "amount_minor": 99000, "currency": "RUB"}
    return build_event(SubscriptionTrialEnding, user_id=user_id, **fields)


def access_ending(user_id: UUID) -> AccessEnding:
    return build_event(AccessEnding, user_id=user_id, course_title="Statistics for nurses")


def subscription_canceled(user_id: UUID) -> SubscriptionCanceled:
    return build_event(SubscriptionCanceled, user_id=user_id, plan_name="Statistics by the month")


def subscription_expired(user_id: UUID) -> SubscriptionExpired:
    return build_event(SubscriptionExpired, user_id=user_id, plan_name="Statistics by the month")


def subscription_restored(user_id: UUID) -> SubscriptionRestored:
    return build_event(SubscriptionRestored, user_id=user_id, plan_name="Statistics by the month")


def lesson_completed(user_id: UUID, **fields) -> LessonCompleted:
    return LessonCompleted(
        **{
            "user_id": user_id,
            "course_id": new_id(),
            "course_title": "Practical Statistics",
            "lesson_id": new_id(),
            "lesson_title": "Means and medians",
            "lessons_completed": 2,
            "lessons_total": 5,
            "completed_at": utc_now(),
            **fields,
        }
    )


def course_completed(user_id: UUID, **fields) -> CourseCompleted:
    return CourseCompleted(
        **{
            "user_id": user_id,
            "course_id": new_id(),
            "course_title": "Practical Statistics",
            "lessons_total": 5,
            "completed_at": utc_now(),
            **fields,
        }
    )


def certificate_issued(user_id: UUID) -> CertificateIssued:
    return build_event(
        CertificateIssued, user_id=user_id, course_title="Practical Statistics", code="7K2M-Q9XD-4WTB-0HFR"
    )


# The event of each handler.
def certificate_revoked(user_id: UUID) -> CertificateRevoked:
    return build_event(CertificateRevoked, user_id=user_id, cause="staff")


def certificate_reinstated(user_id: UUID) -> CertificateReinstated:
    return build_event(CertificateReinstated, user_id=user_id)


EVENT_BY_HANDLER = {
    event_handlers.send_welcome: user_created,
    event_handlers.send_enrollment_confirmation: enrollment_created,
    event_handlers.send_receipt: payment_succeeded,
    event_handlers.send_payment_failed: payment_failed,
    event_handlers.send_refund_confirmation: payment_refunded,
    event_handlers.send_refund_reversed: refund_reversed,
    event_handlers.send_dispute_opened: dispute_opened,
    event_handlers.send_dispute_closed: dispute_closed,
    event_handlers.send_subscription_started: subscription_started,
    event_handlers.send_past_due: subscription_past_due,
    event_handlers.send_access_ending: access_ending,
    event_handlers.send_trial_ending: subscription_trial_ending,
    event_handlers.send_cancellation_confirmation: subscription_canceled,
    event_handlers.send_subscription_ended: subscription_expired,
    event_handlers.send_subscription_restored: subscription_restored,
    event_handlers.send_lesson_completed: lesson_completed,
    event_handlers.send_course_completed: course_completed,
    event_handlers.send_certificate: certificate_issued,
    event_handlers.send_certificate_revoked: certificate_revoked,
    event_handlers.send_certificate_reinstated: certificate_reinstated,
}


def close_idle_smtp_connections() -> None:
    """Close what the sender keeps open. A server that stops with open connections causes warnings, which fail tests."""
    while connection := smtp._connections.take(settings.SMTP_URL):  # noqa: SLF001 the product closes them by time only
        connection.smtp.quit()
