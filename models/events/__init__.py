"""Domain events that services publish: one class per event, whose instances are frozen payloads.

The class name defines the event type (``LessonCompleted`` is LESSON_COMPLETED), ``topic`` the service that publishes
it. Within a schema version a payload may only gain attributes with defaults. Personal data is in ``pii``, so that it
can be omitted or erased. Amounts are integers in minor units with an ISO 4217 currency; times are UTC.
"""

from .courses import (
    LESSON_TITLE_MAX_LENGTH,
    CourseArchived,
    CourseCreated,
    CoursePublished,
    CourseRated,
    CourseUpdated,
    EnrollmentCreated,
    EnrollmentEnded,
    PublishedLesson,
    PublishedSection,
    QuizAttempted,
)
from .event import EVERY_SERVICE, PERSONAL, AnyEvent, Event, EventClass, Moment, every_event, without_person
from .integrations import WebhookEndpointDisabled
from .notifications import NotificationFailed, NotificationSent
from .payments import (
    CoursePurchased,
    DisputeClosed,
    OrderCanceled,
    OrderCreated,
    OrderExpired,
    PaymentDisputed,
    PaymentFailed,
    PaymentRefunded,
    PaymentSucceeded,
    RefundReturned,
    SubscriptionCanceled,
    SubscriptionExpired,
    SubscriptionPastDue,
    SubscriptionRenewed,
    SubscriptionRestored,
    SubscriptionStarted,
    SubscriptionTrialEnding,
)
from .personal_data import KeptData, UserDataErased, UserDataExported
from .progress import CertificateIssued, CourseCompleted, CourseStarted, LessonCompleted, LessonReopened
from .users import Account, Person, UserCreated, UserDeleted, UserExportRequested, UserUpdated

__all__ = [
    "EVERY_SERVICE",
    "LESSON_TITLE_MAX_LENGTH",
    "PERSONAL",
    "Account",
    "AnyEvent",
    "CertificateIssued",
    "CourseArchived",
    "CourseCompleted",
    "CourseCreated",
    "CoursePublished",
    "CoursePurchased",
    "CourseRated",
    "CourseStarted",
    "CourseUpdated",
    "DisputeClosed",
    "EnrollmentCreated",
    "EnrollmentEnded",
    "Event",
    "EventClass",
    "KeptData",
    "LessonCompleted",
    "LessonReopened",
    "Moment",
    "NotificationFailed",
    "NotificationSent",
    "OrderCanceled",
    "OrderCreated",
    "OrderExpired",
    "PaymentDisputed",
    "PaymentFailed",
    "PaymentRefunded",
    "PaymentSucceeded",
    "Person",
    "PublishedLesson",
    "PublishedSection",
    "QuizAttempted",
    "RefundReturned",
    "SubscriptionCanceled",
    "SubscriptionExpired",
    "SubscriptionPastDue",
    "SubscriptionRenewed",
    "SubscriptionRestored",
    "SubscriptionStarted",
    "SubscriptionTrialEnding",
    "UserCreated",
    "UserDataErased",
    "UserDataExported",
    "UserDeleted",
    "UserExportRequested",
    "UserUpdated",
    "WebhookEndpointDisabled",
    "every_event",
    "without_person",
]
