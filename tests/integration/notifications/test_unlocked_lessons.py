"""Learners are notified of lessons that open by time, once for each course and day."""

from datetime import timedelta

from core.db import new_id, utc_now
from models.events import LessonUnlocked
from tests.integration.notifications.factories import make_contact
from tests.support.events import build_event
from workers.notifications.event_handlers import send_lesson_unlocked


def test_lessons_of_a_course_and_day_are_one_notification(session, harness):
    user_id, course_id, at = make_contact(session), new_id(), utc_now()

    for values in (
        {"lesson_title": "Early", "available": False},
        {"lesson_title": "Knots"},
        {"lesson_title": "Bends"},
        {"lesson_title": "Splices", "unlocked_at": at + timedelta(days=1)},
        {"lesson_title": "Yeast", "course_id": new_id()},
    ):
        theirs = {"user_id": user_id, "course_id": course_id, "course_title": "Rope", "unlocked_at": at}
        event = build_event(LessonUnlocked, **theirs | {"available": True} | values)
        send_lesson_unlocked(session, harness.dispatcher(), event=event)

    bodies = sorted(note["body"].partition("”")[0] for note in harness.inbox(user_id))
    assert bodies == ["“Knots", "“Splices", "“Yeast"]
