"""The YooKassa adapter: defects of the SDK, and translation of YooKassa's objects and errors."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest
import yookassa

import settings
from models.errors import CurrencyNotSupported, PaymentRefused, ProviderOutcomeUnknown, ReceiptEmailMissing
from models.payments import Refund
from tests.integration.payments.harness import PaymentsHarness, make_offer, make_yookassa, timeline_steps
from workers.payments.database_metrics import receipts_canceled
from workers.payments.provider import PaymentRequest
from workers.payments.refunds import apply_refund, sync_refund
from workers.payments.yookassa import YooKassa, _amount, _map_status, _to_minor

UNKNOWN = "2d000000-000f-5000-9000-000000000000"


@pytest.fixture
def course_id(session):
    return make_offer(session, price_minor=199000, currency="RUB", title="Столярное дело " * 10)


@pytest.fixture
def harness(harness_with_yookassa) -> PaymentsHarness:
    return harness_with_yookassa


@pytest.fixture
def adapter(harness) -> YooKassa:
    return harness.providers["yookassa"]


@pytest.fixture
def checkout(harness, course_id):
    return harness.checkout(course_id, provider="yookassa")


def payment_of(harness, checkout):
    """Return the payment as YooKassa's SDK reads it."""
    return harness.providers["yookassa"]._payments.find_one(harness.attempt(checkout).checkout_session_id)  # noqa: SLF001 the SDK itself


@contextmanager
def fixed_response_server(status: int, body: bytes = b"") -> Iterator[str]:
    """Run a server that gives every request the same response; yields its URL."""

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


def test_checkout_authorizes_before_capture(harness, checkout):
    payment = payment_of(harness, checkout)
    assert (str(payment.amount.value), payment.amount.currency, payment.status) == ("1990.00", "RUB", "pending")
    assert checkout["redirect_url"] == payment.confirmation.confirmation_url
    assert (checkout["status"], checkout["amount_minor"], checkout["currency"]) == ("requires_action", 199000, "RUB")
    harness.pay(checkout)
    assert payment_of(harness, checkout).status == "waiting_for_capture"


def test_metadata_added_by_sdk_is_tolerated(harness, checkout):
    metadata = payment_of(harness, checkout).metadata
    assert metadata == {
        "order_id": str(checkout["order_id"]),
        "attempt_id": str(checkout["id"]),
        "cms_name": "yookassa_sdk_python",
    }
    harness.pay(checkout)
    assert harness.return_from_checkout(checkout)["status"] == "paid"


def test_only_roubles_are_accepted(harness, session):
    with pytest.raises(CurrencyNotSupported, match="YooKassa does not accept USD"):
        harness.checkout(make_offer(session), provider="yookassa")


def test_receipt_line_matches_payment(harness, checkout):
    harness.pay(checkout)
    harness.return_from_checkout(checkout)
    [receipt] = yookassa.Receipt.list({"payment_id": harness.attempt(checkout).checkout_session_id}).items
    [line] = receipt.items
    assert (str(line.amount.value), line.vat_code, line.payment_mode) == ("1990.00", 1, "full_payment")
    assert harness.attempt(checkout).receipt_status == "succeeded"


@pytest.mark.parametrize(("names_measure", "measure"), [(False, None), (True, "piece")])
def test_receipt_line_has_measure_if_the_register_requires_it(harness, course_id, names_measure, measure):
    harness.providers["yookassa"] = make_yookassa(f"{harness.fake_yookassa.url}/v3", names_measure=names_measure)
    checkout = harness.buy(course_id, provider="yookassa")
    [receipt] = yookassa.Receipt.list({"payment_id": harness.attempt(checkout).payment_id}).items
    assert [line.measure for line in receipt.items] == [measure]


