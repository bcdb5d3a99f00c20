"""YooKassa: payments in roubles, through its SDK, with workarounds for the SDK's defects.

A payment is its own checkout session. YooKassa cannot close an open payment before it expires after one hour. Payments
are therefore authorized first and captured explicitly; one on a superseded session is voided (docs/decisions/0040).
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any, Literal, Self
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
import requests
import yookassa
from requests.adapters import HTTPAdapter
from yookassa.client import ApiClient
from yookassa.domain import exceptions
from yookassa.domain.models import Amount

import settings
from core.log import get_logger
from core.money import format_amount
from models.commands.payments import IncomingWebhook
from models.errors import (
    AmountTooSmall,
    CurrencyNotSupported,
    PaymentRefused,
    ProviderOutcomeUnknown,
    ProviderUnavailable,
    SenderNotAllowed,
    WebhookMalformed,
)
from models.payments import DisputeSnapshot, PaymentSnapshot, ProviderTransaction, RefundSnapshot
from models.payments.payment_snapshots import ProviderPaymentStatus

from . import provider_calls
from .provider import PaymentRequest, ProviderNotification, RefundRequest

log = get_logger(__name__)

NAME = "YooKassa"
API_HOST = "api.yookassa.ru"
HANDLED_EVENTS: dict[str, ProviderPaymentStatus] = {
    "payment.waiting_for_capture": "authorized",
    "payment.succeeded": "succeeded",
    "payment.canceled": "canceled",
    "refund.succeeded": "succeeded",
    "refund.canceled": "succeeded",  # YooKassa sends no such webhook: found by listing refunds
}
# Final statuses.
FINAL_STATUSES = frozenset({"succeeded", "failed", "canceled", "expired"})
MAX_PENDING_TIME = timedelta(days=7)
MIN_CHARGE_MINOR = 100
# The id comes from an unsigned webhook and becomes part of a URL path: accept nothing but a UUID.
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MAX_DESCRIPTION_LENGTH = 128  # characters of a description
# Larger than the skew between YooKassa's clock and ours.
MAX_CLOCK_SKEW = timedelta(minutes=1)


class YooKassaAmounts:
    """Roubles only. The minimum applies to every payment method."""

    def check_charge(self, amount_minor: int, currency: str) -> None:
        """Raise CurrencyNotSupported or AmountTooSmall. The maximum depends on the method that the buyer chooses."""
        if currency != "RUB":
            raise CurrencyNotSupported(NAME, currency)
        if amount_minor < MIN_CHARGE_MINOR:
            raise AmountTooSmall(NAME, format_amount(MIN_CHARGE_MINOR, currency), currency)

    def check_refund(self, amount_minor: int, currency: str) -> None:
        """Accept any amount: refunds have no minimum."""


class YooKassa:
    """A YooKassa shop. ``url`` may point to the fake of YooKassa, but not with a live key."""

    name = NAME
    checkout_session_ttl = timedelta(hours=1)
    amounts = YooKassaAmounts()

    def __init__(
        self,
        shop_id: str,
        key: str,
        *,
        url: str,
        trusted_networks: tuple[str, ...],
        vat_code: int | None,
        names_measure: bool = False,
    ) -> None:
        """Receipts are sent if there is a ``vat_code``; ``names_measure`` adds the unit that FFD 1.2 requires."""
        self.account = shop_id
        self.live_mode = key.startswith("live_")
        self.requires_receipt_email = vat_code is not None
        if self.live_mode and urlsplit(url).hostname != API_HOST:
            raise SystemExit("a live key of YooKassa may only be sent to api.yookassa.ru")
        self._trusted = [ip_network(network) for network in trusted_networks]
        self._vat_code = vat_code
        self._names_measure = names_measure
        self._payments = _bind_client(yookassa.Payment, lambda: _Client(shop_id, key, url))
        self._refunds = _bind_client(yookassa.Refund, lambda: _Client(shop_id, key, url))

    @classmethod
    def from_settings(cls) -> Self:
        return cls(
            settings.YOOKASSA_SHOP_ID,
            settings.YOOKASSA_SECRET_KEY,
            url=settings.YOOKASSA_API_URL,
            trusted_networks=settings.YOOKASSA_TRUSTED_NETWORKS,
            vat_code=settings.YOOKASSA_VAT_CODE or None,
            names_measure=settings.YOOKASSA_RECEIPT_FORMAT == "1.2",
        )

    def open_checkout_session(self, request: PaymentRequest) -> PaymentSnapshot:
        params: dict[str, Any] = {
            "amount": _amount(request.amount_minor),
            "capture": False,
            "description": request.description[:MAX_DESCRIPTION_LENGTH],
            "metadata": {"order_id": str(request.order_id), "attempt_id": str(request.attempt_id)},
        }
        if request.method_id:
            params["payment_method_id"] = request.method_id
        else:
            params["confirmation"] = {"type": "redirect", "return_url": request.success_url}
            params["save_payment_method"] = request.saves_method
        if self._vat_code:
            params["receipt"] = self._receipt(request)
        with _provider_call():
            try:
                return self._snapshot(self._payments.create(params, str(request.attempt_id)))
            except exceptions.BadRequestError as error:
                if error.content.get("parameter") == "Idempotence-Key":
                    # The key was used with another body by an earlier release: the payment may exist, look it up.
                    raise ProviderOutcomeUnknown(NAME) from error
                raise PaymentRefused(error.content.get("parameter") or error.content["code"]) from error

    def fetch(self, object_id: str) -> PaymentSnapshot | None:
        if not _ID.fullmatch(object_id):
            return None
        with _provider_call():
            try:
                return self._snapshot(self._payments.find_one(object_id))
            except exceptions.NotFoundError:
                return None

    def find(self, request: PaymentRequest) -> PaymentSnapshot | None:
        made = {
            "created_at.gte": (request.created_at - MAX_CLOCK_SKEW).isoformat(),
            "created_at.lte": request.expires_at.isoformat(),
            "limit": 100,
        }
        for payment in _iter_all(self._payments, made):
            snapshot = self._snapshot(payment)
            if snapshot.attempt_id == str(request.attempt_id):
                return snapshot
        return None

    def expire_checkout_session(self, checkout_session_id: str) -> PaymentSnapshot:
        snapshot = self._refetch(checkout_session_id)
        if snapshot.status in {"requires_action", "processing"}:
            return replace(snapshot, status="canceled", checkout_session_open=False, still_payable=True)
        return snapshot

    def capture(self, snapshot: PaymentSnapshot) -> PaymentSnapshot:
        amount = {"amount": _amount(snapshot.amount_minor)}
        return self._settle_authorization(
            snapshot, lambda id_, key: self._payments.capture(id_, amount, key), "capture"
        )

    def void(self, snapshot: PaymentSnapshot) -> PaymentSnapshot:
        return self._settle_authorization(snapshot, self._payments.cancel, "void")

    def refund(self, request: RefundRequest) -> RefundSnapshot:
        params: dict[str, Any] = {
            "payment_id": request.payment_id,
            "amount": _amount(request.amount_minor),
            "metadata": {"order_id": str(request.order_id), "refund_id": str(request.refund_id)},
        }
        # The address of an erased user is deleted. For a full refund YooKassa creates the receipt automatically.
        if self._vat_code and request.receipt_email:
            params["receipt"] = self._receipt(request)
        with _provider_call():
            try:
                return _refund_snapshot(self._refunds.create(params, str(request.refund_id)))
            except exceptions.BadRequestError as error:
                if error.content.get("parameter") == "Idempotence-Key":
                    raise ProviderOutcomeUnknown(NAME) from error
                raise PaymentRefused(error.content.get("parameter") or error.content["code"]) from error

    def list_refunds(self, payment_id: str) -> list[RefundSnapshot]:
        return [
            _refund_snapshot(refund) for refund in _iter_all(self._refunds, {"payment_id": payment_id, "limit": 100})
        ]

    def list_disputes(self, payment_id: str) -> list[DisputeSnapshot]:  # noqa: ARG002
        """Return none: YooKassa's API does not report disputes."""
        return []

    def delete_customer(self, customer_id: str) -> None:
        """Do nothing: YooKassa has no customers, and a saved payment method is unusable once its id is deleted here.

        https://yookassa.ru/developers/payment-acceptance/scenario-extensions/recurring-payments/pay-with-saved
        """

    def parse_webhook(self, webhook: IncomingWebhook, *, at: datetime) -> ProviderNotification | None:  # noqa: ARG002 it has no timestamp
        """Parse a webhook. It is unsigned: only known addresses are accepted, and the object is then fetched."""
        if not self._is_trusted(webhook.address):
            raise SenderNotAllowed(NAME)
        try:
            notification = msgspec.json.decode(webhook.body, type=_Notification)
        except msgspec.MsgspecError as error:
            raise WebhookMalformed(str(error)) from error
        if notification.event not in HANDLED_EVENTS:
            return None
        reported = notification.object
        payment_id = reported.id if reported.payment_id is None else reported.payment_id
        for object_id in (reported.id, payment_id):
            if not _ID.fullmatch(object_id):
                raise WebhookMalformed("an object id is malformed")
        # Deduplicates repeated deliveries of the same event of the same object.
        key = f"{notification.event}:{reported.id}"
        return ProviderNotification(dedupe_key=key, type=notification.event, object_id=payment_id)

    def list_events(self, since: datetime) -> Iterator[ProviderNotification]:
        # Lists filter by creation time only, and an authorization or a refund may end days later.
        made = {"created_at.gte": (since - MAX_PENDING_TIME).isoformat(), "limit": 100}
        for payment in _iter_all(self._payments, made):
            if (kind := f"payment.{payment.status}") in HANDLED_EVENTS:
                yield ProviderNotification(dedupe_key=f"{kind}:{payment.id}", type=kind, object_id=payment.id)
        for refund in _iter_all(self._refunds, made):
            if (kind := f"refund.{refund.status}") in HANDLED_EVENTS:
                yield ProviderNotification(dedupe_key=f"{kind}:{refund.id}", type=kind, object_id=refund.payment_id)

    def list_transactions(self, since: datetime, until: datetime) -> Iterator[ProviderTransaction]:
        made = {"created_at.gte": since.isoformat(), "created_at.lt": until.isoformat(), "limit": 100}
        for payment in _iter_all(self._payments, made):
            snapshot = self._snapshot(payment)
            yield ProviderTransaction(
                kind="capture",
                object_id=payment.id,
                payment_id=payment.id,
                attempt_id=_uuid(snapshot.attempt_id),
                amount_minor=snapshot.captured_minor,
                currency=snapshot.currency,
            )
        for refund in _iter_all(self._refunds, made):
            reported = _refund_snapshot(refund)
            yield ProviderTransaction(
                kind="refund",
                object_id=refund.id,
                payment_id=refund.payment_id,
                attempt_id=None,
                amount_minor=reported.amount_minor if reported.status == "succeeded" else 0,
                currency=reported.currency,
            )

    def confirms(self, kind: str, snapshot: PaymentSnapshot) -> bool:
        return snapshot.status in {HANDLED_EVENTS.get(kind, "succeeded"), *FINAL_STATUSES}

    def _is_trusted(self, text: str) -> bool:
        try:
            address = ip_address(text.strip())
        except ValueError:
            return False
        # A dual-stack socket reports IPv4 clients as ::ffff:a.b.c.d.
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in self._trusted)

    def _receipt(self, request: PaymentRequest | RefundRequest) -> dict[str, Any]:
        """Return the fiscal receipt required by the Russian law 54-FZ."""
        line = {
            "description": request.description[:MAX_DESCRIPTION_LENGTH],
            "quantity": "1",
            "amount": _amount(request.amount_minor),
            "vat_code": self._vat_code,
            "payment_mode": "full_payment",
            "payment_subject": "service",
        }
        if self._names_measure:
            line["measure"] = "piece"
        return {"customer": {"email": request.receipt_email}, "items": [line]}

    def _settle_authorization(
        self, snapshot: PaymentSnapshot, settle: Callable[[str, str], Any], verb: str
    ) -> PaymentSnapshot:
        assert snapshot.checkout_session_id is not None
        with _provider_call():
            try:
                return self._snapshot(settle(snapshot.checkout_session_id, f"{snapshot.attempt_id}:{verb}"))
            except exceptions.BadRequestError:
                # The payment is no longer authorized. Fetch it to see whether it is captured or voided.
                return self._refetch(snapshot.checkout_session_id)

    def _refetch(self, checkout_session_id: str) -> PaymentSnapshot:
        with _provider_call():
            return self._snapshot(self._payments.find_one(checkout_session_id))

    def _snapshot(self, payment: Any) -> PaymentSnapshot:
        metadata = payment.metadata or {}  # includes "cms_name", added by the SDK
        amount_minor = _to_minor(payment.amount)
        checkout_url = getattr(payment.confirmation, "confirmation_url", None)
        return PaymentSnapshot(
            account=payment.recipient.account_id,
            live_mode=not payment.test,
            checkout_session_id=payment.id,
            checkout_url=checkout_url,
            checkout_session_open=payment.status == "pending" and checkout_url is not None,
            payment_id=payment.id,
            status=_map_status(payment),
            amount_minor=amount_minor,
            currency=payment.amount.currency,
            captured_minor=amount_minor if payment.status == "succeeded" else 0,
            order_id=metadata.get("order_id"),
            attempt_id=metadata.get("attempt_id"),
            failure_reason=payment.cancellation_details.reason if payment.cancellation_details else None,
            receipt=payment.receipt_registration,
            method_id=payment.payment_method.id if payment.payment_method and payment.payment_method.saved else None,
        )


