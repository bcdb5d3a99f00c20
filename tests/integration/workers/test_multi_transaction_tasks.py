"""A command with two transactions is resumed after a crash between them, by one worker at a time."""

import threading
import time
from typing import Any

import pytest

import settings
from models.errors import CouponUnknown, DomainError, PaymentRefused, ProviderUnavailable
from tests.support.polling import eventually, run_concurrently
from tests.support.tasks import Killed, Notes, registered, write_note
from workers.runtime.execution import Transactions

REFUSED = {"unknown coupon": CouponUnknown("NOPE"), "declined": PaymentRefused("card_declined")}
CLAIM = {"scope": "ann POST /v1/checkouts", "key": "1", "fingerprint": "as sent"}


class Provider:
    """A fake provider that is called between the transactions."""

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
    def check_out(transactions: Transactions, *, note: str) -> Any:
        with transactions.begin() as session:
            write_note(session, f"{note} tried")
            if provider.refusal:
                raise provider.refusal
        provider.call()
        with transactions.begin() as session:
            write_note(session, f"{note} done")
            return transactions.complete(session, {"note": note})

    with registered(check_out):
        yield


@pytest.fixture
def check_out(deliver):
    return lambda note="it", seconds_left=5.0, **claim: deliver(
        "progress.check_out", {"note": note}, claim=CLAIM | claim, seconds_left=seconds_left
    )


def test_first_transaction_commits_before_provider_call(check_out, notes: Notes, provider):
    provider.error = Killed()
    with pytest.raises(Killed):
        check_out()

    assert notes() == ["it tried"]


def test_repeated_command_is_replayed_without_provider_call(check_out, notes: Notes, provider):
    first, repeat = check_out(), check_out()

    assert (repeat["result"], repeat["replayed"]) == (first["result"], True)
    assert (notes(), provider.called) == (["it tried", "it done"], 1)


def test_concurrent_duplicates_wait_and_replay(check_out, notes: Notes, provider):
    provider.seconds = 0.5
    replies = run_concurrently(check_out, check_out, check_out)

    assert sum("replayed" in reply for reply in replies) == 2
    assert (notes(), provider.called) == (["it tried", "it done"], 1)


def test_duplicate_times_out_while_first_is_running(check_out, notes: Notes, provider):
    provider.seconds = 1.5
    first = threading.Thread(target=check_out)
    first.start()
    eventually(lambda: provider.called)
    duplicate = check_out(seconds_left=1.1)
    first.join()

    assert duplicate["error"]["name"] == "RequestInProgress"
    assert provider.called == 1


def test_interrupted_command_resumes_after_lease(check_out, notes: Notes, provider, monkeypatch):
    monkeypatch.setattr(settings, "IDEMPOTENCY_LEASE_SECONDS", 1)
    provider.error = Killed()
    with pytest.raises(Killed):
        check_out("first")
    provider.error = None
    began = time.monotonic()
    reply = check_out("second")

    assert time.monotonic() - began > 0.5
    assert reply["result"] == {"note": "second"}
    assert notes() == ["first tried", "second tried", "second done"]


def test_command_can_be_retried_immediately_after_error(check_out, notes: Notes, provider):
    provider.error = ProviderUnavailable("Stripe")
    first = check_out()
    provider.error = None
    began = time.monotonic()
    repeat = check_out()

    assert (first["error"]["name"], repeat["result"]) == ("ProviderUnavailable", {"note": "it"})
    assert time.monotonic() - began < 3


def test_permanent_provider_error_is_stored(check_out, notes: Notes, provider):
    provider.error = PaymentRefused("card_declined")
    first = check_out()
    provider.error = None
    repeat = check_out()

    assert first["error"] == repeat["error"]
    assert (repeat["replayed"], provider.called) == (True, 1)


@pytest.mark.parametrize("refusal", REFUSED.values(), ids=REFUSED)
def test_permanent_error_of_first_transaction_is_stored(check_out, notes: Notes, provider, refusal):
    provider.refusal = refusal
    first = check_out()
    provider.refusal = None

    repeat, other_body = check_out(), check_out(fingerprint="another body")

    assert (repeat["error"], repeat["replayed"]) == (first["error"], True)
    assert other_body["error"]["name"] == "IdempotencyKeyReused"
    assert (notes(), provider.called) == ([], 0)


def test_transient_error_of_first_transaction_frees_the_key(check_out, notes: Notes, provider):
    provider.refusal = ProviderUnavailable("Stripe")
    check_out()
    provider.refusal = None

    assert check_out(fingerprint="another body")["result"] == {"note": "it"}


def test_reused_key_does_not_replace_stored_error(check_out, notes: Notes, provider):
    provider.refusal = CouponUnknown("NOPE")
    first = check_out()

    check_out(fingerprint="another body")

    assert check_out()["error"] == first["error"]
