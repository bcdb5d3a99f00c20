"""Each day the movements at the providers are compared with the ledger, in both directions."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from core.db import utc_now
from models.errors import ProviderUnavailable
from models.payments import ProviderTransaction, ReconciledDay, Reconciliation, Refund
from models.payments.reconciliations import DAY, booked_between
from tests.integration.payments.harness import PaymentsHarness, make_offer, paid_snapshot
from workers.payments import database_metrics
from workers.payments.reconciliation import list_reconciliations, reconcile_day, reconcile_recent_days

PURCHASE_EVENTS = ["ORDER_CREATED", "PAYMENT_SUCCEEDED", "COURSE_PURCHASED"]


pytestmark = pytest.mark.usefixtures("harness_with_yookassa", "earlier_events_pulled")


@pytest.fixture
def checkout(harness, session, provider):
    return harness.checkout(make_offer(session, price_minor=199000, currency="RUB"), provider=provider)


def compare(harness: PaymentsHarness, provider: str) -> dict[str, tuple[int, int]]:
    """Return the differences since the start of the test by object as (provider's amount, own amount)."""
    since = harness.started_at.replace(microsecond=0)
    differing = reconcile_day(
        harness.transactions, harness.enqueue_after_commit, provider, harness.providers[provider], since=since
    )
    return {each.transaction.object_id: (each.transaction.amount_minor, each.ledger_minor) for each in differing}


def payment_of(harness: PaymentsHarness, provider: str, checkout) -> str:
    """Return the id of the provider's payment, even if its success is not applied yet."""
    snapshot = harness.providers[provider].fetch(harness.attempt(checkout).checkout_session_id)
    return str(snapshot.payment_id)


def test_matching_transactions_are_not_reported(harness, checkout, provider):
    harness.pay(checkout)
    harness.sync(checkout)
    harness.refund(checkout, 1000)
    [refund] = Refund.list_for_order(harness.session, checkout["order_id"])
    assert not {payment_of(harness, provider, checkout), refund.object_id} & compare(harness, provider).keys()


def test_unbooked_payment_is_reported_and_booked(harness, webhooks_disabled, checkout, provider):
    harness.pay(checkout)
    if provider == "yookassa":  # an authorization alone moves no money
        harness.providers[provider].capture(
            harness.providers[provider].fetch(harness.attempt(checkout).checkout_session_id)
        )
    payment_id = payment_of(harness, provider, checkout)
    harness.enqueued.clear()
    assert compare(harness, provider)[payment_id] == (199000, 0)
    harness.run_enqueued()
    assert harness.event_types(checkout) == PURCHASE_EVENTS
    assert payment_id not in compare(harness, provider)


def test_unbooked_refund_is_reported_and_booked(harness, session, webhooks_disabled):
    checkout = harness.buy(make_offer(session))
    client = harness.providers["stripe"]._client  # noqa: SLF001 a click in the dashboard
    refund = client.v1.refunds.create({"payment_intent": harness.attempt(checkout).payment_id, "amount": 1900})
    harness.enqueued.clear()
    assert compare(harness, "stripe")[refund.id] == (1900, 0)
    harness.run_enqueued()
    assert harness.order(checkout).status == "partially_refunded"
    assert refund.id not in compare(harness, "stripe")


def test_foreign_payment_on_same_account_is_skipped(harness):
    client = harness.providers["stripe"]._client  # noqa: SLF001 another system
    payment = client.v1.payment_intents.create(
        {"amount": 4900, "currency": "usd", "payment_method": "pm_card_visa", "confirm": True}
    )
    refund = client.v1.refunds.create({"payment_intent": payment.id})
    assert not {payment.id, refund.id} & compare(harness, "stripe").keys()


def test_day_has_one_report_per_kind_and_currency(harness, session):
    checkout = harness.buy(make_offer(session))
    attempt = harness.attempt(checkout)
    since = utc_now() - 2 * DAY
    transaction = ProviderTransaction(
        kind="capture",
        object_id=attempt.payment_id,
        payment_id=attempt.payment_id,
        attempt_id=attempt.id,
        amount_minor=5000,
        currency="USD",
    )
    about = {"provider": "stripe", "account": "books", "since": since, "at": utc_now()}
    attempt.account = "books"  # an account without ledger entries
    session.flush()
    assert len(Reconciliation.compare(session, [transaction], **about)) == 1
    [report] = list_reconciliations(session, limit=1, after=None)["items"]
    assert (report["provider_minor"], report["ledger_minor"]) == (5000, 0)
    assert report["differing"] == [{"object_id": transaction.object_id, "provider_minor": 5000, "ledger_minor": 0}]
    assert session.get_one(ReconciledDay, ("stripe", "books", since)).differing == 1
    before = Reconciliation.count_mismatched(session)
    attempt.account = "main"
    assert Reconciliation.compare(session, [transaction], **about | {"account": "main"})[0].ledger_minor == 4900
    assert Reconciliation.count_mismatched(session) == before + 1
    of_another_system = ProviderTransaction(
        **{**vars(transaction), "amount_minor": 0, "attempt_id": None, "payment_id": "pi_none"}
    )
    assert Reconciliation.compare(session, [of_another_system], **about) == []
    assert Reconciliation.count_mismatched(session) == before


# The days that are compared.


class IsolatedProvider:
    """A provider whose account no other data refers to. Records the days for which it was asked."""

    def __init__(self) -> None:
        self.account = f"books-{uuid4()}"
        self.listed_days: list[datetime] = []
        self.fails: dict[datetime, Exception] = {}

    def list_transactions(self, since: datetime, until: datetime) -> Iterator[ProviderTransaction]:
        assert until - since == DAY
        if since in self.fails:
            raise self.fails[since]
        self.listed_days.append(since)
        return iter(())


@pytest.fixture
def isolated_provider() -> IsolatedProvider:
    return IsolatedProvider()


@pytest.fixture
def run_at(harness, isolated_provider, monkeypatch):
    """Run the job at a time in November 2026; returns the days that were compared."""

    def run(day: int, hour: int = 0) -> list[datetime]:
        isolated_provider.listed_days.clear()
        moment = datetime(2026, 11, day, hour, 5, tzinfo=UTC)
        monkeypatch.setattr("workers.payments.reconciliation.utc_now", lambda: moment)
        reconcile_recent_days(harness.transactions, {"stripe": isolated_provider}, harness.enqueue_after_commit)
        return list(isolated_provider.listed_days)

    return run


def days(*of_october: int) -> list[datetime]:
    return [datetime(2026, 9, 30, 23, tzinfo=UTC) + (day - 1) * DAY for day in of_october]


def test_first_run_compares_last_settled_month(run_at):
    assert run_at(1) == days(*range(31, 1, -1))
    assert run_at(1, hour=1) == []


def test_nightly_run_compares_new_day_and_two_before(run_at):
    run_at(1)
    assert run_at(2) == days(32, 31, 30)
    assert run_at(2, hour=5) == []


def test_missed_days_are_compared_later(run_at):
    run_at(1)
    assert run_at(9) == days(39, 38, 37, 36, 35, 34, 33, 32)


def test_day_of_provider_outage_is_compared_an_hour_later(run_at, isolated_provider):
    run_at(1)
    [night] = days(32)
    isolated_provider.fails[night] = ProviderUnavailable("Books")
    with pytest.raises(ProviderUnavailable):
        run_at(2)
    isolated_provider.fails.clear()
    assert run_at(2, hour=1) == days(32, 31, 30)


def test_crashing_day_does_not_stop_other_days(run_at, isolated_provider):
    [bad] = days(30)
    isolated_provider.fails[bad] = KeyError("amount")
    with pytest.raises(KeyError):
        run_at(1)
    assert isolated_provider.listed_days == [day for day in days(*range(31, 1, -1)) if day != bad]


def test_mismatched_day_is_compared_again_for_a_week(harness, session, run_at, isolated_provider):
    run_at(1)
    for day in days(27, 22):
        session.get_one(ReconciledDay, ("stripe", isolated_provider.account, day)).differing = 1
    assert run_at(2) == days(32, 31, 30, 27)


def test_missing_days_are_counted(harness, session, run_at, isolated_provider):
    at = datetime(2026, 11, 1, 0, 5, tzinfo=UTC)
    before = ReconciledDay.count_missing(session, [], at=at)
    run_at(1)
    for configured in ([], [("stripe", isolated_provider.account)]):
        assert ReconciledDay.count_missing(session, configured, at=at) == before
        assert ReconciledDay.count_missing(session, configured, at=at + 2 * DAY) == before + 2


def test_days_of_new_account_are_missing(session, isolated_provider):
    at = datetime(2026, 11, 1, 0, 5, tzinfo=UTC)
    before = ReconciledDay.count_missing(session, [], at=at)

    assert ReconciledDay.count_missing(session, [("stripe", isolated_provider.account)], at=at) == before + 30


def test_metric_counts_missing_days_of_the_configured_accounts(session, monkeypatch):
    monkeypatch.setattr("settings.PAYMENT_PROVIDERS", ("stripe",))
    before = next(iter(database_metrics.reconciliation_days_missing(session)))[0]

    monkeypatch.setattr("settings.PAYMENT_PROVIDERS", ("stripe", "yookassa"))
    monkeypatch.setattr("settings.YOOKASSA_SHOP_ID", "never-compared")

    assert next(iter(database_metrics.reconciliation_days_missing(session)))[0] == before + 30


# Differences in both directions.


def test_capture_unknown_to_provider_is_reported(harness, session):
    checkout = harness.checkout(make_offer(session))
    harness.apply(checkout, **vars(paid_snapshot(harness.attempt(checkout), payment_id="pi_nowhere")))
    assert compare(harness, "stripe")["pi_nowhere"] == (0, 4900)


def test_resolved_unlisted_difference_is_not_reported(harness, session):
    checkout = harness.buy(make_offer(session))
    attempt = harness.attempt(checkout)
    about = {"provider": "stripe", "account": "main", "since": utc_now() - 2 * DAY, "at": utc_now()}
    booked = ProviderTransaction(
        kind="capture",
        object_id=attempt.payment_id,
        payment_id=attempt.payment_id,
        attempt_id=attempt.id,
        amount_minor=0,
        currency="USD",
    )
    before = Reconciliation.count_mismatched(session)
    Reconciliation.compare(session, [], unlisted=[booked], **about)
    assert Reconciliation.count_mismatched(session) == before + 1

    Reconciliation.compare(session, [], unlisted=[replace(booked, amount_minor=4900)], **about)

    assert Reconciliation.count_mismatched(session) == before


def test_booked_transaction_has_captured_currency(harness, session):
    checkout = harness.buy(make_offer(session))
    attempt = harness.attempt(checkout)
    attempt.captured_currency = "EUR"
    session.flush()

    booked = booked_between(session, "stripe", "main", utc_now() - DAY, utc_now() + DAY)

    assert [each.currency for each in booked if each.attempt_id == attempt.id] == ["EUR"]


@pytest.mark.parametrize(
    ("metric", "counter"),
    [
        (database_metrics.captured, "captured_minor"),
        (database_metrics.refunded, "refunded_minor"),
        (database_metrics.charged_back, "charged_back_minor"),
    ],
    ids=lambda each: getattr(each, "__name__", each),
)
def test_amount_metrics_use_captured_currency(harness, session, metric, counter):
    attempt = harness.attempt(harness.buy(make_offer(session)))
    setattr(attempt, counter, 4900)
    session.flush()
    before = by_currency(metric(session))

    attempt.captured_currency = "EUR"
    session.flush()

    change = by_currency(metric(session))
    change.subtract(before)
    assert {currency: amount for currency, amount in change.items() if amount} == {
        ("stripe", "USD"): -4900,
        ("stripe", "EUR"): 4900,
    }


def by_currency(rows) -> Counter:
    return Counter({(provider, currency): int(amount) for provider, currency, amount in rows})


def test_refund_unknown_to_provider_is_reported(harness, session):
    checkout = harness.buy(make_offer(session))
    harness.refund(checkout, 1900)
    [refund] = Refund.list_for_order(session, checkout["order_id"])
    refund.object_id = "re_nowhere"
    session.flush()
    assert compare(harness, "stripe")["re_nowhere"] == (0, 1900)


def test_transaction_of_adjacent_day_is_not_reported(harness, session, provider):
    at = harness.fake_stripe if provider == "stripe" else harness.fake_yookassa
    at.post("/__clock", advance_seconds=-1800)
    try:
        checkout = harness.buy(make_offer(session, price_minor=199000, currency="RUB"), provider=provider)
        harness.refund(checkout, 1000)
    finally:
        at.post("/__clock", advance_seconds=1800)
    since = (utc_now() - timedelta(minutes=10)).replace(microsecond=0)
    listed = [each.payment_id for each in harness.providers[provider].list_transactions(since, since + DAY)]
    assert harness.attempt(checkout).payment_id not in listed

    differing = reconcile_day(
        harness.transactions, harness.enqueue_after_commit, provider, harness.providers[provider], since=since
    )

    assert harness.attempt(checkout).payment_id not in {each.transaction.payment_id for each in differing}


def test_unbooked_dispute_is_reported_and_booked(harness, session, webhooks_disabled):
    checkout = harness.buy(make_offer(session))
    dispute_id = harness.fake_stripe.post(f"/__dispute/{harness.attempt(checkout).payment_id}")["id"]
    harness.enqueued.clear()
    assert compare(harness, "stripe")[dispute_id] == (4900, 0)
    harness.run_enqueued()
    assert harness.order(checkout).status == "disputed"
    assert dispute_id not in compare(harness, "stripe")


@pytest.mark.parametrize("outcome", ["won", "lost"])
def test_closed_dispute_matches_once_outcome_is_known(harness, session, webhooks_disabled, outcome):
    checkout = harness.buy(make_offer(session))
    path = f"/__dispute/{harness.attempt(checkout).payment_id}"
    dispute_id = harness.fake_stripe.post(path)["id"]
    harness.pull()
    harness.fake_stripe.post(path, outcome=outcome)
    harness.pull()
    assert dispute_id not in compare(harness, "stripe")
