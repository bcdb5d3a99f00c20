"""The courier, with real receivers: it keeps up, and no receiver holds up another."""

import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

import settings
from models.base import now, sessions
from models.integrations import Outcome
from tests.integrations.factories import make_endpoint, tell
from tests.support.databases import Database
from tests.support.receiver import receiving
from tests.support.waiting import eventually
from workers.integrations.courier import Courier, kind_of


@pytest.fixture
def courier(database: Database, monkeypatch) -> Iterator[Courier]:
    monkeypatch.setattr(settings, "WEBHOOK_TIMEOUT_SECONDS", 2)
    monkeypatch.setattr(settings, "WEBHOOK_RETRIES_SECONDS", (0, 0, 600))
    courier = Courier()
    yield courier
    courier.stop()
    courier.join()


def listen(*urls: str) -> list[str]:
    """Endpoints at ``urls``; returns their secrets."""
    with sessions("integrations").begin() as session:
        return [make_endpoint(session, url).secret for url in urls]


def happen(times: int = 1) -> list[str]:
    with sessions("integrations").begin() as session:
        return [str(tell(session)) for _ in range(times)]


def statuses(database: Database) -> list[str]:
    return [status for (status,) in database.rows("SELECT DISTINCT status FROM integrations.webhook_deliveries")]


def test_everybody_is_told_everything_with_a_signature(courier: Courier, database: Database):
    with receiving() as ann, receiving() as bob:
        ann_secret, bob_secret = listen(ann.url, bob.url)
        told = happen(30)
        courier.wake()
        eventually(lambda: statuses(database) == ["delivered"], "the last webhook")

        assert sorted(each.webhook_id for each in ann.received) == sorted(told)
        assert all(each.verified(ann_secret) for each in ann.received)
        assert all(each.verified(bob_secret) for each in bob.received)
        assert {each.headers["content-type"] for each in bob.received} == {"application/cloudevents+json"}


def test_a_receiver_that_stumbles_is_told_again_with_the_same_id(courier: Courier, database: Database):
    with receiving(500, 503) as receiver:
        [secret] = listen(receiver.url)
        [told] = happen()

        def taken() -> bool:
            courier.wake()  # as the sweep does
            return statuses(database) == ["delivered"]

        eventually(taken, "the third attempt")

        assert [each.verified(secret)["id"] for each in receiver.received] == [told] * 3
    assert database.value("SELECT attempts FROM integrations.webhook_deliveries") == 3


def test_a_slow_receiver_holds_up_nobody(courier: Courier, database: Database):
    released = threading.Event()

    def sleep(handler) -> None:
        released.wait(10)
        handler.send_response(204)
        handler.end_headers()

    with receiving(*[sleep] * 99) as slow, receiving() as quick:
        listen(slow.url, quick.url)
        happen(40)
        courier.wake()
        eventually(lambda: len(quick.received) == 40, "the quick one's last", seconds=1.9)
        assert len(slow.received) == 4
        released.set()


def test_what_a_killed_courier_had_in_hand_is_sent_by_the_next(courier: Courier, database: Database):
    with receiving() as receiver:
        listen(receiver.url)
        [told] = happen()
        database.execute(
            "UPDATE integrations.webhook_deliveries SET attempts = 1, attempted_at = :at, due_at = :due",
            at=now() - timedelta(seconds=5),
            due=now() + timedelta(seconds=0.3),
        )

        def taken() -> bool:
            courier.wake()
            return bool(receiver.received)

        eventually(taken, "the second attempt")
        assert receiver.received[0].webhook_id == told


def test_a_stopped_courier_begins_nothing_and_ends_what_it_has_begun(courier: Courier, database: Database):
    begun, go_on = threading.Event(), threading.Event()

    def answer(handler) -> None:
        begun.set()
        go_on.wait(5)
        handler.send_response(204)
        handler.end_headers()

    with receiving(answer) as receiver:
        listen(receiver.url)
        happen()
        courier.wake()
        assert begun.wait(5)
        courier.stop()
        happen()
        courier.wake()
        go_on.set()
        courier.join()

        rows = database.rows("SELECT status FROM integrations.webhook_deliveries ORDER BY id")
        assert rows == [("delivered",), ("pending",)]


def test_a_dead_receiver_costs_the_others_nothing(courier: Courier, database: Database):
    with receiving() as receiver:
        listen("http://127.0.0.1:9/", "http://127.0.0.1:9/other", receiver.url)
        happen(20)
        began = time.monotonic()
        courier.wake()
        eventually(lambda: len(receiver.received) == 20, "the last webhook")
        assert time.monotonic() - began < 3
    assert database.value("SELECT max(failures) FROM integrations.webhook_endpoints") >= 5


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (Outcome(status_code=204, error=None, duration_ms=5), "delivered"),
        (Outcome(status_code=418, error="status_418", duration_ms=5), "status_4xx"),
        (Outcome(status_code=None, error="timeout", duration_ms=5), "timeout"),
    ],
)
def test_an_attempt_is_counted_by_how_it_ended(outcome: Outcome, kind: str):
    assert kind_of(outcome) == kind
