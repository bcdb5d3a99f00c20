"""What the services tell each other: frozen payloads, one class an event.

The class name gives the type (``LessonCompleted`` is LESSON_COMPLETED), ``topic`` the service that tells it. Within a
version a payload only gains attributes, and those have defaults. Personal data stands in ``pii``, so that it can be
left out or erased. Money is an integer in minor units with its ISO currency; times are UTC.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, ClassVar
from uuid import UUID

import msgspec

EVERY_SERVICE = "*"  # the topic of news that each service tells for itself
PERSONAL = ("pii", "sub")  # the attributes of a payload that name a person

Moment = Annotated[datetime, msgspec.Meta(tz=True)]  # one without its zone is refused


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that has happened, and is durable."""

    type: ClassVar[str]
    topic: ClassVar[str]
    schema_version: ClassVar[int] = 1

    by_type: ClassVar[dict[str, "EventClass"]] = {}

    def __init_subclass__(cls, *, topic: str) -> None:
        cls.topic = topic
        cls.type = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).upper()
        Event.by_type[cls.type] = cls

    @property
    def teller(self) -> str:
        """The service that tells it, on its own topic."""
        return self.topic


AnyEvent = dict[str, Any]  # the payload of an event of whatever type, for handlers that take all of them


def without_person(payload: AnyEvent) -> AnyEvent:
    """``payload`` as it may leave the house: ids that only we can resolve, and nothing that names somebody."""
    return {name: value for name, value in payload.items() if name not in PERSONAL}


EventClass = type[Event]  # within the class, ``type`` is the name of the event


def every_event() -> Iterator[EventClass]:
    """Each event class there is, in the order of this file."""
    yield from Event.by_type.values()


# users


@dataclass(frozen=True, kw_only=True)
class Person:
    """Personal data of a user, as the identity provider gave it."""

    email: str | None
    name: str | None
    locale: str = "en"
    timezone: str = "UTC"


@dataclass(frozen=True, kw_only=True)
class UserCreated(Event, topic="users"):
    """A ``sub`` never seen before signed in."""

    user_id: UUID
    sub: str  # Auth0's name for the user
    pii: Person
    created_at: Moment


@dataclass(frozen=True, kw_only=True)
class UserUpdated(Event, topic="users"):
    """A profile was filled or changed; the payload is the whole of it."""

    user_id: UUID
    version: int  # of the profile, which is born with version 1: what is kept of a greater one is newer
    pii: Person
    updated_at: Moment


@dataclass(frozen=True, kw_only=True)
class Account:
    """By what a person's account was known; None when everybody has done with it."""

    sub: str | None


@dataclass(frozen=True, kw_only=True)
class UserDeleted(Event, topic="users"):
    """A person is to be forgotten: every service erases what it has and answers with USER_DATA_ERASED."""

    user_id: UUID
    erasure_id: UUID
    pii: Account
    deleted_at: Moment


@dataclass(frozen=True, kw_only=True)
class UserExportRequested(Event, topic="users"):
    """A person wants all that is kept of them: every service lays out its part and tells USER_DATA_EXPORTED."""

    user_id: UUID
    export_id: UUID
    requested_at: Moment


# each service


@dataclass(frozen=True, kw_only=True)
class KeptData:
    """What a service may not or need not erase."""

    what: str
    why: str


@dataclass(frozen=True, kw_only=True)
class UserDataErased(Event, topic=EVERY_SERVICE):
    """A service has erased what it had of a person."""

    user_id: UUID
    service: str
    rows: int  # erased, or freed of the person
    kept: list[KeptData]
    erased_at: Moment

    @property
    def teller(self) -> str:
        return self.service


@dataclass(frozen=True, kw_only=True)
class UserDataExported(Event, topic=EVERY_SERVICE):
    """A service has laid out its part of an export. The part itself stays with the service."""

    user_id: UUID
    export_id: UUID
    service: str
    exported_at: Moment

    @property
    def teller(self) -> str:
        return self.service


