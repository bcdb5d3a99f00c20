"""Domain events that services publish: one class per event, whose instances are frozen payloads.

The class name defines the event type (``LessonCompleted`` is LESSON_COMPLETED), ``topic`` the service that publishes
it. Within a schema version a payload may only gain attributes with defaults. Personal data is in ``pii``, so that it
can be omitted or erased. Amounts are integers in minor units with an ISO 4217 currency; times are UTC.
"""

from core.events import (
    PII_FIELDS,
    SHARED_TOPIC,
    AwareDatetime,
    Event,
    EventClass,
    EventPayload,
    all_event_types,
    without_pii,
)

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
from .integrations import WebhookEndpointDisabled
from .notifications import NotificationFailed, NotificationSent
from .payments import (
    CoursePurchased,
    DisputeClosed,
    DisputeOpened,
    OrderCanceled,
    OrderCreated,
    OrderExpired,
    PaymentFailed,
    PaymentRefunded,
    PaymentSucceeded,
    RefundReversed,
    SubscriptionCanceled,
    SubscriptionExpired,
    SubscriptionPastDue,
    SubscriptionRenewed,
    SubscriptionRestored,
    SubscriptionStarted,
    SubscriptionTrialEnding,
)
from .personal_data import RetainedData, UserDataErased, UserDataExported
from .progress import (
    CertificateIssued,
    CourseCompleted,
    CourseStarted,
    CourseVersionChanged,
    LessonCompleted,
    LessonReopened,
)
from .users import Account, Person, UserCreated, UserDeleted, UserExportRequested, UserUpdated

__all__ = [
    "LESSON_TITLE_MAX_LENGTH",
    "PII_FIELDS",
    "SHARED_TOPIC",
    "Account",
    "AwareDatetime",
    "CertificateIssued",
    "CourseArchived",
    "CourseCompleted",
    "CourseCreated",
    "CoursePublished",
    "CoursePurchased",
    "CourseRated",
    "CourseStarted",
    "CourseUpdated",
    "CourseVersionChanged",
    "DisputeClosed",
    "DisputeOpened",
    "EnrollmentCreated",
    "EnrollmentEnded",
    "Event",
    "EventClass",
    "EventPayload",
    "LessonCompleted",
    "LessonReopened",
    "NotificationFailed",
    "NotificationSent",
    "OrderCanceled",
    "OrderCreated",
    "OrderExpired",
    "PaymentFailed",
    "PaymentRefunded",
    "PaymentSucceeded",
    "Person",
    "PublishedLesson",
    "PublishedSection",
    "QuizAttempted",
    "RefundReversed",
    "RetainedData",
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
    "all_event_types",
    "without_pii",
]
