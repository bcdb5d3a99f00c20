from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import select

from core.bus.outbox import OutboxEvent
from core.db import new_id, utc_now
from core.log import bind_context
from models.events import UserUpdated
from models.notifications import DeliveryOutcome, DeliveryState
from tests.integration.notifications.factories import (
    certificate_issued,
    make_contact,
    make_person,
    payment_succeeded,
    user_created,
)
from tests.support.tasks import Killed
from workers.notifications.channels import mime
from workers.notifications.channels.email import MAX_ATTEMPTS
from workers.notifications.contacts import update_contact
from workers.notifications.delivery import LEASE, backoff
from workers.notifications.event_handlers import send_certificate, send_receipt, send_welcome

SWEEP_MARGIN = timedelta(seconds=10)  # longer than the sweep leaves a delivery to its hint


def test_delivery_is_sent_and_publishes_event(harness):
    delivery_id = harness.queue()
    harness.deliver(delivery_id)

    assert harness.state_of(delivery_id) == ("sent", None)
    assert harness.published_events() == [("NOTIFICATION_SENT", 1)]
    assert len(harness.server.mails) == 1


def test_repeated_delivery_task_sends_once(harness):
    delivery_id = harness.queue()
    for _ in range(2):
        harness.deliver(delivery_id)

    assert harness.published_events() == [("NOTIFICATION_SENT", 1)]
    assert len(harness.server.mails) == 1


def test_delivery_is_claimed_by_one_worker(harness):
    delivery_id = harness.queue()
    claims = [harness.notification_store.claim(delivery_id, at=utc_now(), until=utc_now() + LEASE) for _ in range(2)]

    assert [claim is not None for claim in claims] == [True, False]


def test_delivery_events_of_user_are_numbered_in_order(session, harness):
    user_id = make_contact(session)
    harness.handle(send_certificate, certificate_issued(user_id))
    harness.handle(send_receipt, payment_succeeded(user_id))
    harness.deliver_enqueued()

    assert harness.published_events() == [("NOTIFICATION_SENT", 1), ("NOTIFICATION_SENT", 2)]


def test_crash_after_smtp_accept_resends_same_id_after_lease(harness, clock):
    delivery_id = harness.queue()
    with pytest.raises(Killed):
        harness.deliver(delivery_id, mailer=harness.crashing_mailer)

    clock.advance(LEASE - timedelta(seconds=1))
    assert harness.sweep() == 0
    clock.advance(SWEEP_MARGIN)
    assert harness.sweep() == 1

    first, second = (mail["headers"]["Message-ID"] for mail in harness.server.mails)
    assert first == second == f"<{delivery_id}@coursebus.dev>"
    assert harness.state_of(delivery_id) == ("sent", None)
    assert harness.published_events() == [("NOTIFICATION_SENT", 1)]


def test_crash_after_publishing_event_does_not_resend(harness, clock, monkeypatch):
    def die(*_, **__) -> None:
        raise Killed

    delivery_id = harness.queue()
    with monkeypatch.context() as crashing:
        crashing.setattr(harness.notification_store, "finish", die)
        with pytest.raises(Killed):
            harness.deliver(delivery_id)
    clock.advance(LEASE + SWEEP_MARGIN)

    assert harness.sweep() == 1
    assert harness.state_of(delivery_id) == ("sent", None)
    assert harness.published_events() == [("NOTIFICATION_SENT", 1)]
    assert len(harness.server.mails) == 1


def test_late_outcome_does_not_override_new_claim(harness, clock):
    delivery_id = harness.queue()
    slow = harness.notification_store.claim(delivery_id, at=clock.now(), until=clock.now() + LEASE)
    clock.advance(LEASE + SWEEP_MARGIN)
    successor = harness.notification_store.claim(delivery_id, at=clock.now(), until=clock.now() + LEASE)
    harness.notification_store.finish(successor, DeliveryOutcome(DeliveryState.SENT), at=clock.now())
    harness.notification_store.finish(slow, DeliveryOutcome(DeliveryState.FAILED, "smtp_550"), at=clock.now())

    assert harness.state_of(delivery_id) == ("sent", None)