def _iter_all(resource: Any, query: dict[str, Any]) -> Iterator[Any]:
    while True:
        with _provider_call():
            page = resource.list(query)
        yield from page.items
        if not page.next_cursor:
            return
        query = {**query, "cursor": page.next_cursor}


def _refund_snapshot(refund: Any) -> RefundSnapshot:
    ended: dict[str, Literal["succeeded", "failed"]] = {"succeeded": "succeeded", "canceled": "failed"}
    return RefundSnapshot(
        object_id=refund.id,
        status=ended.get(refund.status, "pending"),
        amount_minor=_to_minor(refund.amount),
        currency=refund.amount.currency,
        refund_id=(refund.metadata or {}).get("refund_id"),
        failure_reason=refund.cancellation_details.reason if refund.cancellation_details else None,
        receipt=refund.receipt_registration,
    )


def _map_status(payment: Any) -> ProviderPaymentStatus:
    if payment.status == "succeeded" and payment.paid:
        return "succeeded"
    if payment.status == "waiting_for_capture":
        return "authorized"
    if payment.status != "canceled":
        return "requires_action" if payment.confirmation else "processing"
    details = payment.cancellation_details
    if details.reason in {"expired_on_confirmation", "expired_on_capture"}:
        return "expired"
    return "canceled" if details.party == "merchant" else "failed"


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        return None  # made by another system


