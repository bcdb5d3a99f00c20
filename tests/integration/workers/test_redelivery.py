"""Redelivered events change no table, even if they are late or pruned from the inbox."""

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID, uuid4

import pymongo
import pytest

import settings
from bridge.admin.past_events import iter_past_events
from bridge.record import Record, cloudevent_attributes
from core.bus.outbox import record
from core.cache import cache_redis
from core.db import new_id, session_factory, utc_now
from models.courses.enrollments import Enrollment
from models.events import (
    AccessEndChanged,
    AccessEnding,
    CertificateReinstated,
    CertificateRevoked,
    CourseAnnounced,
    CoursePurchased,
    CourseVersionChanged,
    DisputeClosed,
    DisputeOpened,
    Event,
    LessonUnlocked,
    OrderCanceled,
    OrderCreated,
    PaymentFailed,
    PaymentRefunded,
    PaymentSucceeded,
    QuizAttempted,
    RefundReversed,
    SubscriptionCanceled,
    SubscriptionExpired,
    SubscriptionPastDue,
    SubscriptionRestored,
    SubscriptionStarted,
    SubscriptionTrialEnding,
)
from models.events.routes import ROUTES
from models.payments import Order
from models.progress.course_progress import CourseProgress
from settings import SERVICES
from tests.integration.courses.factories import author_of, make_draft, make_lesson, reprice
from tests.integration.courses.test_quizzes import QUIZ
from tests.integration.users.event_delivery import deliver_pending_events
from tests.support.databases import Database
from tests.support.deliveries import deliver, deliver_together
from tests.support.events import build_event
from tests.support.tasks import noop_cache
from workers.courses.authoring import archive_course, publish_course

pytestmark = pytest.mark.usefixtures("auth0_sync_disabled")

# Tables that record deliveries only.
NOT_STATE = {"bus.inbox", "bus.handler_failures"}


@pytest.fixture
def auth0_sync_disabled(monkeypatch) -> None:
    monkeypatch.setattr(settings, "AUTH0_SYNC_ENABLED", False)


@dataclass
class Source:
    """An order or subscription that exists only as events."""

    id: UUID
    version: int = 0

    @property
    def aggregate_id(self) -> str:
        return str(self.id)

    def publish(self, *events: Event) -> None:
        with session_factory("payments").begin() as session:
            record(session, self, *events)  # type: ignore[arg-type]  # has the attributes of an aggregate