# courses


@dataclass(frozen=True, kw_only=True)
class PublishedLesson:
    """A lesson's place in a published outline; its contents stay with the courses service."""

    lesson_id: UUID
    title: str
    kind: str  # video, text or quiz
    duration_seconds: int | None = None
    completion_rule: str = "manual"  # manual, viewed, or min_score: then its quiz completes it
    opens_after_days: int | None = None  # after the learner's start
    opens_at: Moment | None = None


@dataclass(frozen=True, kw_only=True)
class PublishedSection:
    section_id: UUID
    title: str
    lessons: list[PublishedLesson]


@dataclass(frozen=True, kw_only=True)
class CoursePublished(Event, topic="courses"):
    """A version of a course went live, with this outline and this price."""

    course_id: UUID
    course_version: int  # counts the published snapshots: 1, 2, 3 …
    slug: str
    title: str
    instructor_id: UUID
    price_minor: int
    currency: str
    sequential: bool  # lessons unlock in order
    sections: list[PublishedSection]
    published_at: Moment
    prerequisites: list[UUID] = field(default_factory=list)  # courses to complete first


@dataclass(frozen=True, kw_only=True)
class CourseCreated(Event, topic="courses"):
    """An author began a course; nobody else sees it yet."""

    course_id: UUID
    slug: str
    title: str
    instructor_id: UUID
    created_at: Moment


@dataclass(frozen=True, kw_only=True)
class CourseUpdated(Event, topic="courses"):
    """Something of a course changed: its draft, its price, or whether it is on sale. A price is live at once."""

    course_id: UUID
    slug: str
    title: str
    on_sale: bool
    price_minor: int
    currency: str
    updated_at: Moment


@dataclass(frozen=True, kw_only=True)
class CourseArchived(Event, topic="courses"):
    """A course was taken from its author's list and from sale; who has access keeps it."""

    course_id: UUID
    archived_at: Moment


@dataclass(frozen=True, kw_only=True)
class EnrollmentCreated(Event, topic="courses"):
    """A user's access to a course began."""

    enrollment_id: UUID
    user_id: UUID
    course_id: UUID
    course_title: str
    source: str  # what gave the access: order, free, manual …
    source_id: str
    enrolled_at: Moment


@dataclass(frozen=True, kw_only=True)
class EnrollmentEnded(Event, topic="courses"):
    """The last reason for a user's access to a course is gone."""

    enrollment_id: UUID
    user_id: UUID
    course_id: UUID
    reason: str  # refunded, disputed, charged_back, subscription_ended …
    ended_at: Moment


@dataclass(frozen=True, kw_only=True)
class QuizAttempted(Event, topic="courses"):
    """A learner answered a quiz, and it was graded."""

    user_id: UUID
    course_id: UUID
    lesson_id: UUID
    attempt: int  # counts 1, 2, 3 …
    score_percent: int
    passed: bool
    attempted_at: Moment


@dataclass(frozen=True, kw_only=True)
class CourseRated(Event, topic="courses"):
    """A learner rated a course, for the first time or anew. The last one told of a learner counts."""

    user_id: UUID
    course_id: UUID
    rating: int  # 1 to 5
    rated_at: Moment


# payments


@dataclass(frozen=True, kw_only=True)
class OrderCreated(Event, topic="payments"):
    """A checkout was opened."""

    order_id: UUID
    user_id: UUID
    course_id: UUID  # of a bundle the first
    amount_minor: int
    currency: str
    provider: str
    created_at: Moment
    course_ids: list[UUID] = field(default_factory=list)
    description: str = ""  # what is bought, in words


