from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import select

from models.base import new_id, now
from models.events import UserUpdated
from models.log import bound
from models.notifications import Outcome, State
from models.outbox import OutboxEvent
from tests.notifications.conftest import Killed
from tests.notifications.factories import certificate_issued, make_contact, make_person, payment_succeeded, user_created
from workers.notifications import mime
from workers.notifications.contacts import keep_contact
from workers.notifications.delivery import LEASE, MAX_ATTEMPTS, wait_after
from workers.notifications.messages import send_certificate, send_receipt, welcome_user

A_MOMENT = timedelta(seconds=10)  # above what the sweeper leaves to the poke


def test_a_delivery_is_sent_told_and_over(post):
    delivery_id = post.queue()
    post.deliver(delivery_id)

    assert post.standing(delivery_id) == ("sent", None)
    assert post.told() == [("NOTIFICATION_SENT", 1)]
    assert len(post.server.mails) == 1


def test_a_delivery_started_twice_is_sent_once(post):
    delivery_id = post.queue()
    for _ in range(2):
        post.deliver(delivery_id)

    assert post.told() == [("NOTIFICATION_SENT", 1)]
    assert len(post.server.mails) == 1


def test_only_one_of_two_workers_gets_a_delivery(post):
    delivery_id = post.queue()
    claims = [post.history.claim(delivery_id, at=now(), until=now() + LEASE) for _ in range(2)]

    assert [claim is not None for claim in claims] == [True, False]


def test_the_deliveries_to_a_user_are_told_in_order(session, post):
    user_id = make_contact(session)
    post.handle(send_certificate, certificate_issued(user_id))
    post.handle(send_receipt, payment_succeeded(user_id))
    post.deliver_poked()

    assert post.told() == [("NOTIFICATION_SENT", 1), ("NOTIFICATION_SENT", 2)]


def test_a_worker_killed_after_the_server_took_the_mail_sends_the_same_message_after_the_lease_and_not_earlier(
    post, clock
):
    delivery_id = post.queue()
    with pytest.raises(Killed):
        post.deliver(delivery_id, mailer=post.dying_mailer)

    clock.advance(LEASE - timedelta(seconds=1))
    assert post.sweep() == 0
    clock.advance(A_MOMENT)
    assert post.sweep() == 1

    first, second = (mail["headers"]["Message-ID"] for mail in post.server.mails)
    assert first == second == f"<{delivery_id}@coursebus.dev>"
    assert post.standing(delivery_id) == ("sent", None)
    assert post.told() == [("NOTIFICATION_SENT", 1)]


def test_a_worker_killed_after_telling_leaves_nothing_to_send(post, clock, monkeypatch):
    def die(*_, **__) -> None:
        raise Killed

    delivery_id = post.queue()
    with monkeypatch.context() as dying:
        dying.setattr(post.history, "end", die)
        with pytest.raises(Killed):
            post.deliver(delivery_id)
    clock.advance(LEASE + A_MOMENT)

    assert post.sweep() == 1
    assert post.standing(delivery_id) == ("sent", None)
    assert post.told() == [("NOTIFICATION_SENT", 1)]
    assert len(post.server.mails) == 1


def test_a_worker_that_was_thought_dead_does_not_undo_its_successors_work(post, clock):
    delivery_id = post.queue()
    slow = post.history.claim(delivery_id, at=clock.now(), until=clock.now() + LEASE)
    clock.advance(LEASE + A_MOMENT)
    successor = post.history.claim(delivery_id, at=clock.now(), until=clock.now() + LEASE)
    post.history.end(successor, Outcome(State.SENT), at=clock.now())
    post.history.end(slow, Outcome(State.FAILED, "smtp_550"), at=clock.now())

    assert post.standing(delivery_id) == ("sent", None)


def test_an_answer_that_was_lost_is_waited_for_before_the_message_is_sent_again(post, clock):
    delivery_id = post.queue()
    post.deliver(delivery_id, mailer=post.deaf_mailer)
    assert post.standing(delivery_id) == ("sending", "answer_lost")

    clock.advance(LEASE - timedelta(seconds=1))
    assert post.sweep() == 0
    clock.advance(A_MOMENT)
    assert post.sweep() == 1
    assert len({mail["headers"]["Message-ID"] for mail in post.server.mails}) == 1


def test_while_the_mail_server_is_down_a_delivery_stays_queued_and_the_sweeper_sends_it_later(post, clock):
    delivery_id = post.queue()
    post.server.stop()
    post.deliver(delivery_id)
    assert post.standing(delivery_id) == ("queued", "not_taken")
    assert post.sweep() == 0  # its wait is not over

    post.server.start()
    clock.advance(wait_after(1) + A_MOMENT)
    assert post.sweep() == 1
    assert post.standing(delivery_id) == ("sent", None)
    assert post.told() == [("NOTIFICATION_SENT", 1)]


def test_the_sweeper_takes_up_a_delivery_whose_poke_was_lost(post, clock):
    delivery_id = post.queue()
    assert post.sweep() == 0  # the poke may still come

    clock.advance(A_MOMENT)
    assert post.sweep() == 1
    assert post.standing(delivery_id) == ("sent", None)


def test_the_waits_grow_up_to_an_hour():
    assert [wait_after(attempts).total_seconds() for attempts in (1, 2, 3, 9, MAX_ATTEMPTS)] == [15, 30, 60, 3600, 3600]


