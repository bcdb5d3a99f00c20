import pytest
from sqlalchemy import func, select

from models.errors import HookUnreadable, SignatureInvalid
from models.notifications import MailReport
from tests.notifications.factories import make_contact, payment_succeeded
from tests.notifications.reporting import make_report, signed
from workers.notifications.messages import send_receipt
from workers.notifications.reports import receive_mail_report


@pytest.fixture
def report(session, history):
    """``report(kind, email, …)`` as the provider sends it."""

    def report(kind: str, email: str, *, report_id: str | None = None, **mail) -> None:
        body = make_report(kind, email, **mail)
        receive_mail_report(session, history, body=body, headers=signed(body, report_id=report_id))

    return report


def sent(post, **pii) -> tuple:
    """A mail that the server took: its delivery's id, its Message-ID."""
    delivery_id = post.queue(**pii)
    post.deliver(delivery_id)
    return delivery_id, post.server.mails[-1]["headers"]["Message-ID"]


@pytest.mark.parametrize(
    ("kind", "permanent", "standing"),
    [
        ("delivered", True, ("delivered", None)),
        ("bounced", True, ("bounced", "permanent")),
        ("bounced", False, ("bounced", "transient")),
        ("complained", True, ("complained", "permanent")),
    ],
)
def test_a_report_says_what_became_of_a_mail(post, report, kind, permanent, standing):
    delivery_id, message_id = sent(post)
    report(kind, "ann@example.com", message_id=message_id, permanent=permanent)

    assert post.standing(delivery_id) == standing


def test_good_news_that_come_late_do_not_cover_bad_ones(post, report):
    delivery_id, message_id = sent(post)
    report("bounced", "ann@example.com", message_id=message_id)
    report("delivered", "ann@example.com", message_id=message_id)

    assert post.standing(delivery_id) == ("bounced", "permanent")


@pytest.mark.parametrize("kind", ["bounced", "complained"])
def test_an_address_that_bounced_or_complained_gets_nothing_more_receipts_included(session, post, report, kind):
    report(kind, "Ann@Example.com")
    user_id = make_contact(session)
    post.handle(send_receipt, payment_succeeded(user_id))
    post.deliver_poked()

    assert post.server.mails == []
    [mail] = [told for told in post.history.told_to(user_id) if told["channel"] == "email"]
    assert (mail["state"], mail["reason"]) == ("suppressed", kind)
    assert len(post.feed(user_id)) == 1


def test_another_address_of_the_same_person_is_written_to(post, report):
    report("bounced", "old@example.com")
    delivery_id, _ = sent(post, email="new@example.com")

    assert post.standing(delivery_id) == ("sent", None)


def test_a_full_mailbox_is_written_to_again(post, report):
    report("bounced", "ann@example.com", permanent=False)
    delivery_id, _ = sent(post)

    assert post.standing(delivery_id) == ("sent", None)


def test_a_report_delivered_twice_is_taken_once(session, post, report):
    delivery_id, message_id = sent(post)
    report("complained", "ann@example.com", message_id=message_id, report_id="msg_1")
    # What is said under the id of another report is not listened to.
    report("bounced", "ann@example.com", message_id=message_id, report_id="msg_1")

    assert post.standing(delivery_id) == ("complained", "permanent")
    assert session.scalar(select(func.count()).where(MailReport.id == "msg_1")) == 1


def test_a_report_of_a_mail_that_is_none_of_ours_still_suppresses(post, report):
    report("bounced", "ann@example.com", message_id="<elsewhere@example.org>")
    delivery_id = post.queue()
    post.deliver(delivery_id)

    assert post.standing(delivery_id) == ("suppressed", "bounced")


def test_a_kind_of_report_that_we_do_not_know_is_taken_and_changes_nothing(post, report):
    delivery_id, message_id = sent(post)
    report("opened", "ann@example.com", message_id=message_id)

    assert post.standing(delivery_id) == ("sent", None)


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
def test_a_report_that_is_not_signed_is_refused(session, history, headers):
    body = make_report("bounced", "ann@example.com")
    with pytest.raises(SignatureInvalid):
        receive_mail_report(session, history, body=body, headers={**signed(body), **headers})


@pytest.mark.parametrize("age_seconds", [400, -400])
def test_a_report_that_was_overheard_is_refused_when_it_is_told_again_later(session, history, age_seconds):
    body = make_report("bounced", "ann@example.com")
    with pytest.raises(SignatureInvalid):
        receive_mail_report(session, history, body=body, headers=signed(body, age_seconds=age_seconds))


@pytest.mark.parametrize("body", [b"", b"[]", b'{"type": "email.bounced"}', b"\xff"])
def test_a_report_that_cannot_be_read_is_refused(session, history, body):
    with pytest.raises(HookUnreadable):
        receive_mail_report(session, history, body=body, headers=signed(body))


@pytest.mark.parametrize("timestamp", ["9" * 400, "9" * 5000, "-1", "1e9", "", "\uff11\uff12\uff13"])
def test_a_timestamp_that_is_none_is_refused(session, history, timestamp: str):
    report = make_report("bounced", "ann@example.com")
    headers = {**signed(report), "webhook-timestamp": timestamp}

    with pytest.raises(SignatureInvalid):
        receive_mail_report(session, history, body=report, headers=headers)
