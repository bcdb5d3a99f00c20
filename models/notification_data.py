"""The ``data`` of notifications: one type for each kind. Workers write it, and the OpenAPI document describes it.

The data of most kinds are the fields of the event that caused the notification, without personal data.
"""

import dataclasses
from typing import Any, Literal, cast, get_type_hints
from uuid import UUID

import msgspec

from core.events import AwareDatetime
from models import events

# Personal data is not copied into the history: the contact holds it, is more current and is erased with the user.
_PERSONAL_FIELDS = {"user_id", *events.PII_FIELDS}


class NotificationData(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """Base of the data of all kinds. ``kind`` is the name of the kind and of the text."""


class AnnouncementData(NotificationData, frozen=True, kw_only=True, tag="announcement"):
    """An instructor or staff wrote to the learners of a course."""

    event: Literal["COURSE_ANNOUNCED"] = "COURSE_ANNOUNCED"
    announcement_id: UUID
    course_id: UUID
    course_title: str
    subject: str
    first: str  # the first paragraph
    rest: list[str]  # the other paragraphs


class ReminderData(NotificationData, frozen=True, kw_only=True):
    """Base of the data of reminders, which are sent because an expected event did not happen."""

    event: Literal["REMINDER"] = "REMINDER"
    about: UUID  # the learner or the order
    since: AwareDatetime  # since when the reminder waits


class InactivityData(ReminderData, frozen=True, kw_only=True, tag="inactivity"):
    """A learner has not completed a lesson for some days."""

    course_id: UUID
    course_title: str
    days: int


class StreakData(ReminderData, frozen=True, kw_only=True, tag="streak"):
    """A learner's streak of ``days`` breaks at midnight."""

    days: int


class AbandonedCheckoutData(ReminderData, frozen=True, kw_only=True, tag="abandoned_checkout"):
    """A buyer has not completed an order."""

    order_id: UUID
    course_id: UUID
    description: str = ""
    amount_minor: int
    currency: str


KIND_BY_EVENT: dict[type[events.Event], str] = {
    events.UserCreated: "welcome",
    events.EnrollmentCreated: "course_welcome",
    events.AccessEnding: "access_ending",
    events.PaymentSucceeded: "receipt",
    events.PaymentRefunded: "refund",
    events.RefundReversed: "refund_reversed",
    events.DisputeOpened: "dispute_opened",
    events.DisputeClosed: "dispute_closed",
    events.PaymentFailed: "payment_failed",
    events.SubscriptionStarted: "subscription_started",
    events.SubscriptionPastDue: "subscription_past_due",
    events.SubscriptionTrialEnding: "subscription_trial_ending",
    events.SubscriptionCanceled: "subscription_canceled",
    events.SubscriptionExpired: "subscription_expired",
    events.SubscriptionRestored: "subscription_restored",
    events.LessonCompleted: "lesson_completed",
    events.LessonUnlocked: "lesson_unlocked",
    events.CourseCompleted: "course_completed",
    events.CertificateIssued: "certificate",
    events.CertificateRevoked: "certificate_revoked",
    events.CertificateReinstated: "certificate_reinstated",
}


def _from_event(event: type[events.Event], kind: str) -> type[NotificationData]:
    """Return the data of ``kind``: the fields of ``event`` without personal data."""
    types = get_type_hints(event, include_extras=True)
    fields: list[Any] = [("event", Literal[event.type], event.type)]
    for field in dataclasses.fields(event):
        if field.name in _PERSONAL_FIELDS:
            continue
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = msgspec.field(default_factory=field.default_factory)
        without_default = default is dataclasses.MISSING
        fields.append((field.name, types[field.name], *(() if without_default else (default,))))
    defined = msgspec.defstruct(
        f"{kind.title().replace('_', '')}Data",
        fields,
        bases=(NotificationData,),
        namespace={"__doc__": event.__doc__},
        module=__name__,
        frozen=True,
        kw_only=True,
        tag=kind,
    )
    return cast("type[NotificationData]", defined)


DATA_BY_KIND: dict[str, type[NotificationData]] = {
    **{kind: _from_event(event, kind) for event, kind in KIND_BY_EVENT.items()},
    "announcement": AnnouncementData,
    "inactivity": InactivityData,
    "streak": StreakData,
    "abandoned_checkout": AbandonedCheckoutData,
}
_KIND_BY_EVENT_TYPE = {event.type: kind for event, kind in KIND_BY_EVENT.items()} | {"COURSE_ANNOUNCED": "announcement"}
_DEFAULTS: dict[str, dict[str, Any]] = {
    kind: {
        field.encode_name: field.default_factory() if field.default is msgspec.NODEFAULT else field.default
        for field in msgspec.structs.fields(type_)
        if not field.required
    }
    for kind, type_ in DATA_BY_KIND.items()
}


def event_data(event: events.Event) -> dict[str, Any]:
    """Return the data of the notification of ``event`` as JSON values."""
    type_ = DATA_BY_KIND[KIND_BY_EVENT[type(event)]]
    return to_json(msgspec.convert(event, type_, from_attributes=True))


def reminder_data(kind: str, **fields: Any) -> dict[str, Any]:
    """Return the data of a reminder as JSON values. Raises msgspec.ValidationError if a field is missing."""
    return to_json(msgspec.convert(fields | {"kind": kind}, DATA_BY_KIND[kind]))


def to_json(data: NotificationData) -> dict[str, Any]:
    """Return ``data`` as JSON values, for the history and for templates."""
    values: dict[str, Any] = msgspec.to_builtins(data)
    return values


def complete(stored: dict[str, Any]) -> dict[str, Any]:
    """Return stored data with the fields that it lacks because an earlier version has written it."""
    kind = stored.get("kind") or _KIND_BY_EVENT_TYPE.get(stored.get("event", ""), "")
    return {"kind": kind, **_DEFAULTS.get(kind, {}), **stored}