class EventHistory:
    """Two users, three courses, orders and a subscription, with every event type that has handlers."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.ada, self.bob = (self._sign_up(name) for name in ("ada", "bob"))
        self.courses = [self._publish_course(title) for title in ("Bread", "Cheese", "Wine")]
        self._change_course()
        self._sell()
        self._deliver_events()
        self._complete_course()
        self._deliver_events()
        self._publish_other_progress()
        self._announce()
        self._deliver_events()
        self._export_and_erase()
        self._deliver_events()

    def _deliver_events(self) -> None:
        deliver_pending_events(self.database)

    def _sign_up(self, name: str) -> UUID:
        user = {"sub": f"auth0|{uuid4().hex}", "email": f"{name}@example.com", "name": name}
        reply = deliver("users.get_or_create_user", user)
        deliver_pending_events(self.database)
        return UUID(reply["result"]["user_id"])

    def _publish_course(self, title: str) -> UUID:
        with session_factory("courses").begin() as session:
            course = make_draft(session, title=f"{title} {uuid4().hex}", lessons=1)
            quiz = make_lesson(session, course.id, str(course.sections[0].id), author_of(course), **QUIZ)
            publish_course(session, noop_cache, ref=str(course.id), caller=author_of(course))
            self.quiz_id = UUID(quiz["id"])
        self.last_course = course
        return course.id

    def _change_course(self) -> None:
        """Raise the price of one course, publish its second version, and archive another course."""
        with session_factory("courses").begin() as session:
            course = session.merge(self.last_course)
            reprice(session, course, 9900)
        with session_factory("courses").begin() as session:
            publish_course(session, noop_cache, ref=str(self.courses[2]), caller=author_of(self.last_course))
        with session_factory("courses").begin() as session:
            from models.courses.course import Course  # noqa: PLC0415

            cheese = session.get_one(Course, self.courses[1])
            archive_course(
                session, noop_cache, ref=str(cheese.id), caller=author_of(cheese), expected_version=cheese.version
            )

    def _sell(self) -> None:
        bread, _, wine = self.courses
        # Reminders keep the title of the last event, whatever its topic: all events have the same one.
        title = self.database.value("SELECT title FROM courses.courses WHERE id = :id", id=bread)
        for user_id in (self.ada, self.bob):
            order = Source(self._order_row(user_id, bread))
            about = {"order_id": order.id, "user_id": user_id, "course_id": bread}
            paid = {"order_id": order.id, "user_id": user_id, "payment_id": new_id()}
            order.publish(
                build_event(OrderCreated, **about),
                build_event(PaymentFailed, **paid),
                build_event(PaymentSucceeded, **paid),
            )
            order.publish(build_event(CoursePurchased, **about, course_title=title))
            self._deliver_events()
            order.publish(build_event(DisputeOpened, **paid, order_suspended=True))
            self._deliver_events()
            order.publish(build_event(DisputeClosed, **paid, won=True, order_restored=True))
            self._deliver_events()
            order.publish(build_event(PaymentRefunded, **paid, is_full_refund=True))
            self._deliver_events()
            order.publish(build_event(RefundReversed, **paid, order_restored=True))
            canceled = Source(new_id())
            about["order_id"] = canceled.id
            canceled.publish(build_event(OrderCreated, **about), build_event(OrderCanceled, **about))
        subscription = Source(new_id())
        subscriber = {"subscription_id": subscription.id, "user_id": self.ada}
        subscription.publish(
            build_event(SubscriptionStarted, **subscriber, course_ids=[wine, bread]),
            build_event(SubscriptionTrialEnding, **subscriber),
            build_event(SubscriptionPastDue, **subscriber),
            build_event(SubscriptionCanceled, **subscriber),
        )
        self._deliver_events()
        subscription.publish(build_event(SubscriptionExpired, **subscriber))
        self._deliver_events()
        subscription.publish(build_event(SubscriptionRestored, **subscriber))
        self._deliver_events()
        subscription.publish(build_event(SubscriptionExpired, **subscriber))

    def _order_row(self, user_id: UUID, course_id: UUID) -> UUID:
        """Insert an order; its history records the access."""
        order_id = new_id()
        with session_factory("payments").begin() as session:
            row = {"id": order_id, "version": 0, "user_id": user_id, "status": "pending", "course_id": course_id}
            price = {"course_title": "Bread", "amount_minor": 100, "currency": "EUR", "created_at": utc_now()}
            session.add(Order(**row, **price))
        return order_id

    def _complete_course(self) -> None:
        """Complete a course including its quiz, then reopen the quiz."""
        course_id = self.courses[0]
        in_course = {"user_id": self.ada, "course_id": course_id}
        outline = self.database.value("SELECT lessons FROM progress.outlines WHERE course_id = :id", id=course_id)
        text_id, quiz_id = (lesson["id"] for lesson in outline)
        assert "result" in deliver("progress.complete_lesson", {**in_course, "lesson_id": text_id})
        with session_factory("courses").begin() as session:
            enrollment = Enrollment.find(session, self.ada, course_id, for_update=True)
            assert enrollment
            record(
                session,
                enrollment,
                build_event(QuizAttempted, **in_course, lesson_id=UUID(quiz_id), passed=True),
                build_event(AccessEndChanged, **in_course, ends_at=None),
                build_event(AccessEnding, **in_course),
            )
        self._deliver_events()
        assert "result" in deliver("progress.reopen_lesson", {**in_course, "lesson_id": quiz_id})

    def _publish_other_progress(self) -> None:
        """Publish the events of a learner who takes another version, of an opened lesson and a revoked certificate."""
        in_course = {"user_id": self.ada, "course_id": self.courses[0]}
        with session_factory("progress").begin() as session:
            progress = CourseProgress.get_for_update(session, *in_course.values())
            record(
                session,
                progress,
                build_event(CourseVersionChanged, **in_course, course_version=1),
                build_event(LessonUnlocked, **in_course),
                build_event(CertificateRevoked, **in_course),
                build_event(CertificateReinstated, **in_course),
            )

    def _announce(self) -> None:
        """Publish an announcement to both users."""
        about = {"course_id": self.courses[0], "user_ids": [self.ada, self.bob]}
        text = {"subject": "Live session", "body": "We meet at 18:00.\nBring questions."}
        with session_factory("courses").begin() as session:
            announcement = Source(new_id())
            record(session, announcement, build_event(CourseAnnounced, **about, **text))  # type: ignore[arg-type]

    def _export_and_erase(self) -> None:
        for user_id in (self.ada, self.bob):
            assert "result" in deliver("users.request_export", {"user_id": user_id, "owner": "owner"})
        self._deliver_events()
        version = self.database.value("SELECT version FROM users.users WHERE id = :id", id=self.bob)
        erased = {"user_id": self.bob, "expected_version": version, "owner": "owner"}
        assert "result" in deliver("users.erase_user", erased)

    def events(self) -> list[Record]:
        """Return all published events in the order of publication."""
        return sorted(
            (each for service in SERVICES for each in iter_past_events(service)), key=lambda each: each.offset
        )

    def tables(self) -> dict[str, list[str]]:
        """Return all rows of all tables and all notifications as text."""
        names = self.database.rows(
            "SELECT table_schema || '.' || table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE'"
            " AND table_schema = ANY(:schemas)",
            schemas=["bus", *SERVICES],
        )
        found = {
            name: sorted(row for (row,) in self.database.rows(f"SELECT t::text FROM {name} t"))  # noqa: S608 our tables
            for (name,) in names
            if name not in NOT_STATE
        }
        users = [self.ada, self.bob]
        with pymongo.MongoClient(settings.MONGO_URL, uuidRepresentation="standard") as client:
            mongo = client.get_default_database("coursebus")["notifications"]
            found["notifications"] = sorted(map(str, mongo.find({"user_id": {"$in": users}})))
        return found


@pytest.fixture
def event_history(database: Database) -> Iterator[EventHistory]:
    cache_redis().flushdb()
    yield EventHistory(database)
    cache_redis().flushdb()


def deliver_alone(events: list[Record]) -> None:
    for event in events:
        for handler in ROUTES[event.type]:
            reply = deliver(
                handler,
                {"event": event.value},
                event_id=event.event_id,
                event_headers=cloudevent_attributes(event.headers),
            )
            assert "result" in reply, (handler, reply)


def deliver_in_messages(events: list[Record]) -> None:
    """Deliver the events in messages of ten, as the bridge does with a backlog."""
    by_service = defaultdict(list)
    for event in events:
        for handler in ROUTES[event.type]:
            by_service[handler.partition(".")[0]].append((handler, event))
    for service, pending in by_service.items():
        for start in range(0, len(pending), 10):
            together = pending[start : start + 10]
            replies = deliver_together(
                service,
                [(handler, event.event_id, event.value) for handler, event in together],
                [cloudevent_attributes(event.headers) for _, event in together],
            )
            assert all("result" in reply for reply in replies), replies


def differences(before: dict[str, list[str]], after: dict[str, list[str]]) -> str:
    """Return the rows that are in only one of two snapshots, one per line; empty if the snapshots are equal."""
    lines = []
    for name, rows in before.items():
        lines += [f"- {name} {row}" for row in rows if row not in after[name]]
        lines += [f"+ {name} {row}" for row in after[name] if row not in rows]
    return "\n".join(lines)


@pytest.mark.parametrize("deliver_again", [deliver_alone, deliver_in_messages])
def test_redelivery_after_inbox_pruning_changes_nothing(event_history: EventHistory, deliver_again):
    events = event_history.events()
    assert {event.type for event in events} >= {type_ for type_, handlers in ROUTES.items() if len(handlers) > 1}
    before = event_history.tables()
    generator = random.Random(7)

    for share in (1.0, 0.5, 0.25):
        prefix = events[: int(len(events) * share)]
        event_history.database.execute(
            "DELETE FROM bus.inbox WHERE event_id = ANY(CAST(:ids AS uuid[]))", ids=[each.event_id for each in prefix]
        )
        deliver_again(generator.sample(prefix, len(prefix)))

        assert not differences(before, event_history.tables())
