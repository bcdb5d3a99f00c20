"""The webhook sender with real receivers: it keeps up, and a slow receiver delays no other."""

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest

import settings
from core.db import session_factory, utc_now
from models.integrations import Outcome
from models.integrations.deliveries import MAX_IN_FLIGHT_PER_ENDPOINT
from tests.integration.integrations.factories import append_and_schedule, make_endpoint
from tests.support.databases import Database
from tests.support.polling import eventually
from tests.support.receiver import running_receiver
from workers.integrations.webhook_sender import WebhookSender, outcome_label


@pytest.fixture
def webhook_sender(database: Database, monkeypatch) -> Iterator[WebhookSender]:
    monkeypatch.setattr(settings, "WEBHOOK_TIMEOUT_SECONDS", 2)
    monkeypatch.setattr(settings, "WEBHOOK_RETRY_DELAYS_SECONDS", (0, 0, 600))
    webhook_sender = WebhookSender()
    yield webhook_sender
    webhook_sender.stop()
    webhook_sender.join()


def make_endpoints(*urls: str) -> list[str]:
    """Create endpoints at ``urls``; returns their secrets."""
    with session_factory("integrations").begin() as session:
        return [make_endpoint(session, url).secret for url in urls]


def append_events(times: int = 1) -> list[str]:
    with session_factory("integrations").begin() as session:
        return [str(append_and_schedule(session)) for _ in range(times)]


def delivery_statuses(database: Database) -> list[str]:
    return [status for (status,) in database.rows("SELECT DISTINCT status FROM integrations.webhook_deliveries")]


def test_all_endpoints_receive_signed_webhooks(webhook_sender: WebhookSender, database: Database):
    with running_receiver() as ann, running_receiver() as bob:
        ann_secret, bob_secret = make_endpoints(ann.url, bob.url)
        event_ids = append_events(30)
        webhook_sender.wake()
        eventually(lambda: delivery_statuses(database) == ["delivered"], "the last webhook")

        assert sorted(each.webhook_id for each in ann.received) == sorted(event_ids)
        assert all(each.verified(ann_secret) for each in ann.received)
        assert all(each.verified(bob_secret) for each in bob.received)
        assert {each.headers["content-type"] for each in bob.received} == {"application/cloudevents+json"}


def test_retry_keeps_webhook_id(webhook_sender: WebhookSender, database: Database):
    with running_receiver(500, 503) as receiver:
        [secret] = make_endpoints(receiver.url)
        [event_id] = append_events()

        def is_delivered() -> bool:
            webhook_sender.wake()  # as the sweep does
            return delivery_statuses(database) == ["delivered"]

        eventually(is_delivered, "the third attempt")

        assert [each.verified(secret)["id"] for each in receiver.received] == [event_id] * 3
    assert database.value("SELECT attempts FROM integrations.webhook_deliveries") == 3


def test_slow_receiver_does_not_delay_others(webhook_sender: WebhookSender, database: Database, monkeypatch):
    monkeypatch.setattr(settings, "WEBHOOK_TIMEOUT_SECONDS", 60)  # longer than the test
    released = threading.Event()

    def answer_when_released(handler) -> None:
        released.wait(60)
        handler.send_response(204)
        handler.end_headers()

    with running_receiver(*[answer_when_released] * 99) as slow, running_receiver() as quick:
        make_endpoints(slow.url, quick.url)
        append_events(40)
        webhook_sender.wake()
        try:
            eventually(lambda: len(quick.received) == 40, "the last webhook of the fast receiver")
            assert len(slow.received) == MAX_IN_FLIGHT_PER_ENDPOINT  # none of them is answered yet
        finally:
            released.set()


def test_in_flight_webhooks_survive_crash(webhook_sender: WebhookSender, database: Database):
    with running_receiver() as receiver:
        make_endpoints(receiver.url)
        [event_id] = append_events()
        database.execute(
            "UPDATE integrations.webhook_deliveries SET attempts = 1, attempted_at = :at, due_at = :due",
            at=utc_now() - timedelta(seconds=5),
            due=utc_now() + timedelta(seconds=0.3),
        )

        def is_delivered() -> bool:
            webhook_sender.wake()
            return bool(receiver.received)

        eventually(is_delivered, "the second attempt")
        assert receiver.received[0].webhook_id == event_id


def test_stopped_sender_finishes_in_flight_webhooks_only(webhook_sender: WebhookSender, database: Database):
    started, released = threading.Event(), threading.Event()

    def answer(handler) -> None:
        started.set()
        released.wait(5)
        handler.send_response(204)
        handler.end_headers()

    with running_receiver(answer) as receiver:
        make_endpoints(receiver.url)
        append_events()
        webhook_sender.wake()
        assert started.wait(5)
        webhook_sender.stop()
        append_events()
        webhook_sender.wake()
        released.set()
        webhook_sender.join()

        rows = database.rows("SELECT status FROM integrations.webhook_deliveries ORDER BY id")
        assert rows == [("delivered",), ("pending",)]


def test_unreachable_receiver_does_not_delay_others(webhook_sender: WebhookSender, database: Database):
    with running_receiver() as receiver:
        make_endpoints("http://127.0.0.1:9/", "http://127.0.0.1:9/other", receiver.url)
        append_events(20)
        webhook_sender.wake()
        eventually(lambda: len(receiver.received) == 20, "the last webhook")
    assert database.value("SELECT max(failures) FROM integrations.webhook_endpoints") >= 5


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (Outcome(status_code=204, error=None, duration_ms=5), "delivered"),
        (Outcome(status_code=418, error="status_418", duration_ms=5), "status_4xx"),
        (Outcome(status_code=None, error="timeout", duration_ms=5), "timeout"),
    ],
)
def test_outcome_labels(outcome: Outcome, kind: str):
    assert outcome_label(outcome) == kind