@dataclass(frozen=True, kw_only=True)
class OrderCanceled(Event, topic="payments"):
    """A buyer gave an order up before it was paid."""

    order_id: UUID
    user_id: UUID
    course_id: UUID  # of a bundle the first
    canceled_at: Moment
    course_ids: list[UUID] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class OrderExpired(Event, topic="payments"):
    """An order was not paid while its page was open. A payment that arrives late still pays it."""

    order_id: UUID
    user_id: UUID
    course_id: UUID  # of a bundle the first
    expired_at: Moment
    course_ids: list[UUID] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class PaymentSucceeded(Event, topic="payments"):
    """The provider's word, fetched by us and equal to the order: the money is taken."""

    order_id: UUID
    payment_id: UUID  # our attempt
    user_id: UUID
    description: str  # what was bought, in words
    amount_minor: int
    currency: str
    provider: str
    paid_at: Moment


@dataclass(frozen=True, kw_only=True)
class PaymentFailed(Event, topic="payments"):
    """A payment was declined or given up; the order may still be paid by another attempt."""

    order_id: UUID
    payment_id: UUID
    user_id: UUID
    description: str
    provider: str
    reason: str  # the provider's code
    failed_at: Moment


@dataclass(frozen=True, kw_only=True)
class PaymentRefunded(Event, topic="payments"):
    """Money has gone back to the buyer."""

    order_id: UUID
    refund_id: UUID
    payment_id: UUID  # our attempt
    user_id: UUID
    description: str  # what had been bought, in words
    amount_minor: int
    currency: str
    provider: str
    order_refunded: bool  # all that was paid for the order has gone back: its access ends
    refunded_at: Moment
    access_kept: bool = False  # … unless the shop has left it to the buyer


@dataclass(frozen=True, kw_only=True)
class RefundReturned(Event, topic="payments"):
    """Money that had gone back was not taken by the buyer's bank: it is with us again, and the payment stands."""

    order_id: UUID
    refund_id: UUID
    payment_id: UUID  # our attempt
    user_id: UUID
    description: str  # what had been bought, in words
    amount_minor: int
    currency: str
    provider: str
    order_restored: bool  # it was all of the order's money: what the order gave is the buyer's again
    returned_at: Moment


@dataclass(frozen=True, kw_only=True)
class PaymentDisputed(Event, topic="payments"):
    """A buyer's bank has taken a payment back until a dispute is decided."""

    order_id: UUID
    dispute_id: UUID
    payment_id: UUID  # our attempt
    user_id: UUID
    description: str  # what had been bought, in words
    amount_minor: int
    currency: str
    provider: str
    reason: str  # the provider's code
    order_suspended: bool  # what the order gave is closed until DISPUTE_CLOSED
    disputed_at: Moment


@dataclass(frozen=True, kw_only=True)
class DisputeClosed(Event, topic="payments"):
    """A bank has decided a dispute; one that it decided against the shop may still be won later."""

    order_id: UUID
    dispute_id: UUID
    payment_id: UUID
    user_id: UUID
    description: str
    amount_minor: int
    currency: str
    provider: str
    won: bool  # by the shop: the money is with us again
    order_restored: bool  # what the order gave is the buyer's again
    order_charged_back: bool  # nothing is left of the order's money: its access is over
    closed_at: Moment


@dataclass(frozen=True, kw_only=True)
class CoursePurchased(Event, topic="payments"):
    """An order pays for this course: access is due. One for each course of the order."""

    order_id: UUID
    user_id: UUID
    course_id: UUID
    course_title: str
    purchased_at: Moment


@dataclass(frozen=True, kw_only=True)
class SubscriptionStarted(Event, topic="payments"):
    """A subscription was paid for the first time, or its trial began: access to its courses is due."""

    subscription_id: UUID
    user_id: UUID
    plan_id: UUID
    plan_name: str
    course_ids: list[UUID]
    trial: bool
    period_end: Moment
    started_at: Moment


@dataclass(frozen=True, kw_only=True)
class SubscriptionRenewed(Event, topic="payments"):
    """A further period was paid."""

    subscription_id: UUID
    user_id: UUID
    plan_name: str
    order_id: UUID  # that paid it
    period_start: Moment
    period_end: Moment
    renewed_at: Moment