def test_lost_smtp_response_delays_resend_until_lease_end(harness, clock):
    delivery_id = harness.queue()
    harness.deliver(delivery_id, mailer=harness.disconnecting_mailer)
    assert harness.state_of(delivery_id) == ("sending", "response_lost")

    clock.advance(LEASE - timedelta(seconds=1))
    assert harness.sweep() == 0
    clock.advance(SWEEP_MARGIN)
    assert harness.sweep() == 1
    assert len({mail["headers"]["Message-ID"] for mail in harness.server.mails}) == 1


def test_sweep_sends_queued_delivery_after_smtp_outage(harness, clock):
    delivery_id = harness.queue()
    harness.server.stop()
    harness.deliver(delivery_id)
    assert harness.state_of(delivery_id) == ("queued", "not_accepted")
    assert harness.sweep() == 0  # its backoff is not over

    harness.server.start()
    clock.advance(backoff(1) + SWEEP_MARGIN)
    assert harness.sweep() == 1
    assert harness.state_of(delivery_id) == ("sent", None)
    assert harness.published_events() == [("NOTIFICATION_SENT", 1)]


def test_sweep_sends_delivery_after_lost_hint(harness, clock):
    delivery_id = harness.queue()
    assert harness.sweep() == 0  # its hint may still be in the queue

    clock.advance(SWEEP_MARGIN)
    assert harness.sweep() == 1
    assert harness.state_of(delivery_id) == ("sent", None)


def test_backoff_grows_up_to_one_hour():
    assert [backoff(attempts).total_seconds() for attempts in (1, 2, 3, 9, MAX_ATTEMPTS)] == [15, 30, 60, 3600, 3600]


def test_permanent_recipient_error_fails_with_reason(harness, clock):
    delivery_id = harness.queue()
    harness.server.recipient_response = "550 5.1.1 <ann@example.com> does not live here"
    harness.deliver(delivery_id)

    assert harness.state_of(delivery_id) == ("failed", "smtp_550")
    assert harness.published_events() == [("NOTIFICATION_FAILED", 1)]
    clock.advance(timedelta(days=1))
    assert harness.sweep() == 0


def test_transient_recipient_error_is_retried(harness, clock):
    delivery_id = harness.queue()
    harness.server.recipient_response = "451 4.7.1 come back later"
    harness.deliver(delivery_id)
    assert harness.state_of(delivery_id) == ("queued", "smtp_451")

    harness.server.recipient_response = "250 OK"
    clock.advance(timedelta(minutes=1))
    harness.sweep()
    assert harness.state_of(delivery_id) == ("sent", None)


def test_delivery_fails_after_max_attempts_and_publishes_event(harness, clock):
    delivery_id = harness.queue()
    harness.server.stop()
    for _ in range(MAX_ATTEMPTS + 1):
        clock.advance(timedelta(hours=2))
        harness.sweep()

    assert harness.state_of(delivery_id) == ("failed", "attempts_exhausted")
    assert harness.published_events() == [("NOTIFICATION_FAILED", 1)]


def test_user_without_address_is_skipped_with_reason(harness):
    delivery_id = harness.queue(email=None)
    harness.deliver(delivery_id)

    assert harness.state_of(delivery_id) == ("skipped", "no_address")
    assert harness.server.mails == harness.published_events() == []


@pytest.mark.parametrize("email", ["invalid", "two@example.com, three@example.com", "a@b\r\nBcc: eve@example.com", "@"])
def test_invalid_address_fails_without_smtp(harness, email):
    delivery_id = harness.queue(email=email)
    harness.deliver(delivery_id)

    assert harness.state_of(delivery_id) == ("failed", "address_invalid")
    assert harness.server.mails == []


