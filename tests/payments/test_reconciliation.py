"""What no webhook has brought is found, by the hour and by the day, and counts once."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import uuid4

import pytest
from sqlalchemy import select

from models.base import now, sessions
from models.errors import ProviderOutcomeUnknown, ProviderUnavailable
from models.payments import Movement, ProviderEvent, ProviderPull, ReconciledDay, Reconciliation, Refund
from models.payments.reconciliations import DAY, booked_between
from tests.payments.shop import Shop, make_offer, paid
from tests.payments.test_races import Committing
from tests.support.waiting import at_once
from workers.payments import facts
from workers.payments.reconciliation import compare_day, compare_days, list_reconciliations, pull_missed_news
from workers.payments.stripe import LISTED_WITHIN
from workers.payments.webhooks import apply_provider_event

BOUGHT = ["ORDER_CREATED", "PAYMENT_SUCCEEDED", "COURSE_PURCHASED"]
MANY = 1000


@pytest.fixture
def shop(kassa_shop) -> Shop:
    return kassa_shop


@pytest.fixture(params=["stripe", "yookassa"])
def provider(request) -> str:
    return request.param


@pytest.fixture
def checkout(shop, session, provider):
    return shop.checkout(make_offer(session, price_minor=199000, currency="RUB"), provider=provider)


@pytest.fixture(autouse=True)
def pulled(shop, session):
    """What other tests have caused was pulled before."""
    for name, provider in shop.providers.items():
        ProviderPull.finish(session, name, provider.account, until=now() + LISTED_WITHIN)


@pytest.fixture
def deaf(shop):
    """Webhooks are switched off at both providers."""
    for standin in (shop.standin, shop.kassa):
        standin.faults(drop_webhooks=MANY)


def pull(shop: Shop) -> None:
    shop.poked.clear()
    pull_missed_news(shop.sessions, shop.providers, shop.poke)
    shop.do_as_poked()


def poked(shop: Shop, object_id: str) -> int:
    """How many events of an object were kept."""
    shop.session.flush()
    mine = select(ProviderEvent).where(ProviderEvent.object_id == object_id)
    return len(list(shop.session.scalars(mine)))


def test_a_payment_of_which_nobody_told_is_found_and_counts_once(shop, deaf, checkout):
    shop.pay(checkout)
    for _ in range(2):
        pull(shop)
    assert (shop.order(checkout).status, shop.told(checkout)) == ("paid", BOUGHT)
    pull(shop)
    assert shop.poked == []


def test_event_that_another_endpoint_accepted_is_found(shop, session):
    checkout = shop.checkout(make_offer(session))
    shop.pay(checkout)
    shop.webhook(shop.attempt(checkout).page_id, "checkout.session.completed")  # accepted, and not by this system
    pull(shop)
    assert shop.order(checkout).status == "paid"


def test_pull_continues_where_the_last_complete_one_ended(shop, session, monkeypatch):
    asked = []

    class Listing:
        account = "books"

        def missed(self, since):
            asked.append(since)
            if len(asked) == 2:
                raise ProviderUnavailable("Books")
            return iter(())

    listing = {"stripe": Listing()}
    began = now()
    pull_missed_news(shop.sessions, listing, shop.poke)
    with pytest.raises(ProviderUnavailable):
        pull_missed_news(shop.sessions, listing, shop.poke)
    pull_missed_news(shop.sessions, listing, shop.poke)
    assert asked[0] < began - timedelta(days=2)
    assert began <= asked[1] == asked[2]


def test_event_that_cannot_be_read_does_not_stop_the_others(shop, session, deaf):
    checkout = shop.checkout(make_offer(session))
    shop.pay(checkout)
    for thing in ({"object": "charge"}, {"id": 7}, {"id": "ch_1", "payment_intent": ["pi_1"]}):
        shop.standin.post("/__events/charge.refunded", object=thing)
    shop.standin.post("/__events/payment_intent.succeeded", data=None)
    pull(shop)
    assert shop.order(checkout).status == "paid"


def test_what_was_taken_is_not_told_again(shop, session):
    checkout = shop.checkout(make_offer(session))
    shop.pay(checkout)
    page_id = shop.attempt(checkout).page_id
    shop.hear_completed(checkout)
    pull(shop)
    assert poked(shop, page_id) == 1


def test_a_refund_that_yookassa_cancels_late_is_found(shop, session):
    course_id = make_offer(session, price_minor=199000, currency="RUB")
    checkout = shop.bought(course_id, provider="yookassa")
    shop.refund(checkout)
    [refund] = Refund.of_order(session, checkout["order_id"])
    assert shop.order(checkout).status == "refunded"
    shop.kassa.post(f"/__refund/{refund.object_id}", outcome="fail")  # and it has no event for that
    for _ in range(2):
        pull(shop)
    assert (shop.order(checkout).status, refund.status) == ("paid", "failed")
    assert shop.told(checkout)[-2:] == ["PAYMENT_REFUNDED", "REFUND_RETURNED"]


def test_a_dispute_of_which_nobody_told_is_found(shop, session, deaf):
    checkout = shop.bought(make_offer(session))
    shop.standin.post(f"/__dispute/{shop.attempt(checkout).payment_id}")
    pull(shop)
    assert shop.order(checkout).status == "disputed"


def test_a_provider_that_is_down_does_not_stop_the_other(shop, session, deaf):
    checkout = shop.checkout(make_offer(session, price_minor=199000, currency="RUB"), provider="yookassa")
    shop.pay(checkout)
    shop.standin.faults(error_500=3)  # Stripe's SDK asks three times
    shop.poked.clear()
    with pytest.raises(ProviderOutcomeUnknown):  # the job comes again
        pull_missed_news(shop.sessions, shop.providers, shop.poke)
    shop.do_as_poked()
    assert shop.order(checkout).status == "paid"


def test_8_pulls_at_once_keep_each_news_once(database, stripe, standin):
    standin.faults(drop_webhooks=MANY)
    with sessions("payments").begin() as session:
        ProviderPull.finish(session, "stripe", "main", until=now() + LISTED_WITHIN)
    client = stripe._client  # noqa: SLF001 somebody's payment, of which nothing is told
    made = client.v1.payment_intents.create(
        {"amount": 4900, "currency": "usd", "payment_method": "pm_card_visa", "confirm": True}
    )
    kept: list[dict] = []
    pull = partial(pull_missed_news, Committing(), {"stripe": stripe}, lambda _task, **message: kept.append(message))
    at_once(*[pull] * 8)
    with sessions("payments")() as session:
        mine = (ProviderEvent.object_id == made.id) & (ProviderEvent.type == "payment_intent.succeeded")
        assert len(list(session.scalars(select(ProviderEvent).where(mine)))) == 1
    assert len({message["provider_event_id"] for message in kept}) == len(kept)
    for message in kept:
        apply_provider_event(Committing(), {"stripe": stripe}, **message)  # nobody's here: ignored


# The sums.


def compare(shop: Shop, provider: str) -> dict[str, tuple[int, int]]:
    """What differs of the last hours, by object: theirs and ours. Those of other tests differ, who took theirs back."""
    since = (now() - timedelta(hours=20)).replace(microsecond=0)
    differing = compare_day(shop.sessions, shop.poke, provider, shop.providers[provider], since=since)
    return {each.movement.object_id: (each.movement.amount_minor, each.ours_minor) for each in differing}


def payment_of(shop: Shop, provider: str, checkout) -> str:
    """The provider's payment, whether we have heard of it or not."""
    snapshot = shop.providers[provider].fetch(shop.attempt(checkout).page_id)
    return str(snapshot.payment_id)


