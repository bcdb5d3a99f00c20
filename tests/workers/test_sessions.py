"""A command of two transactions: what dies between them is entered again, by one at a time."""

import threading
import time
from typing import Any

import pytest

import settings
from models.errors import CouponUnknown, DomainError, PaymentRefused, ProviderUnavailable
from tests.support.tasks import Killed, Notes, registered, write
from tests.support.waiting import at_once, eventually
from workers._delivery import Sessions

REFUSED = {"unknown coupon": CouponUnknown("NOPE"), "declined": PaymentRefused("card_declined")}
CLAIM = {"scope": "ann POST /v1/checkouts", "key": "1", "fingerprint": "as sent"}


class Provider:
    """What happens between the transactions."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.seconds = 0.0
        self.called = 0
        self.refusal: DomainError | None = None  # raised in the first transaction

    def call(self) -> None:
        self.called += 1
        time.sleep(self.seconds)
        if self.error:
            raise self.error


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture(autouse=True)
def tasks(provider: Provider):
    def check_out(sessions: Sessions, *, note: str) -> Any:
        with sessions.begin() as session:
            write(session, f"{note} tried")
            if provider.refusal:
                raise provider.refusal
        provider.call()
        with sessions.begin() as session:
            write(session, f"{note} done")
            return sessions.answer(session, {"note": note})

    with registered(check_out):
        yield


@pytest.fixture
def check_out(deliver):
    return lambda note="it", seconds_left=5.0, **claim: deliver(
        "progress.check_out", {"note": note}, claim=CLAIM | claim, seconds_left=seconds_left
    )


def test_the_first_transaction_is_committed_before_the_call(check_out, notes: Notes, provider):
    provider.error = Killed()
    with pytest.raises(Killed):
        check_out()

    assert notes() == ["it tried"]


def test_a_repeat_is_answered_without_a_call(check_out, notes: Notes, provider):
    first, repeat = check_out(), check_out()

    assert (repeat["result"], repeat["replayed"]) == (first["result"], True)
    assert (notes(), provider.called) == (["it tried", "it done"], 1)


def test_a_twin_waits_for_the_answer_and_replays_it(check_out, notes: Notes, provider):
    provider.seconds = 0.5
    replies = at_once(check_out, check_out, check_out)

    assert sum("replayed" in reply for reply in replies) == 2
    assert (notes(), provider.called) == (["it tried", "it done"], 1)


def test_a_twin_whose_time_is_over_is_told_that_the_first_still_runs(check_out, notes: Notes, provider):
    provider.seconds = 1.5
    first = threading.Thread(target=check_out)
    first.start()
    eventually(lambda: provider.called)
    twin = check_out(seconds_left=1.1)
    first.join()

    assert twin["error"]["name"] == "RequestInProgress"
    assert provider.called == 1


def test_what_was_killed_in_between_is_entered_again_when_its_lease_is_over(
    check_out, notes: Notes, provider, monkeypatch
):
    monkeypatch.setattr(settings, "CLAIM_LEASE_SECONDS", 1)
    provider.error = Killed()
    with pytest.raises(Killed):
        check_out("first")
    provider.error = None
    began = time.monotonic()
    reply = check_out("second")

    assert time.monotonic() - began > 0.5
    assert reply["result"] == {"note": "second"}
    assert notes() == ["first tried", "second tried", "second done"]


def test_what_has_ended_badly_can_be_tried_again_at_once(check_out, notes: Notes, provider):
    provider.error = ProviderUnavailable("Stripe")
    first = check_out()
    provider.error = None
    began = time.monotonic()
    repeat = check_out()

    assert (first["error"]["name"], repeat["result"]) == ("ProviderUnavailable", {"note": "it"})
    assert time.monotonic() - began < 3


def test_a_lasting_refusal_of_the_provider_is_kept(check_out, notes: Notes, provider):
    provider.error = PaymentRefused("card_declined")
    first = check_out()
    provider.error = None
    repeat = check_out()

    assert first["error"] == repeat["error"]
    assert (repeat["replayed"], provider.called) == (True, 1)


@pytest.mark.parametrize("refusal", REFUSED.values(), ids=REFUSED)
def test_lasting_refusal_of_the_first_transaction_is_kept(check_out, notes: Notes, provider, refusal):
    provider.refusal = refusal
    first = check_out()
    provider.refusal = None

    repeat, other_body = check_out(), check_out(fingerprint="another body")

    assert (repeat["error"], repeat["replayed"]) == (first["error"], True)
    assert other_body["error"]["name"] == "IdempotencyKeyReused"
    assert (notes(), provider.called) == ([], 0)


def test_passing_refusal_of_the_first_transaction_leaves_the_key_free(check_out, notes: Notes, provider):
    provider.refusal = ProviderUnavailable("Stripe")
    check_out()
    provider.refusal = None

    assert check_out(fingerprint="another body")["result"] == {"note": "it"}


def test_reused_key_does_not_replace_the_kept_refusal(check_out, notes: Notes, provider):
    provider.refusal = CouponUnknown("NOPE")
    first = check_out()

    check_out(fingerprint="another body")

    assert check_out()["error"] == first["error"]
