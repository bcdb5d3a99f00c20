"""The adapter of YooKassa: each trap of the SDK, and what YooKassa's objects and errors mean to us."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest
import yookassa

import settings
from models.errors import (
    CheckoutOutcomeUnknown,
    CurrencyNotSupported,
    PaymentRefused,
    ProviderOutcomeUnknown,
    ProviderUnavailable,
    ReceiptEmailMissing,
)
from tests.payments.shop import Shop, make_offer, make_yookassa, steps
from workers.payments.provider import PageRequest
from workers.payments.yookassa import YooKassa, _amount, _minor, _status

UNKNOWN = "2d000000-000f-5000-9000-000000000000"


@pytest.fixture
def course_id(session):
    return make_offer(session, price_minor=199000, currency="RUB", title="Столярное дело " * 10)


@pytest.fixture
def shop(kassa_shop) -> Shop:
    return kassa_shop


@pytest.fixture
def adapter(shop) -> YooKassa:
    return shop.providers["yookassa"]


@pytest.fixture
def checkout(shop, course_id):
    return shop.checkout(course_id, provider="yookassa")


def payment_of(shop, checkout):
    """The payment as YooKassa has it."""
    return shop.providers["yookassa"]._payments.find_one(shop.attempt(checkout).page_id)  # noqa: SLF001 the SDK itself


@contextmanager
def answering(status: int, body: bytes = b"") -> Iterator[str]:
    """A server that gives everybody the same answer; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_checkout_opens_a_page_whose_money_is_held_first(shop, checkout):
    payment = payment_of(shop, checkout)
    assert (str(payment.amount.value), payment.amount.currency, payment.status) == ("1990.00", "RUB", "pending")
    assert checkout["redirect_url"] == payment.confirmation.confirmation_url
    assert (checkout["status"], checkout["amount_minor"], checkout["currency"]) == ("requires_action", 199000, "RUB")
    shop.pay(checkout)
    assert payment_of(shop, checkout).status == "waiting_for_capture"


def test_the_metadata_that_the_sdk_adds_disturbs_nobody(shop, checkout):
    metadata = payment_of(shop, checkout).metadata
    assert metadata == {
        "order_id": str(checkout["order_id"]),
        "attempt_id": str(checkout["id"]),
        "cms_name": "yookassa_sdk_python",
    }
    shop.pay(checkout)
    assert shop.come_back(checkout)["status"] == "paid"


def test_another_currency_than_roubles_is_refused(shop, session):
    with pytest.raises(CurrencyNotSupported, match="YooKassa does not take USD"):
        shop.checkout(make_offer(session), provider="yookassa")


def test_the_receipt_names_the_buyer_and_sums_to_the_amount(shop, checkout):
    shop.pay(checkout)
    shop.come_back(checkout)
    [receipt] = yookassa.Receipt.list({"payment_id": shop.attempt(checkout).page_id}).items
    [line] = receipt.items
    assert (str(line.amount.value), line.vat_code, line.payment_mode) == ("1990.00", 1, "full_payment")
    assert shop.attempt(checkout).receipt_status == "succeeded"


def test_without_an_address_for_the_receipt_there_is_no_page(shop, course_id):
    with pytest.raises(ReceiptEmailMissing):
        shop.checkout(course_id, provider="yookassa", receipt_email=None)


def test_a_shop_whose_receipts_others_send_asks_for_no_address(shop, course_id):
    shop.providers["yookassa"] = make_yookassa(f"{shop.kassa.url}/v3", vat_code=None)
    checkout = shop.checkout(course_id, provider="yookassa")
    assert shop.attempt(checkout).receipt_email is None
    assert payment_of(shop, checkout).receipt_registration is None


def test_a_receipt_that_was_canceled_is_an_alarm(shop, checkout, monkeypatch):
    alarms: list[str] = []
    log = SimpleNamespace(error=lambda event, **_: alarms.append(event), info=lambda *_, **__: None)
    monkeypatch.setattr("workers.payments.sync.log", log)
    shop.kassa.faults(cancel_receipts=1)
    shop.pay(checkout)
    shop.come_back(checkout)
    assert (shop.order(checkout).status, alarms) == ("paid", ["receipt canceled"])
    assert "receipt_canceled" in steps(shop, checkout)