def test_what_agrees_is_not_found(shop, checkout, provider):
    shop.pay(checkout)
    shop.sync(checkout)
    shop.refund(checkout, 1000)
    [refund] = Refund.of_order(shop.session, checkout["order_id"])
    assert not {payment_of(shop, provider, checkout), refund.object_id} & compare(shop, provider).keys()


def test_a_payment_that_the_ledger_does_not_know_is_found_and_mended(shop, deaf, checkout, provider):
    shop.pay(checkout)
    if provider == "yookassa":  # what is only held has not moved yet
        shop.providers[provider].take(shop.providers[provider].fetch(shop.attempt(checkout).page_id))
    payment_id = payment_of(shop, provider, checkout)
    shop.poked.clear()
    assert compare(shop, provider)[payment_id] == (199000, 0)
    shop.do_as_poked()
    assert shop.told(checkout) == BOUGHT
    assert payment_id not in compare(shop, provider)


def test_a_refund_that_the_ledger_does_not_know_is_found_and_mended(shop, session, deaf):
    checkout = shop.bought(make_offer(session))
    client = shop.providers["stripe"]._client  # noqa: SLF001 somebody's click in the dashboard
    made = client.v1.refunds.create({"payment_intent": shop.attempt(checkout).payment_id, "amount": 1900})
    shop.poked.clear()
    assert compare(shop, "stripe")[made.id] == (1900, 0)
    shop.do_as_poked()
    assert shop.order(checkout).status == "partially_refunded"
    assert made.id not in compare(shop, "stripe")


def test_another_systems_payment_on_the_same_account_is_left_out(shop):
    client = shop.providers["stripe"]._client  # noqa: SLF001 another system's
    made = client.v1.payment_intents.create(
        {"amount": 4900, "currency": "usd", "payment_method": "pm_card_visa", "confirm": True}
    )
    refund = client.v1.refunds.create({"payment_intent": made.id})
    assert not {made.id, refund.id} & compare(shop, "stripe").keys()


