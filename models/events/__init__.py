"""What the services tell each other: frozen payloads, one class an event.

The class name gives the type (``LessonCompleted`` is LESSON_COMPLETED), ``topic`` the service that tells it. Within a
version a payload only gains attributes, and those have defaults. Personal data stands in ``pii``, so that it can be
left out or erased. Money is an integer in minor units with its ISO currency; times are UTC.
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