def _amount(amount_minor: int) -> dict[str, str]:
    """Return an amount in roubles, as text: the SDK converts numbers through float. 1 rouble = 100 kopecks."""
    value = f"{Decimal(amount_minor) / 100:.2f}"
    sent = Amount({"value": value, "currency": "RUB"})
    if str(sent.value) != value:
        raise ValueError(f"the SDK would send {sent.value} for {value}")
    return {"value": value, "currency": "RUB"}


def _to_minor(amount: Any) -> int:
    return int(amount.value * 100)


def _bind_client(resource: type[Any], connect: Callable[[], ApiClient]) -> Any:
    """Return a subclass of the SDK's ``resource`` that uses our client; the SDK creates its own one for each call."""

    def connected(self: Any) -> None:
        self.client = connect()

    return type(resource.__name__, (resource,), {"__init__": connected})


class _Client(ApiClient):
    """The SDK's client with timeouts, a fixed URL, and ProviderOutcomeUnknown for a lost connection."""

    def __init__(self, shop_id: str, key: str, url: str) -> None:
        yookassa.Configuration.configure(shop_id, key, api_url=url)
        super().__init__()
        # The SDK's configuration is global: a later configure() without api_url resets it to the live host.
        self.endpoint, self.shop_id, self.shop_password, self.auth_token = url, shop_id, key, None

    def get_session(self) -> requests.Session:
        # The SDK's session has no timeout and retries a 202 on https with backoff. Retrying is the job's task.
        session = requests.Session()
        session.mount("https://", _TimeoutAdapter())
        session.mount("http://", _TimeoutAdapter())
        return session

    def request(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().request(*args, **kwargs)
        except AttributeError as error:
            # After a refused, lost or timed-out connection the SDK accesses the response that does not exist.
            if isinstance(error.__context__, requests.RequestException):
                raise ProviderOutcomeUnknown(NAME) from error
            raise
        except requests.JSONDecodeError as error:  # the body comes from a proxy
            raise ProviderOutcomeUnknown(NAME) from error


class _TimeoutAdapter(HTTPAdapter):
    def send(self, request: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        return super().send(request, **kwargs | {"timeout": provider_calls.timeouts_seconds()})


@contextmanager
def _provider_call() -> Iterator[None]:
    """Count the call, and translate errors of the SDK. Raises ProviderUnavailable and ProviderOutcomeUnknown."""
    try:
        with provider_calls.limit.call(NAME):
            yield
    except (exceptions.TooManyRequestsError, exceptions.UnauthorizedError, exceptions.ForbiddenError) as error:
        log.warning("yookassa rejected the call", reason=error.content.get("code"), status=error.HTTP_CODE)
        raise ProviderUnavailable(NAME) from error
    except exceptions.ApiError as error:
        # 500: by definition the outcome is unknown. 202: the first call with this key is still running.
        raise ProviderOutcomeUnknown(NAME) from error


class _Object(msgspec.Struct):
    id: str
    payment_id: str | None = None  # of a refund


class _Notification(msgspec.Struct):
    event: str
    object: _Object