def test_address_is_read_at_send_time(session, harness):
    user_id = make_contact(session, email="old@example.com")
    harness.handle(send_certificate, certificate_issued(user_id))
    changed = make_person(email="new@example.com")
    update_contact(session, event=UserUpdated(user_id=user_id, version=2, pii=changed, updated_at=utc_now()))
    harness.deliver_enqueued()

    assert [mail["to"] for mail in harness.server.mails] == [["new@example.com"]]


def test_international_domain_is_sent_as_ascii(harness):
    delivery_id = harness.queue(email="ann@bücher.example")
    harness.deliver(delivery_id)

    assert harness.state_of(delivery_id) == ("sent", None)
    assert [mail["to"] for mail in harness.server.mails] == [["ann@xn--bcher-kva.example"]]


def test_non_ascii_local_part_uses_smtputf8(harness):
    delivery_id = harness.queue(email="jürgen@bücher.example")
    harness.deliver(delivery_id)

    assert harness.state_of(delivery_id) == ("sent", None)
    assert [mail["to"] for mail in harness.server.mails] == [["jürgen@xn--bcher-kva.example"]]
    assert "<jürgen@xn--bcher-kva.example>".encode() in harness.server.raw()


def test_fake_smtp_server_stores_raw_message(harness):
    harness.deliver(harness.queue())

    assert harness.server.raw().startswith(b"Message-ID: <")
    assert b"\r\nList-Unsubscribe: <http" in harness.server.raw()


def test_malformed_message_is_not_sent(harness, monkeypatch):
    delivery_id = harness.queue()
    monkeypatch.setattr(mime, "unstructured", lambda _name, text: f"{text}\r\nBcc: eve@example.com")
    harness.deliver(delivery_id)

    assert harness.state_of(delivery_id) == ("failed", "malformed")
    assert harness.server.mails == []


def test_unverified_address_gets_welcome_without_user_text(session, harness):
    user_id = new_id()
    stranger = make_person(email_verified=False, name="Your card was charged, call 555")
    harness.handle(send_welcome, user_created(user_id, pii=stranger))
    harness.handle(send_receipt, payment_succeeded(user_id))
    harness.handle(send_certificate, certificate_issued(user_id))
    harness.deliver_enqueued()

    [mail] = harness.server.mails
    assert mail["subject"] == "Welcome to Coursebus"
    assert mail["text"].startswith("Hello,")
    assert b"555" not in harness.server.raw()
    mailed = [
        (each["state"], each["reason"])
        for each in harness.notification_store.list_for_user(user_id)
        if each["channel"] == "email"
    ]
    assert mailed == [("sent", None), *[("skipped", "email_unverified")] * 2]
    assert len(harness.inbox(user_id)) == 3


def test_verified_address_receives_mail(session, harness):
    user_id = make_contact(session, email_verified=False)
    verified = make_person(email_verified=True)
    update_contact(session, event=UserUpdated(user_id=user_id, version=2, pii=verified, updated_at=utc_now()))
    harness.handle(send_receipt, payment_succeeded(user_id))
    harness.deliver_enqueued()

    assert len(harness.server.mails) == 1


def test_delivery_event_keeps_causation_of_original_event(session, harness):
    """The sender may be the task that the handler enqueued or a later sweep."""
    cause = {"request_id": "f" * 32, "traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "causation_id": str(uuid4())}
    user_id = make_contact(session)
    with bind_context(**cause):
        harness.handle(send_receipt, payment_succeeded(user_id))
    with bind_context(request_id="of the sweeper", causation_id="of the sweeper"):
        harness.deliver_enqueued()

    sent = select(OutboxEvent.headers).where(
        OutboxEvent.type == "NOTIFICATION_SENT", OutboxEvent.aggregateid == str(user_id)
    )
    assert session.scalars(sent).all() == [cause]
