from datetime import timedelta

import pytest

from models.base import now
from models.errors import CheckoutOutcomeUnknown, NotFound, PaymentRefused, ProviderOutcomeUnknown
from models.payments import Attempt, Order
from tests.payments.shop import make_offer
from workers.payments.sync import sync_attempt, sync_attempts


@pytest.fixture
def course_id(session):
    return make_offer(session)


@pytest.fixture
def checkout(shop, course_id):
    return shop.checkout(course_id)


@pytest.fixture
def unseen(shop, course_id):
    """The attempt of a checkout whose page was opened while its answer was lost."""
    return lose(shop, course_id, "drop_response_after_commit")


@pytest.fixture
def unheard(shop, course_id):
    """The attempt of a checkout that never reached the provider."""
    return lose(shop, course_id, "error_500")


def lose(shop, course_id, fault) -> Attempt:
    shop.standin.faults(**{fault: 3})
    with pytest.raises(CheckoutOutcomeUnknown) as unknown:
        shop.checkout(course_id)
    [attempt] = Order.locked(shop.session, unknown.value.args[0]).attempts
    return attempt


def age(attempt: Attempt, **ago) -> None:
    attempt.created_at -= timedelta(**ago)
    attempt.expires_at -= timedelta(**ago)


def test_the_return_page_finds_the_payment_without_any_webhook(shop, checkout):
    shop.pay(checkout)
    order = shop.come_back(checkout)
    assert (order["id"], order["status"]) == (checkout["order_id"], "paid")
    shop.hear_completed(checkout)
    assert shop.told(checkout) == ["ORDER_CREATED", "PAYMENT_SUCCEEDED", "COURSE_PURCHASED"]


def test_the_return_page_believes_nobody_who_has_not_paid(shop, checkout):
    assert shop.come_back(checkout)["status"] == "pending"


def test_anothers_checkout_is_not_found(shop, checkout):
    with pytest.raises(NotFound):
        shop.come_back(checkout, user_id=checkout["id"])
    with pytest.raises(NotFound):
        shop.come_back({"id": shop.buyer})


def test_a_settled_checkout_is_shown_without_asking(shop, checkout):
    shop.pay(checkout)
    shop.come_back(checkout)
    shop.standin.faults(error_500=3)
    assert shop.come_back(checkout)["status"] == "paid"


def test_a_lost_page_is_found_by_the_same_key(shop, unseen):
    sync_attempt(shop.sessions, shop.providers, attempt_id=unseen.id)
    assert (unseen.status, unseen.page_open) == ("requires_action", True)


def test_a_payment_on_a_lost_page_is_found_without_any_webhook(shop, unseen):
    shop.standin.pay(shop.pages()[0]["id"], "succeed")
    sync_attempt(shop.sessions, shop.providers, attempt_id=unseen.id)
    assert unseen.status == "succeeded"


def test_a_page_that_was_never_opened_is_opened_by_the_same_key(shop, unheard):
    sync_attempt(shop.sessions, shop.providers, attempt_id=unheard.id)
    assert (unheard.status, unheard.page_open) == ("requires_action", True)


def test_a_page_is_looked_for_where_the_key_only_repeats_an_error(shop, unseen):
    shop.standin.faults(error_500=3)
    sync_attempt(shop.sessions, shop.providers, attempt_id=unseen.id)
    assert unseen.status == "requires_action"


def test_what_is_still_unclear_stays_unknown(shop, unheard):
    shop.standin.faults(error_500=3)
    with pytest.raises(ProviderOutcomeUnknown):
        sync_attempt(shop.sessions, shop.providers, attempt_id=unheard.id)
    assert unheard.status == "unknown"


def test_a_payment_on_a_lost_page_is_found_by_its_webhook(shop, unseen):
    page_id = shop.pages()[0]["id"]
    shop.standin.pay(page_id, "succeed")
    shop.hear(page_id, "checkout.session.completed")
    assert (unseen.status, unseen.page_id) == ("succeeded", page_id)


def test_a_page_whose_key_is_too_old_is_found_in_the_list(shop, unseen):
    age(unseen, hours=23, minutes=1)
    unseen.expires_at = now()  # the stand-in's page is younger than its attempt now says
    [page, *_] = before = shop.pages()
    sync_attempt(shop.sessions, shop.providers, attempt_id=unseen.id)
    assert (unseen.status, unseen.page_id) == ("requires_action", page["id"])
    assert shop.pages() == before


def test_a_page_that_is_in_no_list_when_the_key_is_too_old_was_never_opened(shop, unheard):
    age(unheard, hours=23, minutes=1)
    sync_attempt(shop.sessions, shop.providers, attempt_id=unheard.id)
    order = Order.locked(shop.session, unheard.order_id)
    assert (unheard.status, order.status) == ("expired", "expired")


def test_a_refusal_met_by_the_sync_ends_the_attempt(shop, unheard):
    age(unheard, hours=22, minutes=45)  # the page would be open for less than Stripe allows
    with pytest.raises(PaymentRefused):
        sync_attempt(shop.sessions, shop.providers, attempt_id=unheard.id)
    assert unheard.status == "failed"
    sync_attempt(shop.sessions, shop.providers, attempt_id=unheard.id)  # nobody is asked any more
    assert unheard.status == "failed"


def test_the_job_asks_about_what_is_due_and_puts_it_off(shop, session, checkout):
    attempt = shop.attempt(checkout)
    hint = ("payments.sync_attempt", {"attempt_id": attempt.id})
    sync_attempts(session, shop.poke)
    assert hint not in shop.poked
    attempt.next_sync_at = now()
    for _ in range(2):
        sync_attempts(session, shop.poke)
    assert shop.poked.count(hint) == 1
    assert attempt.next_sync_at > now() + timedelta(seconds=100)


def test_what_the_job_started_finds_a_payment(shop, checkout):
    shop.pay(checkout)
    shop.sync(checkout)
    assert shop.order(checkout).status == "paid"
    assert shop.attempt(checkout).next_sync_at is None


def test_an_open_page_is_asked_about_less_and_less_and_when_it_has_expired():
    at = now()
    attempt = Attempt(created_at=at, expires_at=at + timedelta(hours=23), syncs=0)
    minutes = []
    while at < attempt.expires_at:
        attempt.postpone_sync(at=at)
        minutes.append((attempt.next_sync_at - at) / timedelta(minutes=1))
        at = attempt.next_sync_at
    assert minutes[:5] == [2, 4, 8, 16, 32]
    assert at == attempt.expires_at + timedelta(minutes=1)
    assert len(minutes) < 15
