import pytest
from sqlalchemy import func, select

from models.errors import SignatureInvalid, WebhookMalformed
from models.notifications import EmailEvent
from tests.integration.notifications.email_events import make_email_event, signature_headers
from tests.integration.notifications.factories import make_contact, payment_succeeded
from workers.notifications.email_webhooks import receive_email_event
from workers.notifications.event_handlers import send_receipt


@pytest.fixture
def report(session, notification_store):
    """Return ``report(kind, email, …)``, which receives a webhook as the provider sends it."""

    def report(kind: str, email: str, *, report_id: str | None = None, **mail) -> None:
        body = make_email_event(kind, email, **mail)
        receive_email_event(
            session, notification_store, body=body, headers=signature_headers(body, report_id=report_id)
        )

    return report


def deliver_mail(harness, **pii) -> tuple:
    """Deliver a mail; returns the delivery's id and the Message-ID."""
    delivery_id = harness.queue(**pii)
    harness.deliver(delivery_id)
    return delivery_id, harness.server.mails[-1]["headers"]["Message-ID"]


@pytest.mark.parametrize(
    ("kind", "permanent", "standing"),
    [
        ("delivered", True, ("delivered", None)),
        ("bounced", True, ("bounced", "permanent")),
        ("bounced", False, ("bounced", "transient")),
        ("complained", True, ("complained", "permanent")),
    ],
)
def test_email_event_updates_delivery_state(harness, report, kind, permanent, standing):
    delivery_id, message_id = deliver_mail(harness)
    report(kind, "ann@example.com", message_id=message_id, permanent=permanent)

    assert harness.state_of(delivery_id) == standing


def test_late_delivered_report_does_not_override_bounce(harness, report):
    delivery_id, message_id = deliver_mail(harness)
    report("bounced", "ann@example.com", message_id=message_id)
    report("delivered", "ann@example.com", message_id=message_id)

    assert harness.state_of(delivery_id) == ("bounced", "permanent")


@pytest.mark.parametrize("kind", ["bounced", "complained"])
def test_bounced_or_complained_address_is_suppressed(session, harness, report, kind):
    report(kind, "Ann@Example.com")
    user_id = make_contact(session)
    harness.handle(send_receipt, payment_succeeded(user_id))
    harness.deliver_enqueued()

    assert harness.server.mails == []
    [mail] = [each for each in harness.notification_store.list_for_user(user_id) if each["channel"] == "email"]
    assert (mail["state"], mail["reason"]) == ("suppressed", kind)
    assert len(harness.inbox(user_id)) == 1


def test_suppression_does_not_affect_other_address(harness, report):
    report("bounced", "old@example.com")
    delivery_id, _ = deliver_mail(harness, email="new@example.com")

    assert harness.state_of(delivery_id) == ("sent", None)


def test_transient_bounce_does_not_suppress_address(harness, report):
    report("bounced", "ann@example.com", permanent=False)
    delivery_id, _ = deliver_mail(harness)

    assert harness.state_of(delivery_id) == ("sent", None)


def test_redelivered_email_event_is_ignored(session, harness, report):
    delivery_id, message_id = deliver_mail(harness)
    report("complained", "ann@example.com", message_id=message_id, report_id="msg_1")
    # A webhook with a known id is a redelivery, whatever it contains.
    report("bounced", "ann@example.com", message_id=message_id, report_id="msg_1")

    assert harness.state_of(delivery_id) == ("complained", "permanent")
    assert session.scalar(select(func.count()).where(EmailEvent.id == "msg_1")) == 1


def test_event_for_unknown_mail_suppresses_address(harness, report):
    report("bounced", "ann@example.com", message_id="<elsewhere@example.org>")
    delivery_id = harness.queue()
    harness.deliver(delivery_id)

    assert harness.state_of(delivery_id) == ("suppressed", "bounced")


def test_unknown_email_event_type_is_ignored(harness, report):
    delivery_id, message_id = deliver_mail(harness)
    report("opened", "ann@example.com", message_id=message_id)

    assert harness.state_of(delivery_id) == ("sent", None)


@pytest.mark.parametrize(
    "headers",
    [
        {"webhook-signature": "v1,AAAA"},
        {"webhook-signature": ""},
        {"webhook-id": "msg_other"},
        {"webhook-id": ""},
        {"webhook-timestamp": "yesterday"},
    ],
    ids=str,
)
def test_email_event_with_invalid_signature_is_rejected(session, notification_store, headers):
    body = make_email_event("bounced", "ann@example.com")
    with pytest.raises(SignatureInvalid):
        receive_email_event(session, notification_store, body=body, headers={**signature_headers(body), **headers})


@pytest.mark.parametrize("age_seconds", [400, -400])
def test_replayed_webhook_is_rejected_after_tolerance(session, notification_store, age_seconds):
    body = make_email_event("bounced", "ann@example.com")
    with pytest.raises(SignatureInvalid):
        receive_email_event(
            session, notification_store, body=body, headers=signature_headers(body, age_seconds=age_seconds)
        )


@pytest.mark.parametrize("body", [b"", b"[]", b'{"type": "email.bounced"}'])
def test_malformed_email_event_is_rejected(session, notification_store, body):
    with pytest.raises(WebhookMalformed):
        receive_email_event(session, notification_store, body=body, headers=signature_headers(body))


@pytest.mark.parametrize("timestamp", ["9" * 400, "9" * 5000, "-1", "1e9", "", "\uff11\uff12\uff13"])
def test_invalid_timestamp_is_rejected(session, notification_store, timestamp: str):
    report = make_email_event("bounced", "ann@example.com")
    headers = {**signature_headers(report), "webhook-timestamp": timestamp}

    with pytest.raises(SignatureInvalid):
        receive_email_event(session, notification_store, body=report, headers=headers)


def test_signature_of_text_that_is_not_utf_8_is_invalid(session, notification_store):
    with pytest.raises(SignatureInvalid):
        receive_email_event(session, notification_store, body=b"\xff", headers=signature_headers(b"\xff"))
