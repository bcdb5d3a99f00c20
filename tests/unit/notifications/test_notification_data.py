"""The data of notifications matches the OpenAPI document."""

import json

import jsonschema_rs
import pytest

from core.db import new_id, utc_now
from models import events
from models.notification_data import DATA_BY_KIND, KIND_BY_EVENT, complete, event_data, reminder_data
from ops.generate_openapi import OPENAPI
from tests.support.events import build_event
from workers.notifications.notification_rules import REMINDER_RULES, RULES

VALIDATOR = jsonschema_rs.Draft202012Validator(
    json.loads(OPENAPI.read_text()) | {"$ref": "#/components/schemas/NotificationData"}, validate_formats=True
)
REASONS = {
    "inactivity": {"course_id": new_id(), "course_title": "Knots", "days": 3},
    "streak": {"days": 2},
    "abandoned_checkout": {"order_id": new_id(), "course_id": new_id(), "amount_minor": 900, "currency": "EUR"},
}


def test_every_rule_has_a_kind():
    templates = {event: rule.template for event, rule in RULES.items()}

    assert templates == KIND_BY_EVENT | {events.CourseAnnounced: "announcement"}
    assert DATA_BY_KIND.keys() == set(templates.values()) | REMINDER_RULES.keys()


@pytest.mark.parametrize(("event", "kind"), KIND_BY_EVENT.items(), ids=lambda each: getattr(each, "__name__", each))
def test_data_is_the_event_without_personal_data(event: type[events.Event], kind: str):
    data = event_data(build_event(event))

    VALIDATOR.validate(data)
    assert (data["kind"], data["event"]) == (kind, event.type)
    assert data.keys().isdisjoint({"user_id", "sub", "pii"})


@pytest.mark.parametrize("kind", REMINDER_RULES)
def test_reminder_has_typed_data(kind: str):
    VALIDATOR.validate(reminder_data(kind, about=new_id(), since=utc_now(), **REASONS[kind]))


def test_data_of_an_earlier_version_is_completed():
    data = event_data(build_event(events.PaymentSucceeded))
    stored = {name: value for name, value in data.items() if name not in {"kind", "course_ids"}}

    assert complete(stored) == data


def test_data_of_an_unknown_event_is_shown_as_stored():
    assert complete({"event": "LATER", "a": 1}) == {"kind": "", "event": "LATER", "a": 1}