# The traps of the SDK.


def test_the_sdk_is_given_a_timeout(monkeypatch):
    monkeypatch.setattr(settings, "PROVIDER_TIMEOUT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as deaf, pytest.raises(ProviderOutcomeUnknown):
        make_yookassa(f"http://127.0.0.1:{deaf.getsockname()[1]}").fetch(UNKNOWN)


def test_a_refused_connection_is_an_unknown_outcome():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(ProviderOutcomeUnknown):
            make_yookassa(f"http://127.0.0.1:{closed.getsockname()[1]}").fetch(UNKNOWN)


def test_a_bug_of_ours_is_not_taken_for_a_lost_connection(adapter, monkeypatch):
    monkeypatch.setattr("yookassa.client.ApiClient.request", lambda *_: None.bug)
    with pytest.raises(AttributeError, match="bug"):
        adapter.fetch(UNKNOWN)


def test_what_a_proxy_says_is_an_unknown_outcome():
    for status in (200, 502):
        with answering(status, b"<html>") as url, pytest.raises(ProviderOutcomeUnknown):
            make_yookassa(url).fetch(UNKNOWN)


def test_a_202_is_an_unknown_outcome():
    with answering(202, b'{"type": "processing", "retry_after": 1800}') as url, pytest.raises(ProviderOutcomeUnknown):
        make_yookassa(url).fetch(UNKNOWN)


def test_too_many_requests_leave_the_checkout_as_it_was(shop, course_id):
    shop.kassa.faults(error_429=1)
    with pytest.raises(ProviderUnavailable):
        shop.checkout(course_id, provider="yookassa")
    assert shop.checkout(course_id, provider="yookassa")["status"] == "requires_action"


@pytest.mark.parametrize("fault", ["error_500", "drop_response_after_commit"])
def test_a_500_and_a_lost_answer_are_asked_again_with_the_same_key_and_body(shop, course_id, fault):
    shop.kassa.faults(**{fault: 1})
    with pytest.raises(CheckoutOutcomeUnknown):
        shop.checkout(course_id, provider="yookassa")
    checkout = shop.checkout(course_id, provider="yookassa")
    shop.pay(checkout)
    assert shop.come_back(checkout)["status"] == "paid"
    assert len(shop.kassa.payments_of(str(checkout["order_id"]))) == 1


def test_a_key_used_with_another_body_may_have_opened_a_page(shop, adapter, checkout):
    request = PageRequest.of(shop.attempt(checkout), shop.order(checkout))
    assert adapter.open_page(request).page_id == shop.attempt(checkout).page_id
    shop.order(checkout).course_title = "another title"
    with pytest.raises(ProviderOutcomeUnknown):
        adapter.open_page(PageRequest.of(shop.attempt(checkout), shop.order(checkout)))


def test_a_page_is_found_in_the_lists(shop, adapter, course_id, checkout):
    for _ in range(3):
        shop.checkout(course_id, provider="yookassa", user_id=checkout["id"])
    found = adapter.find(PageRequest.of(shop.attempt(checkout), shop.order(checkout)))
    assert found == adapter.fetch(shop.attempt(checkout).page_id)


def test_the_live_host_is_never_fallen_back_to(shop, adapter, checkout):
    yookassa.Configuration.configure("other", "key")
    assert "api.yookassa.ru" in yookassa.Configuration.api_url
    assert adapter.fetch(shop.attempt(checkout).page_id).page_open


def test_nobody_else_in_the_process_changes_whose_key_is_sent(shop, checkout, monkeypatch):
    adapter = shop.providers["yookassa"]
    monkeypatch.setattr(yookassa.Configuration, "instantiate", lambda: SimpleNamespace(
        account_id="other", secret_key="other", auth_token="other", timeout=1, max_attempts=1,
        agent_framework=None, agent_cms=None, agent_module=None, verify=None,
    ))  # fmt: skip
    assert adapter.fetch(shop.attempt(checkout).page_id).page_open


def test_amounts_go_out_and_come_in_to_the_kopeck():
    for minor in (1, 10, 99, 100, 199000, 999_999_999_99, 10**12):
        sent = _amount(minor)
        assert sent["value"] == f"{minor // 100}.{minor % 100:02}"
        assert _minor(yookassa.domain.models.Amount(sent)) == minor
    with pytest.raises(ValueError, match="the SDK would send"):
        _amount(10**17 + 1)  # beyond what a float can tell


def test_a_refusal_is_the_buyers(adapter, shop, session):
    with pytest.raises(PaymentRefused):
        shop.checkout(make_offer(session, price_minor=10**12, currency="RUB"), provider="yookassa")


def test_a_wrong_key_is_no_failure_of_the_buyer(shop):
    stranger = YooKassa("100500", "test_wrong", url=f"{shop.kassa.url}/v3", trusted_networks=(), vat_code=1)
    with pytest.raises(ProviderUnavailable):
        stranger.fetch(UNKNOWN)


def test_a_live_key_goes_to_yookassas_own_host_alone():
    with pytest.raises(SystemExit, match="live key"):
        YooKassa("1", "live_1", url="https://pay.example/v3", trusted_networks=(), vat_code=1)
    assert YooKassa("1", "live_1", url="https://api.yookassa.ru/v3", trusted_networks=(), vat_code=1).live_mode


# What YooKassa's states mean.


def ended(party: str, reason: str) -> dict:
    return {"status": "canceled", "cancellation_details": SimpleNamespace(party=party, reason=reason)}


@pytest.mark.parametrize(
    ("payment", "status"),
    [
        ({"status": "pending", "confirmation": "a page"}, "requires_action"),
        ({"status": "pending"}, "processing"),
        ({"status": "waiting_for_capture"}, "authorized"),
        ({"status": "succeeded", "paid": True}, "succeeded"),
        (ended("payment_network", "insufficient_funds"), "failed"),
        (ended("yoo_money", "expired_on_confirmation"), "expired"),
        (ended("yoo_money", "expired_on_capture"), "expired"),
        (ended("merchant", "canceled_by_merchant"), "canceled"),
    ],
)
def test_yookassas_states_in_our_words(payment, status):
    known = {"confirmation": None, "paid": False, "cancellation_details": None}
    assert _status(SimpleNamespace(**known | payment)) == status


def test_what_yookassa_does_not_know_is_none(adapter):
    assert adapter.fetch(UNKNOWN) is None


def test_a_decline_ends_the_page_and_the_buyer_may_try_again(shop, course_id, checkout):
    shop.pay(checkout, "decline")
    assert shop.come_back(checkout)["status"] == "pending"
    assert (shop.attempt(checkout).status, shop.attempt(checkout).problem) == ("failed", "insufficient_funds")
    again = shop.checkout(course_id, provider="yookassa")
    assert (again["order_id"], again["id"] != checkout["id"]) == (checkout["order_id"], True)
    shop.pay(again)
    shop.come_back(again)
    assert shop.told(checkout) == ["ORDER_CREATED", "PAYMENT_FAILED", "PAYMENT_SUCCEEDED", "COURSE_PURCHASED"]


def test_a_hold_is_taken_once_however_often_it_is_asked_for(shop, adapter, checkout):
    shop.pay(checkout)
    held = adapter.fetch(shop.attempt(checkout).page_id)
    assert [adapter.take(held).status for _ in range(2)] == ["succeeded"] * 2
    # As others found out: to let go what was taken must not become a refund.
    assert adapter.release(held).status == "succeeded"
    assert [row["refunded_minor"] for row in shop.kassa.payments_of(str(checkout["order_id"]))] == [0]


def test_a_capture_whose_answer_is_lost_is_asked_for_again(shop, checkout):
    shop.pay(checkout)
    shop.kassa.faults(drop_response_after_commit=1)
    with pytest.raises(ProviderOutcomeUnknown):
        shop.come_back(checkout)
    assert shop.attempt(checkout).status == "authorized"
    assert shop.come_back(checkout)["status"] == "paid"
    assert len(shop.kassa.payments_of(str(checkout["order_id"]))) == 1
