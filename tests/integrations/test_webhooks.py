"""Endpoints and what they are told: who listens, with which signatures, how often, and when it is given up."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID, uuid4

import msgspec
import pytest
from sqlalchemy.orm import Session
from standardwebhooks import Webhook

import settings
from models.base import now, sessions
from models.errors import EndpointDisabled, NotFound, TooManyEndpoints, UnknownEventType
from models.events import CourseCompleted, CoursePurchased, LessonCompleted
from models.integrations import Endpoint, Outcome, Parcel, WebhookDelivery, new_secret, signatures
from models.outbox import OutboxEvent
from tests.integrations.factories import append, deliveries, headers_of, make_endpoint, tell
from tests.support.databases import Database
from tests.support.events import some
from workers.integrations.deliveries import claim_deliveries, end_attempt, list_deliveries, replay_delivery
from workers.integrations.endpoints import delete_endpoint, replay_past, rotate_secret, show_endpoint

GOOD = Outcome(status_code=204, error=None, duration_ms=5)
BAD = Outcome(status_code=500, error="status_500", duration_ms=5)


def nobody(*_: object, **__: object) -> None:
    """Is poked."""


def claim(session: Session, *, limit: int = 100, busy: dict[UUID, int] | None = None) -> list[Parcel]:
    return claim_deliveries(session, busy=busy or {}, limit=limit)


def end(session: Session, parcel: Parcel, outcome: Outcome) -> None:
    end_attempt(
        session,
        endpoint_id=parcel.endpoint_id,
        delivery_id=parcel.delivery_id,
        attempt=parcel.attempt,
        outcome=outcome,
    )


def make_due(session: Session) -> None:
    for delivery in deliveries(session, status="pending"):
        delivery.due_at = now()
    for endpoint in session.query(Endpoint):
        endpoint.resting_until = None
    session.flush()


def fail(session: Session, times: int) -> None:
    for _ in range(times):
        make_due(session)
        for parcel in claim(session):
            end(session, parcel, BAD)


def test_the_official_library_takes_our_signatures():
    old, new = new_secret(), new_secret()
    body = msgspec.json.encode({"type": "COURSE_PURCHASED", "title": "Grüße"})
    timestamp = int(now().timestamp())
    headers = {
        "webhook-id": "some",
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signatures([new, old], webhook_id="some", timestamp=timestamp, body=body),
    }

    assert Webhook(new).verify(body, headers) == Webhook(old).verify(body, headers)
    assert Webhook(new).sign("some", now().replace(microsecond=0), body.decode()).startswith("v1,")
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(new_secret()).verify(body, headers)


def test_who_listens_is_told_and_nobody_else(session: Session):
    everything = make_endpoint(session)
    lessons = make_endpoint(session, "http://127.0.0.1:9/", "LESSON_COMPLETED", "COURSE_COMPLETED")
    asleep = make_endpoint(session)
    asleep.change({"enabled": False}, at=now())
    lesson, purchase = tell(session, some(LessonCompleted)), tell(session, some(CoursePurchased))

    told = {(each.endpoint_id, each.event_id) for each in deliveries(session)}
    assert told == {(everything.id, lesson), (everything.id, purchase), (lessons.id, lesson)}


def test_an_event_that_nobody_knows_cannot_be_listened_to(session: Session):
    with pytest.raises(UnknownEventType):
        make_endpoint(session, "http://127.0.0.1:9/", "COURSE_EATEN")
    with pytest.raises(UnknownEventType):
        make_endpoint(session).change({"event_types": ["COURSE_EATEN"]}, at=now())


def test_a_poke_follows_an_event_that_somebody_listens_to(deliver, database: Database):
    event = some(CoursePurchased)
    message, headers = {"event": event}, headers_of(event)
    deliver("integrations.keep_event", message, event_id=uuid4(), event_headers=headers)
    created = deliver(
        "integrations.create_endpoint", {"url": "http://127.0.0.1:9/", "description": "", "event_types": []}
    )
    assert created["result"]["secret"].startswith("whsec_")
    event_id = uuid4()
    for _ in range(2):
        deliver("integrations.keep_event", message, event_id=event_id, event_headers=headers)

    assert database.rows("SELECT event_id, status FROM integrations.webhook_deliveries") == [(event_id, "pending")]


def test_a_webhook_carries_the_event_as_the_feed_shows_it(session: Session):
    make_endpoint(session)
    event_id = tell(session)
    [parcel] = claim(session)

    assert parcel.event["id"] == str(event_id)
    assert parcel.event["type"] == "COURSE_PURCHASED"
    assert parcel.attempt == 1


def test_what_is_claimed_is_nobody_elses_until_it_is_taken_for_lost(session: Session):
    make_endpoint(session)
    tell(session)
    [first] = claim(session)
    assert claim(session) == []

    [delivery] = deliveries(session)
    lease = delivery.due_at - now()
    assert timedelta(seconds=settings.WEBHOOK_TIMEOUT_SECONDS) < lease
    delivery.due_at = now()  # as if its worker had been killed long ago
    [second] = claim(session)
    assert (first.event["id"], second.attempt) == (second.event["id"], 2)
    end(session, second, GOOD)
    assert claim(session) == []


def test_a_late_failure_says_nothing_after_the_next_attempt_has_begun(session: Session):
    make_endpoint(session)
    tell(session)
    [first] = claim(session)
    make_due(session)
    [second] = claim(session)
    end(session, first, BAD)
    assert deliveries(session)[0].status_code is None
    end(session, first, GOOD)
    end(session, second, BAD)

    assert [each.status for each in deliveries(session)] == ["delivered"]


def test_one_endpoint_has_a_few_at_a_time_and_leaves_room_for_others(session: Session):
    slow, quick = make_endpoint(session), make_endpoint(session)
    for _ in range(10):
        tell(session)
    claimed = [parcel.endpoint_id for parcel in claim(session)]
    assert (claimed.count(slow.id), claimed.count(quick.id)) == (4, 4)

    make_due(session)
    claimed = [parcel.endpoint_id for parcel in claim(session, busy={slow.id: 4, quick.id: 3}, limit=9)]
    assert (claimed.count(slow.id), claimed.count(quick.id)) == (0, 1)


def test_a_failing_endpoint_has_one_at_a_time(session: Session):
    make_endpoint(session)
    for _ in range(3):
        tell(session)
    fail(session, 1)
    make_due(session)

    assert len(claim(session)) == 1


def test_retries_come_later_and_later_for_three_days(session: Session, monkeypatch):
    monkeypatch.setattr(settings, "WEBHOOK_DISABLED_AFTER_HOURS", 1000)
    assert timedelta(days=2.9) < timedelta(seconds=sum(settings.WEBHOOK_RETRIES_SECONDS)) < timedelta(days=3.1)
    make_endpoint(session)
    tell(session)
    waits = []
    for _ in settings.WEBHOOK_RETRIES_SECONDS:
        fail(session, 1)
        waits.append((deliveries(session)[0].due_at - now()).total_seconds())

    assert all(
        0.75 <= wait / planned <= 1.25 for wait, planned in zip(waits, settings.WEBHOOK_RETRIES_SECONDS, strict=True)
    )
    fail(session, 1)
    [delivery] = deliveries(session)
    assert (delivery.status, delivery.attempts) == ("failed", len(settings.WEBHOOK_RETRIES_SECONDS) + 1)


def test_a_receiver_may_ask_for_more_time_but_not_for_all(session: Session):
    make_endpoint(session)
    for asked, granted in ((60, 60), (10**9, 3600)):
        tell(session)
        make_due(session)
        [parcel] = claim(session)
        end(session, parcel, Outcome(status_code=429, error="status_429", duration_ms=1, retry_after_seconds=asked))
        wait = deliveries(session, id=parcel.delivery_id)[0].due_at - now()
        assert abs(wait.total_seconds() - granted) < 2
        session.delete(deliveries(session, id=parcel.delivery_id)[0])


def test_a_failing_endpoint_rests_longer_and_longer_and_recovers_at_once(session: Session):
    endpoint = make_endpoint(session)
    tell(session)
    fail(session, 4)
    assert endpoint.resting_until is None
    fail(session, 1)
    first = endpoint.resting_until - now()
    tell(session)
    assert claim(session) == []  # nobody is bothered meanwhile
    fail(session, 2)
    assert endpoint.resting_until - now() > 1.5 * first
    make_due(session)
    [parcel] = claim(session)
    end(session, parcel, GOOD)

    assert (endpoint.failures, endpoint.failing_since, endpoint.resting_until) == (0, None, None)


def disabled_events(session: Session) -> list[str]:
    session.flush()
    told = session.query(OutboxEvent).filter_by(type="WEBHOOK_ENDPOINT_DISABLED")
    return [event.payload["reason"] for event in told]


def test_an_endpoint_that_fails_for_days_is_disabled_and_that_is_told(session: Session):
    endpoint = make_endpoint(session)
    tell(session)
    fail(session, 1)
    assert endpoint.disabled_at is None
    endpoint.failing_since = now() - timedelta(hours=73)
    fail(session, 1)

    assert endpoint.disabled_reason == "failing"
    assert disabled_events(session) == ["failing"]
    make_due(session)
    assert claim(session) == []
    endpoint.change({"enabled": True}, at=now())
    session.flush()
    assert len(claim(session)) == 1  # what waited goes out


def test_a_receiver_that_is_gone_is_told_nothing_more(session: Session):
    endpoint = make_endpoint(session)
    tell(session)
    [parcel] = claim(session)
    end(session, parcel, Outcome(status_code=410, error="status_410", duration_ms=1))

    assert endpoint.disabled_reason == "gone"
    assert [each.status for each in deliveries(session)] == ["failed"]
    assert disabled_events(session) == ["gone"]


def test_a_rotated_secret_signs_beside_the_new_one_for_a_day(session: Session):
    endpoint = make_endpoint(session)
    old = endpoint.secret
    new = rotate_secret(session, endpoint_id=endpoint.id)["secret"]

    assert endpoint.secrets(at=now()) == [new, old]
    assert endpoint.secrets(at=now() + timedelta(hours=25)) == [new]
    assert "secret" not in show_endpoint(session, endpoint_id=endpoint.id)


def test_a_delivery_replayed_by_hand_keeps_its_webhook_id(session: Session):
    endpoint = make_endpoint(session)
    tell(session)
    [parcel] = claim(session)
    end(session, parcel, GOOD)
    replay_delivery(session, nobody, endpoint_id=endpoint.id, delivery_id=parcel.delivery_id)
    session.flush()
    [again] = claim(session)

    assert (again.event["id"], again.attempt) == (parcel.event["id"], 1)


def test_the_past_is_replayed_where_it_was_not_taken_or_all_of_it(session: Session):
    before = append(session)
    endpoint = make_endpoint(session, "http://127.0.0.1:9/", "COURSE_PURCHASED")
    tell(session)
    for parcel in claim(session):
        end(session, parcel, GOOD)
    append(session, some(CourseCompleted))  # of no interest
    tell(session)
    since = now() - timedelta(minutes=1)

    def replayed(**asked) -> int:
        asked = {"since": since, "until": None, "all_events": False, **asked}
        return replay_past(session, nobody, endpoint_id=endpoint.id, **asked)["deliveries"]

    assert replayed(until=since) == 0
    assert replayed() == 2
    assert before in {each.event_id for each in deliveries(session, status="pending")}
    assert replayed(all_events=True) == 3
    assert len(deliveries(session)) == 3


def test_a_disabled_endpoint_is_not_told_of_the_past(session: Session):
    endpoint = make_endpoint(session)
    endpoint.change({"enabled": False}, at=now())
    with pytest.raises(EndpointDisabled):
        replay_past(session, nobody, endpoint_id=endpoint.id, since=now(), until=None, all_events=False)


def test_what_an_endpoint_was_told_goes_with_it(session: Session):
    endpoint = make_endpoint(session)
    tell(session)
    [parcel] = claim(session)
    delete_endpoint(session, endpoint_id=endpoint.id)

    assert deliveries(session) == []
    with pytest.raises(NotFound):  # its last attempt ends after it
        end(session, parcel, GOOD)


def test_deliveries_are_listed_newest_first_page_by_page(session: Session):
    endpoint = make_endpoint(session)
    told = [tell(session) for _ in range(3)]
    first = list_deliveries(session, endpoint_id=endpoint.id, status=None, limit=2, after=None)
    second = list_deliveries(session, endpoint_id=endpoint.id, status="pending", limit=2, after=first["next"])

    assert [each["event_id"] for each in first["items"] + second["items"]] == told[::-1]
    assert second["next"] is None


def test_another_endpoints_delivery_is_not_found(session: Session):
    make_endpoint(session)
    tell(session)
    stranger = make_endpoint(session)
    [delivery] = deliveries(session)
    with pytest.raises(NotFound):
        WebhookDelivery.locked(session, delivery.id, stranger.id)


def test_no_more_endpoints_than_a_shop_may_have(monkeypatch, database: Database):
    monkeypatch.setattr(settings, "WEBHOOK_ENDPOINTS_MAX", 3)
    begin = threading.Barrier(6)

    def make(_: int) -> bool:
        begin.wait()
        with sessions("integrations").begin() as session:
            try:
                Endpoint.refuse_one_more(session)
            except TooManyEndpoints:
                return False
            make_endpoint(session)
            return True

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(make, range(6))) == [False] * 3 + [True] * 3
    assert database.count("integrations.webhook_endpoints") == 3


def test_what_is_due_ages_unless_its_endpoint_rests(session: Session):
    endpoint, at = make_endpoint(session), now() + timedelta(minutes=5)
    assert WebhookDelivery.oldest_due_seconds(session, at=at) == 0
    tell(session)
    assert 290 < WebhookDelivery.oldest_due_seconds(session, at=at) < 310
    endpoint.resting_until = at + timedelta(minutes=1)
    session.flush()
    assert WebhookDelivery.oldest_due_seconds(session, at=at) == 0