def test_a_day_has_one_report_a_kind_and_currency_which_follows_it(shop, session):
    checkout = shop.bought(make_offer(session))
    attempt = shop.attempt(checkout)
    since = now() - 2 * DAY
    moved = Movement(
        kind="capture",
        object_id=attempt.payment_id,
        payment_id=attempt.payment_id,
        attempt_id=attempt.id,
        amount_minor=5000,
        currency="USD",
    )
    about = {"provider": "stripe", "account": "books", "since": since, "at": now()}
    attempt.account = "books"  # of which nothing is booked
    session.flush()
    assert len(Reconciliation.compare(session, [moved], **about)) == 1
    [report] = list_reconciliations(session, limit=1, after=None)["items"]
    assert (report["theirs_minor"], report["ours_minor"]) == (5000, 0)
    assert report["differing"] == [{"object_id": moved.object_id, "theirs_minor": 5000, "ours_minor": 0}]
    assert session.get_one(ReconciledDay, ("stripe", "books", since)).differing == 1
    before = Reconciliation.off(session)
    attempt.account = "main"
    assert Reconciliation.compare(session, [moved], **about | {"account": "main"})[0].ours_minor == 4900
    assert Reconciliation.off(session) == before + 1
    of_another_system = Movement(**{**vars(moved), "amount_minor": 0, "attempt_id": None, "payment_id": "pi_none"})
    assert Reconciliation.compare(session, [of_another_system], **about) == []
    assert Reconciliation.off(session) == before


# The days.


class Books:
    """A provider of whose account nothing else in the database knows; it remembers the days that it was asked about."""

    def __init__(self) -> None:
        self.account = f"books-{uuid4()}"
        self.asked: list[datetime] = []
        self.fails: dict[datetime, Exception] = {}

    def movements(self, since: datetime, until: datetime) -> Iterator[Movement]:
        assert until - since == DAY
        if since in self.fails:
            raise self.fails[since]
        self.asked.append(since)
        return iter(())


@pytest.fixture
def books() -> Books:
    return Books()


@pytest.fixture
def run_at(shop, books, monkeypatch):
    """Run the job at some time of November 2026; returns the days that were compared."""

    def run(day: int, hour: int = 0) -> list[datetime]:
        books.asked.clear()
        moment = datetime(2026, 11, day, hour, 5, tzinfo=UTC)
        monkeypatch.setattr("workers.payments.reconciliation.now", lambda: moment)
        compare_days(shop.sessions, {"stripe": books}, shop.poke)
        return list(books.asked)

    return run


def days(*of_october: int) -> list[datetime]:
    return [datetime(2026, 9, 30, 23, tzinfo=UTC) + (day - 1) * DAY for day in of_october]


def test_first_run_compares_a_month_that_has_settled(run_at):
    assert run_at(1) == days(*range(31, 1, -1))
    assert run_at(1, hour=1) == []


def test_night_compares_the_new_day_and_the_two_before_it(run_at):
    run_at(1)
    assert run_at(2) == days(32, 31, 30)
    assert run_at(2, hour=5) == []


def test_missed_days_are_made_up(run_at):
    run_at(1)
    assert run_at(9) == days(39, 38, 37, 36, 35, 34, 33, 32)


def test_day_at_which_the_provider_did_not_answer_is_made_up_an_hour_later(run_at, books):
    run_at(1)
    [night] = days(32)
    books.fails[night] = ProviderUnavailable("Books")
    with pytest.raises(ProviderUnavailable):
        run_at(2)
    books.fails.clear()
    assert run_at(2, hour=1) == days(32, 31, 30)


def test_day_that_crashes_does_not_stop_the_others(run_at, books):
    [bad] = days(30)
    books.fails[bad] = KeyError("amount")
    with pytest.raises(KeyError):
        run_at(1)
    assert books.asked == [day for day in days(*range(31, 1, -1)) if day != bad]


def test_day_that_differs_is_compared_again_for_a_week(shop, session, run_at, books):
    run_at(1)
    for day in days(27, 22):
        session.get_one(ReconciledDay, ("stripe", books.account, day)).differing = 1
    assert run_at(2) == days(32, 31, 30, 27)


def test_missing_days_are_counted(shop, session, run_at, books):
    at = datetime(2026, 11, 1, 0, 5, tzinfo=UTC)
    before = ReconciledDay.missing(session, [], at=at)
    run_at(1)
    for configured in ([], [("stripe", books.account)]):
        assert ReconciledDay.missing(session, configured, at=at) == before
        assert ReconciledDay.missing(session, configured, at=at + 2 * DAY) == before + 2


def test_days_of_an_account_that_was_never_compared_are_missing(session, books):
    at = datetime(2026, 11, 1, 0, 5, tzinfo=UTC)
    before = ReconciledDay.missing(session, [], at=at)

    assert ReconciledDay.missing(session, [("stripe", books.account)], at=at) == before + 30


