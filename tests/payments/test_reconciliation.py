"""What no webhook has brought is found, by the hour and by the day, and counts once."""

from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import select

from models.base import now, sessions
from models.errors import ProviderOutcomeUnknown, ProviderUnavailable
from models.payments import Movement, ProviderEvent, ProviderPull, Reconciliation, Refund
from models.payments.reconciliations import DAY
from tests.payments.shop import Shop, make_offer
from tests.payments.test_races import Committing
from tests.support.waiting import at_once
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
    assert Reconciliation.off_since(session, "stripe", "books", at=now()) == [since]
    before = Reconciliation.off(session)
    attempt.account = "main"
    assert Reconciliation.compare(session, [moved], **about | {"account": "main"})[0].ours_minor == 4900
    agreeing = Movement(**{**vars(moved), "amount_minor": 0, "attempt_id": None, "payment_id": "pi_none"})
    assert Reconciliation.compare(session, [agreeing], **about) == []
    assert Reconciliation.off(session) == before + 1


def test_the_nightly_job_compares_the_day_that_has_settled(shop):
    asked = []

    class Listing:
        account = "main"

        def movements(self, since, until):
            asked.append((since, until))
            return iter(())

    compare_days(shop.sessions, {"stripe": Listing()}, shop.poke)
    since, until = asked[-1]
    assert (until - since, until.hour, now() - until > timedelta(hours=1)) == (DAY, 23, True)
