"""Webhook endpoints and deliveries: subscriptions, signatures, retries, and automatic disabling."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID, uuid4

import msgspec
import pytest
from sqlalchemy.orm import Session
from standardwebhooks import Webhook

import settings
from core.bus.outbox import OutboxEvent
from core.db import session_factory, utc_now
from models.errors import EndpointDisabled, NotFound, TooManyEndpoints, UnknownEventType
from models.events import CourseCompleted, CoursePurchased, LessonCompleted
from models.integrations import Endpoint, Outcome, WebhookDelivery, WebhookRequest, new_secret, signatures
from tests.integration.integrations.factories import (
    append_and_schedule,
    append_to_event_log,
    deliveries,
    headers_of,
    make_endpoint,
)
from tests.support.databases import Database
from tests.support.events import build_event
from workers.integrations.deliveries import claim_deliveries, finish_attempt, list_deliveries, replay_delivery
from workers.integrations.endpoints import delete_endpoint, replay_events, rotate_secret, show_endpoint

SUCCESS = Outcome(status_code=204, error=None, duration_ms=5)
FAILURE = Outcome(status_code=500, error="status_500", duration_ms=5)


def ignore_hint(*_: object, **__: object) -> None:
    """Ignore the hint."""


def claim(session: Session, *, limit: int = 100, busy: dict[UUID, int] | None = None) -> list[WebhookRequest]:
    return claim_deliveries(session, busy=busy or {}, limit=limit)


def finish(session: Session, request: WebhookRequest, outcome: Outcome) -> None:
    finish_attempt(
        session,
        endpoint_id=request.endpoint_id,
        delivery_id=request.delivery_id,
        attempt=request.attempt,
        outcome=outcome,
    )


def make_due(session: Session) -> None:
    for delivery in deliveries(session, status="pending"):
        delivery.due_at = utc_now()
    for endpoint in session.query(Endpoint):
        endpoint.circuit_open_until = None
    session.flush()


def fail(session: Session, times: int) -> None:
    for _ in range(times):
        make_due(session)
        for request in claim(session):
            finish(session, request, FAILURE)


def test_signature_matches_the_specification():
    # The example of the specification.
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    made = signatures([secret], webhook_id="msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp=1614265330, body=body)

    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_standardwebhooks_library_verifies_signatures():
    old, new = new_secret(), new_secret()
    body = msgspec.json.encode({"type": "COURSE_PURCHASED", "title": "Grüße"})
    timestamp = int(utc_now().timestamp())
    headers = {
        "webhook-id": "some",
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signatures([new, old], webhook_id="some", timestamp=timestamp, body=body),
    }

    assert Webhook(new).verify(body, headers) == Webhook(old).verify(body, headers)
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(new_secret()).verify(body, headers)


def test_event_is_delivered_to_subscribed_endpoints_only(session: Session):
    everything = make_endpoint(session)
    lessons = make_endpoint(session, "http://127.0.0.1:9/", "LESSON_COMPLETED", "COURSE_COMPLETED")
    asleep = make_endpoint(session)
    asleep.change({"enabled": False}, at=utc_now())
    lesson, purchase = (
        append_and_schedule(session, build_event(LessonCompleted)),
        append_and_schedule(session, build_event(CoursePurchased)),
    )

    scheduled = {(each.endpoint_id, each.event_id) for each in deliveries(session)}
    assert scheduled == {(everything.id, lesson), (everything.id, purchase), (lessons.id, lesson)}


def test_unknown_event_type_subscription_is_rejected(session: Session):
    with pytest.raises(UnknownEventType):
        make_endpoint(session, "http://127.0.0.1:9/", "COURSE_EATEN")
    with pytest.raises(UnknownEventType):
        make_endpoint(session).change({"event_types": ["COURSE_EATEN"]}, at=utc_now())


def test_event_creates_one_delivery_per_subscribed_endpoint(deliver, database: Database):
    event = build_event(CoursePurchased)
    message, headers = {"event": event}, headers_of(event)
    deliver("integrations.append_event_to_log", message, event_id=uuid4(), event_headers=headers)
    created = deliver(
        "integrations.create_endpoint", {"url": "http://127.0.0.1:9/", "description": "", "event_types": []}
    )
    assert created["result"]["secret"].startswith("whsec_")
    event_id = uuid4()
    for _ in range(2):
        deliver("integrations.append_event_to_log", message, event_id=event_id, event_headers=headers)

    assert database.rows("SELECT event_id, status FROM integrations.webhook_deliveries") == [(event_id, "pending")]


def test_webhook_body_is_the_feed_event(session: Session):
    make_endpoint(session)
    event_id = append_and_schedule(session)
    [request] = claim(session)

    assert request.event["id"] == str(event_id)
    assert request.event["type"] == "COURSE_PURCHASED"
    assert request.attempt == 1


def test_claimed_delivery_is_leased(session: Session):
    make_endpoint(session)
    append_and_schedule(session)
    [first] = claim(session)
    assert claim(session) == []

    [delivery] = deliveries(session)
    lease = delivery.due_at - utc_now()
    assert timedelta(seconds=settings.WEBHOOK_TIMEOUT_SECONDS) < lease
    delivery.due_at = utc_now()  # as if its worker had been killed long ago
    [second] = claim(session)
    assert (first.event["id"], second.attempt) == (second.event["id"], 2)
    finish(session, second, SUCCESS)
    assert claim(session) == []


def test_superseded_attempt_counts_only_when_delivered(session: Session):
    make_endpoint(session)
    append_and_schedule(session)
    [first] = claim(session)
    make_due(session)
    [second] = claim(session)
    finish(session, first, FAILURE)
    assert deliveries(session)[0].status_code is None
    finish(session, first, SUCCESS)
    finish(session, second, FAILURE)

    assert [each.status for each in deliveries(session)] == ["delivered"]


def test_concurrent_deliveries_per_endpoint_are_limited(session: Session):
    slow, quick = make_endpoint(session), make_endpoint(session)
    for _ in range(10):
        append_and_schedule(session)
    claimed = [request.endpoint_id for request in claim(session)]
    assert (claimed.count(slow.id), claimed.count(quick.id)) == (4, 4)

    make_due(session)
    claimed = [request.endpoint_id for request in claim(session, busy={slow.id: 4, quick.id: 3}, limit=9)]
    assert (claimed.count(slow.id), claimed.count(quick.id)) == (0, 1)


def test_failing_endpoint_gets_one_delivery_at_a_time(session: Session):
    make_endpoint(session)
    for _ in range(3):
        append_and_schedule(session)
    fail(session, 1)
    make_due(session)

    assert len(claim(session)) == 1


def test_retries_back_off_over_three_days(session: Session, monkeypatch):
    monkeypatch.setattr(settings, "WEBHOOK_DISABLED_AFTER_HOURS", 1000)
    assert timedelta(days=2.9) < timedelta(seconds=sum(settings.WEBHOOK_RETRY_DELAYS_SECONDS)) < timedelta(days=3.1)
    make_endpoint(session)
    append_and_schedule(session)
    delays = []
    for _ in settings.WEBHOOK_RETRY_DELAYS_SECONDS:
        fail(session, 1)
        delays.append((deliveries(session)[0].due_at - utc_now()).total_seconds())

    assert all(
        0.75 <= delay / planned <= 1.25
        for delay, planned in zip(delays, settings.WEBHOOK_RETRY_DELAYS_SECONDS, strict=True)
    )
    fail(session, 1)
    [delivery] = deliveries(session)
    assert (delivery.status, delivery.attempts) == ("failed", len(settings.WEBHOOK_RETRY_DELAYS_SECONDS) + 1)


def test_retry_after_is_honored_up_to_one_hour(session: Session):
    make_endpoint(session)
    for retry_after, applied in ((60, 60), (10**9, 3600)):
        append_and_schedule(session)
        make_due(session)
        [request] = claim(session)
        finish(
            session,
            request,
            Outcome(status_code=429, error="status_429", duration_ms=1, retry_after_seconds=retry_after),
        )
        delay = deliveries(session, id=request.delivery_id)[0].due_at - utc_now()
        assert abs(delay.total_seconds() - applied) < 2
        session.delete(deliveries(session, id=request.delivery_id)[0])


def test_failing_endpoint_backs_off_and_recovers_on_success(session: Session):
    endpoint = make_endpoint(session)
    append_and_schedule(session)
    fail(session, 4)
    assert endpoint.circuit_open_until is None
    fail(session, 1)
    first = endpoint.circuit_open_until - utc_now()
    append_and_schedule(session)
    assert claim(session) == []  # the endpoint is not called during its pause
    fail(session, 2)
    assert endpoint.circuit_open_until - utc_now() > 1.5 * first
    make_due(session)
    [request] = claim(session)
    finish(session, request, SUCCESS)

    assert (endpoint.failures, endpoint.failing_since, endpoint.circuit_open_until) == (0, None, None)


def disabled_events(session: Session) -> list[str]:
    session.flush()
    events = session.query(OutboxEvent).filter_by(type="WEBHOOK_ENDPOINT_DISABLED")
    return [event.payload["reason"] for event in events]


def test_persistently_failing_endpoint_is_disabled_with_event(session: Session):
    endpoint = make_endpoint(session)
    append_and_schedule(session)
    fail(session, 1)
    assert endpoint.disabled_at is None
    endpoint.failing_since = utc_now() - timedelta(hours=73)
    fail(session, 1)

    assert endpoint.disabled_reason == "failing"
    assert disabled_events(session) == ["failing"]
    make_due(session)
    assert claim(session) == []
    endpoint.change({"enabled": True}, at=utc_now())
    session.flush()
    assert len(claim(session)) == 1  # the waiting delivery is sent


def test_http_410_disables_endpoint(session: Session):
    endpoint = make_endpoint(session)
    append_and_schedule(session)
    [request] = claim(session)
    finish(session, request, Outcome(status_code=410, error="status_410", duration_ms=1))

    assert endpoint.disabled_reason == "gone"
    assert [each.status for each in deliveries(session)] == ["failed"]
    assert disabled_events(session) == ["gone"]


def test_rotated_secret_stays_valid_for_one_day(session: Session):
    endpoint = make_endpoint(session)
    old = endpoint.secret
    new = rotate_secret(session, endpoint_id=endpoint.id)["secret"]

    assert endpoint.secrets(at=utc_now()) == [new, old]
    assert endpoint.secrets(at=utc_now() + timedelta(hours=25)) == [new]
    assert "secret" not in show_endpoint(session, endpoint_id=endpoint.id)


def test_manual_replay_keeps_webhook_id(session: Session):
    endpoint = make_endpoint(session)
    append_and_schedule(session)
    [request] = claim(session)
    finish(session, request, SUCCESS)
    replay_delivery(session, ignore_hint, endpoint_id=endpoint.id, delivery_id=request.delivery_id)
    session.flush()
    [again] = claim(session)

    assert (again.event["id"], again.attempt) == (request.event["id"], 1)


def test_replay_covers_undelivered_or_all_past_events(session: Session):
    before = append_to_event_log(session)
    endpoint = make_endpoint(session, "http://127.0.0.1:9/", "COURSE_PURCHASED")
    append_and_schedule(session)
    for request in claim(session):
        finish(session, request, SUCCESS)
    append_to_event_log(session, build_event(CourseCompleted))  # not subscribed
    append_and_schedule(session)
    since = utc_now() - timedelta(minutes=1)

    def replayed(**message) -> int:
        message = {"since": since, "until": None, "all_events": False, **message}
        return replay_events(session, ignore_hint, endpoint_id=endpoint.id, **message)["scheduled"]

    assert replayed(until=since) == 0
    assert replayed() == 2
    assert before in {each.event_id for each in deliveries(session, status="pending")}
    assert replayed(all_events=True) == 3
    assert len(deliveries(session)) == 3


def test_replay_to_disabled_endpoint_is_rejected(session: Session):
    endpoint = make_endpoint(session)
    endpoint.change({"enabled": False}, at=utc_now())
    with pytest.raises(EndpointDisabled):
        replay_events(session, ignore_hint, endpoint_id=endpoint.id, since=utc_now(), until=None, all_events=False)


def test_deleting_endpoint_deletes_its_deliveries(session: Session):
    endpoint = make_endpoint(session)
    append_and_schedule(session)
    [request] = claim(session)
    delete_endpoint(session, endpoint_id=endpoint.id)

    assert deliveries(session) == []
    with pytest.raises(NotFound):  # the attempt ends after the deletion
        finish(session, request, SUCCESS)


def test_deliveries_are_paged_newest_first(session: Session):
    endpoint = make_endpoint(session)
    event_ids = [append_and_schedule(session) for _ in range(3)]
    first = list_deliveries(session, endpoint_id=endpoint.id, status=None, limit=2, after=None)
    second = list_deliveries(session, endpoint_id=endpoint.id, status="pending", limit=2, after=first["next"])

    assert [each["event_id"] for each in first["items"] + second["items"]] == event_ids[::-1]
    assert second["next"] is None


def test_delivery_of_other_endpoint_is_not_found(session: Session):
    make_endpoint(session)
    append_and_schedule(session)
    stranger = make_endpoint(session)
    [delivery] = deliveries(session)
    with pytest.raises(NotFound):
        WebhookDelivery.get_for_update(session, delivery.id, stranger.id)


def test_endpoint_count_is_limited_under_concurrency(monkeypatch, database: Database):
    monkeypatch.setattr(settings, "WEBHOOK_ENDPOINTS_MAX", 3)
    begin = threading.Barrier(6)

    def make(_: int) -> bool:
        begin.wait()
        with session_factory("integrations").begin() as session:
            try:
                Endpoint.require_capacity(session)
            except TooManyEndpoints:
                return False
            make_endpoint(session)
            return True

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(make, range(6))) == [False] * 3 + [True] * 3
    assert database.count("integrations.webhook_endpoints") == 3


def test_oldest_due_age_excludes_endpoints_in_backoff(session: Session):
    endpoint, at = make_endpoint(session), utc_now() + timedelta(minutes=5)
    assert WebhookDelivery.oldest_due_seconds(session, at=at) == 0
    append_and_schedule(session)
    assert 290 < WebhookDelivery.oldest_due_seconds(session, at=at) < 310
    endpoint.circuit_open_until = at + timedelta(minutes=1)
    session.flush()
    assert WebhookDelivery.oldest_due_seconds(session, at=at) == 0