@dataclass(frozen=True, kw_only=True)
class SubscriptionPastDue(Event, topic="payments"):
    """The charge for a further period failed; it is tried again for some weeks, and access stays meanwhile."""

    subscription_id: UUID
    user_id: UUID
    plan_name: str
    reason: str  # the provider's code
    ends_at: Moment  # at the latest, if nobody pays
    failed_at: Moment


@dataclass(frozen=True, kw_only=True)
class SubscriptionCanceled(Event, topic="payments"):
    """A subscriber gave notice: access stays until ``ends_at``, when SUBSCRIPTION_EXPIRED is told."""

    subscription_id: UUID
    user_id: UUID
    plan_name: str
    ends_at: Moment
    canceled_at: Moment


@dataclass(frozen=True, kw_only=True)
class SubscriptionExpired(Event, topic="payments"):
    """A subscription is over, whatever the reason: its access ends."""

    subscription_id: UUID
    user_id: UUID
    plan_name: str
    reason: str  # canceled, unpaid, trial_ended, account_erased, refunded, disputed
    expired_at: Moment


@dataclass(frozen=True, kw_only=True)
class SubscriptionRestored(Event, topic="payments"):
    """The money came back for which a subscription was over: its access is due again until ``period_end``."""

    subscription_id: UUID
    user_id: UUID
    plan_name: str
    period_end: Moment
    restored_at: Moment


@dataclass(frozen=True, kw_only=True)
class SubscriptionTrialEnding(Event, topic="payments"):
    """A trial ends in some days, and the first payment is due then."""

    subscription_id: UUID
    user_id: UUID
    plan_name: str
    amount_minor: int
    currency: str
    trial_ends_at: Moment
    told_at: Moment


# progress


@dataclass(frozen=True, kw_only=True)
class CourseStarted(Event, topic="progress"):
    """A learner's progress in a course began, on this version of its outline."""

    user_id: UUID
    course_id: UUID
    course_version: int
    lessons_total: int
    started_at: Moment


@dataclass(frozen=True, kw_only=True)
class LessonCompleted(Event, topic="progress"):
    user_id: UUID
    course_id: UUID
    course_title: str
    lesson_id: UUID
    lesson_title: str
    lessons_completed: int
    lessons_total: int
    completed_at: Moment


@dataclass(frozen=True, kw_only=True)
class LessonReopened(Event, topic="progress"):
    """A learner took the completion of a lesson back."""

    user_id: UUID
    course_id: UUID
    lesson_id: UUID
    lessons_completed: int
    lessons_total: int
    reopened_at: Moment


@dataclass(frozen=True, kw_only=True)
class CourseCompleted(Event, topic="progress"):
    """The last open lesson of the course was completed, for the first time."""

    user_id: UUID
    course_id: UUID
    course_title: str
    lessons_total: int
    completed_at: Moment


@dataclass(frozen=True, kw_only=True)
class CertificateIssued(Event, topic="progress"):
    """A learner completed a course; whoever knows the code may look the certificate up."""

    user_id: UUID
    course_id: UUID
    course_title: str
    code: str
    issued_at: Moment


# notifications


@dataclass(frozen=True, kw_only=True)
class NotificationSent(Event, topic="notifications"):
    """A delivery ended well: the channel's provider took the message."""

    notification_id: UUID
    user_id: UUID
    category: str
    channel: str  # email …
    sent_at: Moment


@dataclass(frozen=True, kw_only=True)
class NotificationFailed(Event, topic="notifications"):
    """A delivery ended badly and will not be tried again."""

    notification_id: UUID
    user_id: UUID
    category: str
    channel: str
    reason: str
    failed_at: Moment


# integrations


@dataclass(frozen=True, kw_only=True)
class WebhookEndpointDisabled(Event, topic="integrations"):
    """An integrator's endpoint gets no webhooks any more: it has failed for too long, or answered 410 Gone."""

    endpoint_id: UUID
    reason: str  # failing or gone
    failing_since: Moment
    disabled_at: Moment
