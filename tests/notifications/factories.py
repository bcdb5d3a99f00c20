"""Contacts and events with defaults."""

from uuid import UUID

from sqlalchemy.orm import Session

from models.base import new_id, now
from models.events import (
    CertificateIssued,
    CourseCompleted,
    DisputeClosed,
    EnrollmentCreated,
    LessonCompleted,
    PaymentDisputed,
    PaymentFailed,
    PaymentRefunded,
    PaymentSucceeded,
    Person,
    RefundReturned,
    SubscriptionCanceled,
    SubscriptionExpired,
    SubscriptionPastDue,
    SubscriptionRestored,
    SubscriptionStarted,
    SubscriptionTrialEnding,
    UserCreated,
)
from models.notifications import Contact, Preferences
from tests.support.events import some
from workers.notifications import messages
from workers.notifications.preferences import Choices


def make_person(**pii) -> Person:
    return Person(**{"email": "ann@example.com", "email_verified": True, "name": "Ann", **pii})


def make_contact(session: Session, *, version: int = 1, **pii) -> UUID:
    user_id = new_id()
    Contact.keep(session, user_id, version=version, pii=make_person(**pii))
    return user_id


def choose(choices: Choices, user_id: UUID, preferences: Preferences) -> None:
    """Replace a user's preferences, whatever their version."""
    choices.replace(user_id, preferences, expected_version=choices.version_of(user_id))


def user_created(user_id: UUID, **fields) -> UserCreated:
    return UserCreated(**{"user_id": user_id, "sub": "auth0|ann", "pii": make_person(), "created_at": now(), **fields})


def enrollment_created(user_id: UUID, **fields) -> EnrollmentCreated:
    return EnrollmentCreated(
        **{
            "enrollment_id": new_id(),
            "user_id": user_id,
            "course_id": new_id(),
            "course_title": "Practical Statistics",
            "source": "order",
            "source_id": str(new_id()),
            "enrolled_at": now(),
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
            "paid_at": now(),
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
            "failed_at": now(),
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
            "order_refunded": True,
            "refunded_at": now(),
            **fields,
        }
    )


def refund_returned(user_id: UUID) -> RefundReturned:
    told = {"description": "Practical Statistics", "amount_minor": 4900, "currency": "USD", "order_restored": True}
    return some(RefundReturned, user_id=user_id, **told)


def payment_disputed(user_id: UUID) -> PaymentDisputed:
    told = {"description": "Practical Statistics", "amount_minor": 4900, "currency": "USD", "order_suspended": True}
    return some(PaymentDisputed, user_id=user_id, **told)


def dispute_closed(user_id: UUID) -> DisputeClosed:
    told = {"description": "Practical Statistics", "amount_minor": 4900, "currency": "USD", "won": True}
    return some(DisputeClosed, user_id=user_id, order_restored=True, **told)


def subscription_started(user_id: UUID) -> SubscriptionStarted:
    return some(SubscriptionStarted, user_id=user_id, plan_name="Statistics by the month", trial=True)


def subscription_past_due(user_id: UUID) -> SubscriptionPastDue:
    return some(SubscriptionPastDue, user_id=user_id, plan_name="Statistics by the month")


def trial_ending(user_id: UUID) -> SubscriptionTrialEnding:
    told = {"plan_name": "Statistics by the month", "amount_minor": 99000, "currency": "RUB"}
    return some(SubscriptionTrialEnding, user_id=user_id, **told)


def subscription_canceled(user_id: UUID) -> SubscriptionCanceled:
    return some(SubscriptionCanceled, user_id=user_id, plan_name="Statistics by the month")


def subscription_expired(user_id: UUID) -> SubscriptionExpired:
    return some(SubscriptionExpired, user_id=user_id, plan_name="Statistics by the month")


def subscription_restored(user_id: UUID) -> SubscriptionRestored:
    return some(SubscriptionRestored, user_id=user_id, plan_name="Statistics by the month")


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
            "completed_at": now(),
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
            "completed_at": now(),
            **fields,
        }
    )


def certificate_issued(user_id: UUID) -> CertificateIssued:
    return some(CertificateIssued, user_id=user_id, course_title="Practical Statistics", code="7K2M-Q9XD-4WTB-0HFR")


# Each event that is told, by its handler.
TOLD = {
    messages.welcome_user: user_created,
    messages.welcome_learner: enrollment_created,
    messages.send_receipt: payment_succeeded,
    messages.report_failed_payment: payment_failed,
    messages.report_refund: payment_refunded,
    messages.report_returned_refund: refund_returned,
    messages.report_dispute: payment_disputed,
    messages.report_dispute_end: dispute_closed,
    messages.welcome_subscriber: subscription_started,
    messages.report_past_due: subscription_past_due,
    messages.announce_trial_end: trial_ending,
    messages.confirm_notice: subscription_canceled,
    messages.report_subscription_end: subscription_expired,
    messages.report_restored_subscription: subscription_restored,
    messages.congratulate_on_lesson: lesson_completed,
    messages.congratulate_on_course: course_completed,
    messages.send_certificate: certificate_issued,
}