def test_a_recipient_refused_for_good_fails_with_its_reason(post, clock):
    delivery_id = post.queue()
    post.server.answer_to_recipient = "550 5.1.1 <ann@example.com> does not live here"
    post.deliver(delivery_id)

    assert post.standing(delivery_id) == ("failed", "smtp_550")
    assert post.told() == [("NOTIFICATION_FAILED", 1)]
    clock.advance(timedelta(days=1))
    assert post.sweep() == 0


def test_a_recipient_refused_for_now_is_tried_again(post, clock):
    delivery_id = post.queue()
    post.server.answer_to_recipient = "451 4.7.1 come back later"
    post.deliver(delivery_id)
    assert post.standing(delivery_id) == ("queued", "smtp_451")

    post.server.answer_to_recipient = "250 OK"
    clock.advance(timedelta(minutes=1))
    post.sweep()
    assert post.standing(delivery_id) == ("sent", None)


def test_a_delivery_that_never_succeeds_is_given_up_and_told(post, clock):
    delivery_id = post.queue()
    post.server.stop()
    for _ in range(MAX_ATTEMPTS + 1):
        clock.advance(timedelta(hours=2))
        post.sweep()

    assert post.standing(delivery_id) == ("failed", "given_up")
    assert post.told() == [("NOTIFICATION_FAILED", 1)]


def test_someone_without_an_address_is_skipped_and_the_reason_kept(post):
    delivery_id = post.queue(email=None)
    post.deliver(delivery_id)

    assert post.standing(delivery_id) == ("skipped", "no_address")
    assert post.server.mails == post.told() == []


@pytest.mark.parametrize("email", ["nobody", "two@example.com, three@example.com", "a@b\r\nBcc: eve@example.com", "@"])
def test_an_address_that_is_none_fails_and_reaches_no_server(post, email):
    delivery_id = post.queue(email=email)
    post.deliver(delivery_id)

    assert post.standing(delivery_id) == ("failed", "address_invalid")
    assert post.server.mails == []


def test_the_address_is_the_one_at_the_time_of_sending(session, post):
    user_id = make_contact(session, email="old@example.com")
    post.handle(send_certificate, certificate_issued(user_id))
    moved = make_person(email="new@example.com")
    keep_contact(session, event=UserUpdated(user_id=user_id, version=2, pii=moved, updated_at=now()))
    post.deliver_poked()

    assert [mail["to"] for mail in post.server.mails] == [["new@example.com"]]


def test_an_international_domain_is_sent_to_in_its_ascii_form(post):
    delivery_id = post.queue(email="ann@bücher.example")
    post.deliver(delivery_id)

    assert post.standing(delivery_id) == ("sent", None)
    assert [mail["to"] for mail in post.server.mails] == [["ann@xn--bcher-kva.example"]]


def test_a_local_part_beyond_ascii_is_sent_by_smtputf8(post):
    delivery_id = post.queue(email="jürgen@bücher.example")
    post.deliver(delivery_id)

    assert post.standing(delivery_id) == ("sent", None)
    assert [mail["to"] for mail in post.server.mails] == [["jürgen@xn--bcher-kva.example"]]
    assert "<jürgen@xn--bcher-kva.example>".encode() in post.server.raw()


def test_the_sink_keeps_a_mail_as_it_came_by_smtp(post):
    post.deliver(post.queue())

    assert post.server.raw().startswith(b"Message-ID: <")
    assert b"\r\nList-Unsubscribe: <http" in post.server.raw()


def test_a_malformed_message_is_not_sent(post, monkeypatch):
    delivery_id = post.queue()
    monkeypatch.setattr(mime, "unstructured", lambda _name, text: f"{text}\r\nBcc: eve@example.com")
    post.deliver(delivery_id)

    assert post.standing(delivery_id) == ("failed", "malformed")
    assert post.server.mails == []


def test_unverified_address_gets_the_welcome_alone_and_no_text_of_its_user(session, post):
    user_id = new_id()
    stranger = make_person(email_verified=False, name="Your card was charged, call 555")
    post.handle(welcome_user, user_created(user_id, pii=stranger))
    post.handle(send_receipt, payment_succeeded(user_id))
    post.handle(send_certificate, certificate_issued(user_id))
    post.deliver_poked()

    [mail] = post.server.mails
    assert mail["subject"] == "Welcome to Coursebus"
    assert mail["text"].startswith("Hello,")
    assert b"555" not in post.server.raw()
    mailed = [(each["state"], each["reason"]) for each in post.history.told_to(user_id) if each["channel"] == "email"]
    assert mailed == [("sent", None), *[("skipped", "email_unverified")] * 2]
    assert len(post.feed(user_id)) == 3


def test_address_is_written_to_once_it_is_verified(session, post):
    user_id = make_contact(session, email_verified=False)
    verified = make_person(email_verified=True)
    keep_contact(session, event=UserUpdated(user_id=user_id, version=2, pii=verified, updated_at=now()))
    post.handle(send_receipt, payment_succeeded(user_id))
    post.deliver_poked()

    assert len(post.server.mails) == 1


def test_the_end_of_a_delivery_follows_from_its_event(session, post):
    """Whoever sends it: a task that the handler poked, or the sweeper an hour later."""
    cause = {"request_id": "f" * 32, "traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "causation_id": str(uuid4())}
    user_id = make_contact(session)
    with bound(**cause):
        post.handle(send_receipt, payment_succeeded(user_id))
    with bound(request_id="of the sweeper", causation_id="of the sweeper"):
        post.deliver_poked()

    sent = select(OutboxEvent.headers).where(OutboxEvent.type == "NOTIFICATION_SENT")
    assert session.scalars(sent).all() == [cause]