def test_refund_receipt_is_registered(harness, course_id):
    checkout = harness.buy(course_id, provider="yookassa")
    harness.refund(checkout)

    payment_id = harness.attempt(checkout).payment_id
    [made] = harness.providers["yookassa"]._refunds.list({"payment_id": payment_id}).items  # noqa: SLF001 the SDK itself
    assert made.receipt_registration == "succeeded"


def test_checkout_without_receipt_email_is_rejected(harness, course_id):
    with pytest.raises(ReceiptEmailMissing):
        harness.checkout(course_id, provider="yookassa", receipt_email=None)


def test_receipt_email_is_optional_without_own_receipts(harness, course_id):
    harness.providers["yookassa"] = make_yookassa(f"{harness.fake_yookassa.url}/v3", vat_code=None)
    checkout = harness.checkout(course_id, provider="yookassa")
    assert harness.attempt(checkout).receipt_email is None
    assert payment_of(harness, checkout).receipt_registration is None


def test_canceled_receipt_logs_error(harness, checkout, monkeypatch):
    alarms: list[str] = []
    log = SimpleNamespace(error=lambda event, **_: alarms.append(event), info=lambda *_, **__: None)
    monkeypatch.setattr("workers.payments.payment_flow.log", log)
    harness.fake_yookassa.faults(cancel_receipts=1)
    harness.pay(checkout)
    harness.return_from_checkout(checkout)
    assert (harness.order(checkout).status, alarms) == ("paid", ["receipt canceled"])
    assert "receipt_canceled" in timeline_steps(harness, checkout)


def test_canceled_receipt_of_a_refund_is_reported(harness, session, course_id):
    canceled = receipts_canceled(session).scalar_one()
    checkout = harness.buy(course_id, provider="yookassa")
    harness.fake_yookassa.faults(cancel_receipts=1)

    harness.refund(checkout)

    assert receipts_canceled(session).scalar_one() == canceled + 1
    assert timeline_steps(harness, checkout)[-2:] == ["refund_succeeded", "receipt_canceled"]


def test_pending_receipt_of_a_refund_is_polled(harness, session, course_id):
    checkout = harness.buy(course_id, provider="yookassa")
    harness.refund(checkout)
    [refund] = Refund.list_for_order(session, checkout["order_id"])
    assert (refund.receipt_status, refund.next_sync_at) == ("succeeded", None)
    pending = replace(refund.failed_snapshot(""), object_id=refund.object_id, status="succeeded", receipt="pending")
    apply_refund(session, harness.order(checkout), harness.attempt(checkout), pending)
    assert refund.next_sync_at is not None

    sync_refund(harness.transactions, harness.providers, refund_id=refund.id)

    assert (refund.receipt_status, refund.next_sync_at) == ("succeeded", None)


# Defects of the SDK.