def test_metric_counts_missing_days_of_the_configured_accounts(session, monkeypatch):
    monkeypatch.setattr("settings.PAYMENT_PROVIDERS", ("stripe",))
    before = next(iter(facts.reconciliation_days_missing(session)))[0]

    monkeypatch.setattr("settings.PAYMENT_PROVIDERS", ("stripe", "yookassa"))
    monkeypatch.setattr("settings.YOOKASSA_SHOP_ID", "never-compared")

    assert next(iter(facts.reconciliation_days_missing(session)))[0] == before + 30


# Both directions.


def test_capture_that_the_provider_does_not_know_is_found(shop, session):
    checkout = shop.checkout(make_offer(session))
    shop.apply(checkout, **vars(paid(shop.attempt(checkout), payment_id="pi_nowhere")))
    assert compare(shop, "stripe")["pi_nowhere"] == (0, 4900)


def test_unlisted_difference_that_is_mended_is_not_reported_any_more(shop, session):
    checkout = shop.bought(make_offer(session))
    attempt = shop.attempt(checkout)
    about = {"provider": "stripe", "account": "main", "since": now() - 2 * DAY, "at": now()}
    booked = Movement(
        kind="capture",
        object_id=attempt.payment_id,
        payment_id=attempt.payment_id,
        attempt_id=attempt.id,
        amount_minor=0,
        currency="USD",
    )
    before = Reconciliation.off(session)
    Reconciliation.compare(session, [], unlisted=[booked], **about)
    assert Reconciliation.off(session) == before + 1

    Reconciliation.compare(session, [], unlisted=[replace(booked, amount_minor=4900)], **about)

    assert Reconciliation.off(session) == before


def test_booked_movement_has_the_currency_of_the_captured_money(shop, session):
    checkout = shop.bought(make_offer(session))
    attempt = shop.attempt(checkout)
    attempt.captured_currency = "EUR"
    session.flush()

    booked = booked_between(session, "stripe", "main", now() - DAY, now() + DAY)

    assert [each.currency for each in booked if each.attempt_id == attempt.id] == ["EUR"]


@pytest.mark.parametrize(
    ("metric", "counter"),
    [
        (facts.captured, "captured_minor"),
        (facts.refunded, "refunded_minor"),
        (facts.charged_back, "charged_back_minor"),
    ],
    ids=lambda each: getattr(each, "__name__", each),
)
def test_metrics_of_money_use_the_captured_currency(shop, session, metric, counter):
    attempt = shop.attempt(shop.bought(make_offer(session)))
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


def test_refund_that_the_provider_does_not_know_is_found(shop, session):
    checkout = shop.bought(make_offer(session))
    shop.refund(checkout, 1900)
    [refund] = Refund.of_order(session, checkout["order_id"])
    refund.object_id = "re_nowhere"
    session.flush()
    assert compare(shop, "stripe")["re_nowhere"] == (0, 1900)


def test_what_the_provider_made_on_another_day_agrees(shop, session, provider):
    at = shop.standin if provider == "stripe" else shop.kassa
    at.post("/__clock", advance_seconds=-1800)
    try:
        checkout = shop.bought(make_offer(session, price_minor=199000, currency="RUB"), provider=provider)
        shop.refund(checkout, 1000)
    finally:
        at.post("/__clock", advance_seconds=1800)
    since = (now() - timedelta(minutes=10)).replace(microsecond=0)
    listed = [each.payment_id for each in shop.providers[provider].movements(since, since + DAY)]
    assert shop.attempt(checkout).payment_id not in listed

    differing = compare_day(shop.sessions, shop.poke, provider, shop.providers[provider], since=since)

    assert shop.attempt(checkout).payment_id not in {each.movement.payment_id for each in differing}


def test_dispute_that_the_ledger_does_not_know_is_found_and_mended(shop, session, deaf):
    checkout = shop.bought(make_offer(session))
    dispute_id = shop.standin.post(f"/__dispute/{shop.attempt(checkout).payment_id}")["id"]
    shop.poked.clear()
    assert compare(shop, "stripe")[dispute_id] == (4900, 0)
    shop.do_as_poked()
    assert shop.order(checkout).status == "disputed"
    assert dispute_id not in compare(shop, "stripe")


@pytest.mark.parametrize("outcome", ["won", "lost"])
def test_dispute_that_ended_agrees_once_its_end_is_known(shop, session, deaf, outcome):
    checkout = shop.bought(make_offer(session))
    path = f"/__dispute/{shop.attempt(checkout).payment_id}"
    dispute_id = shop.standin.post(path)["id"]
    pull(shop)
    shop.standin.post(path, outcome=outcome)
    pull(shop)
    assert dispute_id not in compare(shop, "stripe")