def test_sdk_call_times_out(monkeypatch):
    monkeypatch.setattr(settings, "PROVIDER_TIMEOUT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent_server, pytest.raises(ProviderOutcomeUnknown):
        make_yookassa(f"http://127.0.0.1:{silent_server.getsockname()[1]}").fetch(UNKNOWN)


def test_programming_error_is_not_unknown_outcome(adapter, monkeypatch):
    monkeypatch.setattr("yookassa.client.ApiClient.request", lambda *_: None.bug)
    with pytest.raises(AttributeError, match="bug"):
        adapter.fetch(UNKNOWN)


def test_non_json_response_is_unknown_outcome():
    for status in (200, 502):
        with fixed_response_server(status, b"<html>") as url, pytest.raises(ProviderOutcomeUnknown):
            make_yookassa(url).fetch(UNKNOWN)


def test_202_response_is_unknown_outcome():
    with (
        fixed_response_server(202, b'{"type": "processing", "retry_after": 1800}') as url,
        pytest.raises(ProviderOutcomeUnknown),
    ):
        make_yookassa(url).fetch(UNKNOWN)


def test_key_reused_with_other_body_is_unknown_outcome(harness, adapter, checkout):
    request = PaymentRequest.from_attempt(harness.attempt(checkout), harness.order(checkout))
    assert adapter.open_checkout_session(request).checkout_session_id == harness.attempt(checkout).checkout_session_id
    harness.order(checkout).course_title = "another title"
    with pytest.raises(ProviderOutcomeUnknown):
        adapter.open_checkout_session(PaymentRequest.from_attempt(harness.attempt(checkout), harness.order(checkout)))


def test_no_fallback_to_live_host(harness, adapter, checkout):
    yookassa.Configuration.configure("other", "key")
    assert "api.yookassa.ru" in yookassa.Configuration.api_url
    assert adapter.fetch(harness.attempt(checkout).checkout_session_id).checkout_session_open


def test_global_sdk_configuration_does_not_change_key(harness, checkout, monkeypatch):
    adapter = harness.providers["yookassa"]
    monkeypatch.setattr(yookassa.Configuration, "instantiate", lambda: SimpleNamespace(
        account_id="other", secret_key="other", auth_token="other", timeout=1, max_attempts=1,
        agent_framework=None, agent_cms=None, agent_module=None, verify=None,
    ))  # fmt: skip
    assert adapter.fetch(harness.attempt(checkout).checkout_session_id).checkout_session_open


def test_amount_roundtrip_is_exact():
    for minor in (1, 10, 99, 100, 199000, 999_999_999_99, 10**12):
        sent = _amount(minor)
        assert sent["value"] == f"{minor // 100}.{minor % 100:02}"
        assert _to_minor(yookassa.domain.models.Amount(sent)) == minor
    with pytest.raises(ValueError, match="the SDK would send"):
        _amount(10**17 + 1)  # above the precision of a float


def test_provider_refusal_raises_payment_refused(adapter, harness, session):
    with pytest.raises(PaymentRefused):
        harness.checkout(make_offer(session, price_minor=10**12, currency="RUB"), provider="yookassa")


# Translation of YooKassa's states.


def canceled_payment(party: str, reason: str) -> dict:
    return {"status": "canceled", "cancellation_details": SimpleNamespace(party=party, reason=reason)}


@pytest.mark.parametrize(
    ("payment", "status"),
    [
        ({"status": "pending", "confirmation": "url"}, "requires_action"),
        ({"status": "pending"}, "processing"),
        ({"status": "waiting_for_capture"}, "authorized"),
        ({"status": "succeeded", "paid": True}, "succeeded"),
        (canceled_payment("payment_network", "insufficient_funds"), "failed"),
        (canceled_payment("yoo_money", "expired_on_confirmation"), "expired"),
        (canceled_payment("yoo_money", "expired_on_capture"), "expired"),
        (canceled_payment("merchant", "canceled_by_merchant"), "canceled"),
    ],
)
def test_yookassa_status_mapping(payment, status):
    defaults = {"confirmation": None, "paid": False, "cancellation_details": None}
    assert _map_status(SimpleNamespace(**defaults | payment)) == status


def test_repeated_capture_captures_once(harness, adapter, checkout):
    harness.pay(checkout)
    authorized = adapter.fetch(harness.attempt(checkout).checkout_session_id)
    assert [adapter.capture(authorized).status for _ in range(2)] == ["succeeded"] * 2
    # To void a captured payment must not refund it.
    assert adapter.void(authorized).status == "succeeded"
    assert [row["refunded_minor"] for row in harness.fake_yookassa.payments_of(str(checkout["order_id"]))] == [0]


def test_lost_capture_response_is_retried(harness, checkout):
    harness.pay(checkout)
    harness.fake_yookassa.faults(drop_response_after_commit=1)
    with pytest.raises(ProviderOutcomeUnknown):
        harness.return_from_checkout(checkout)
    assert harness.attempt(checkout).status == "authorized"
    assert harness.return_from_checkout(checkout)["status"] == "paid"
    assert len(harness.fake_yookassa.payments_of(str(checkout["order_id"]))) == 1
