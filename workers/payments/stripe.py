"""Stripe: hosted Checkout Sessions and off-session charges, through Stripe's SDK."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec
import stripe

import settings
from core.log import get_logger
from core.webhook_signatures import MAX_CLOCK_SKEW, verify_stripe
from models.commands.payments import STRIPE_EVENT_TYPES, IncomingWebhook
from models.errors import (
    PaymentRefused,
    ProviderOutcomeUnknown,
    ProviderUnavailable,
    SignatureInvalid,
    WebhookMalformed,
)
from models.payments import DisputeSnapshot, PaymentSnapshot, ProviderTransaction, RefundSnapshot

from . import provider_calls
from .provider import PaymentRequest, ProviderNotification, RefundRequest
from .stripe_amounts import StripeAmounts, from_stripe, to_stripe
from .stripe_mapping import (
    StripeEvent,
    dispute_snapshot,
    map_status,
    parse_attempt_id,
    parse_event,
    refund_snapshot,
)

log = get_logger(__name__)

NAME = "Stripe"
API_HOST = "api.stripe.com"

# An event may appear in the list some time after its "created" timestamp.
EVENT_LIST_DELAY = timedelta(minutes=5)

_WITH_PAYMENT = ["payment_intent"]
_RETRIED_WITHIN_SECONDS = 2.0


class _HttpClient(stripe.RequestsClient):
    """The SDK's client, which does not repeat a call that timed out.

    The caller's deadline has passed by then, and a worker must stop within the grace period of its supervisor.
    """

    def request(self, *args: Any, **kwargs: Any) -> Any:
        started_at = time.monotonic()
        try:
            return super().request(*args, **kwargs)
        except stripe.APIConnectionError as error:
            if time.monotonic() - started_at > _RETRIED_WITHIN_SECONDS:
                error.should_retry = False
            raise


class Stripe:
    """A Stripe account. ``url`` may point to the fake of Stripe, but not with a live key."""

    name = NAME
    checkout_session_ttl = timedelta(hours=23)  # Stripe allows at most 24 h, by its own clock
    requires_receipt_email = False
    amounts = StripeAmounts()

    def __init__(self, key: str, *, url: str, account: str, webhook_secrets: tuple[str, ...]) -> None:
        self.account = account
        self.live_mode = key.startswith(("sk_live_", "rk_live_"))
        if self.live_mode and urlsplit(url).hostname != API_HOST:
            raise SystemExit("a live key of Stripe may only be sent to api.stripe.com")
        if not webhook_secrets or not all(webhook_secrets):
            raise SystemExit("a webhook secret of Stripe is empty")
        self._webhook_secrets = [secret.encode() for secret in webhook_secrets]
        self._client = stripe.StripeClient(
            key,
            base_addresses={"api": url},
            max_network_retries=2,  # set explicitly, the SDK would not retry otherwise
            http_client=_HttpClient(timeout=provider_calls.timeouts_seconds()),  # SDK default: 80 s
        )

    @classmethod
    def from_settings(cls) -> Self:
        return cls(
            settings.STRIPE_SECRET_KEY,
            url=settings.STRIPE_API_URL,
            account=settings.STRIPE_ACCOUNT,
            webhook_secrets=settings.STRIPE_WEBHOOK_SECRETS,
        )

    def open_checkout_session(self, request: PaymentRequest) -> PaymentSnapshot:
        if request.method_id:
            return self._charge(request)
        metadata = _metadata(request)
        price = {
            "currency": request.currency.lower(),
            "unit_amount": to_stripe(request.amount_minor, request.currency),
            "product_data": {"name": request.description},
        }
        params: Any = {
            "mode": "payment",
            "line_items": [{"price_data": price, "quantity": 1}],
            "success_url": request.success_url,
            "expires_at": int(request.expires_at.timestamp()),
            "client_reference_id": str(request.order_id),
            "metadata": metadata,
            "payment_intent_data": {"metadata": metadata, "description": request.description},
            "expand": _WITH_PAYMENT,
        }
        if request.cancel_url:
            params["cancel_url"] = request.cancel_url
        if request.saves_method:
            params["customer_creation"] = "always"
            params["payment_intent_data"]["setup_future_usage"] = "off_session"
        with _provider_call():
            try:
                session = self._sessions.create(params, {"idempotency_key": str(request.attempt_id)})
            except (stripe.CardError, stripe.InvalidRequestError) as error:
                raise PaymentRefused(error.code or "invalid_request") from error
            if _is_replayed(session):
                session = self._sessions.retrieve(session.id, {"expand": _WITH_PAYMENT})
            return self._snapshot(session)

    def fetch(self, object_id: str) -> PaymentSnapshot | None:
        with _provider_call():
            try:
                if object_id.startswith("cs_"):
                    checkout_session = self._sessions.retrieve(object_id, {"expand": _WITH_PAYMENT})
                    return self._snapshot(checkout_session) if checkout_session.mode == "payment" else None
                listed_sessions = self._sessions.list(
                    {"payment_intent": object_id, "expand": _within_list(_WITH_PAYMENT)}
                )
                if listed_sessions.data:
                    return self._snapshot(listed_sessions.data[0])
                return self._charge_snapshot(self._payments.retrieve(object_id).to_dict())
            except stripe.InvalidRequestError as error:
                if _is_missing(error):
                    return None
                raise

    def find(self, request: PaymentRequest) -> PaymentSnapshot | None:
        since = int((request.created_at - MAX_CLOCK_SKEW).timestamp())  # allows for clock skew
        until = int(request.expires_at.timestamp())
        query: Any = {"created": {"gte": since, "lte": until}, "limit": 100}
        with _provider_call():
            if request.method_id:
                made = (self._charge_snapshot(each.to_dict()) for each in self._payments.list(query).auto_paging_iter())
            else:
                opened = self._sessions.list({**query, "expand": _within_list(_WITH_PAYMENT)})
                made = (
                    self._snapshot(checkout_session)
                    for checkout_session in opened.auto_paging_iter()
                    if checkout_session.mode == "payment"
                )
            return next((each for each in made if each.attempt_id == str(request.attempt_id)), None)

    def expire_checkout_session(self, checkout_session_id: str) -> PaymentSnapshot:
        with _provider_call():
            try:
                return self._snapshot(self._sessions.expire(checkout_session_id, {"expand": _WITH_PAYMENT}))
            except stripe.InvalidRequestError:
                # The session is no longer open, or is a charge. Fetch it to see whether it is paid or expired.
                return self._refetch(checkout_session_id)

    def capture(self, snapshot: PaymentSnapshot) -> PaymentSnapshot:
        # InvalidRequestError: the payment is no longer authorized; the fetch returns its state.
        with _provider_call(), suppress(stripe.InvalidRequestError):
            self._payments.capture(_payment_id(snapshot), {}, _idempotency_key("capture", snapshot))
        return self._refetch(snapshot.checkout_session_id)

    def void(self, snapshot: PaymentSnapshot) -> PaymentSnapshot:
        with _provider_call(), suppress(stripe.InvalidRequestError):
            self._payments.cancel(_payment_id(snapshot), {}, _idempotency_key("void", snapshot))
        return self._refetch(snapshot.checkout_session_id)

    def refund(self, request: RefundRequest) -> RefundSnapshot:
        params: Any = {
            "payment_intent": request.payment_id,
            "amount": to_stripe(request.amount_minor, request.currency),
            "metadata": {"order_id": str(request.order_id), "refund_id": str(request.refund_id)},
        }
        with _provider_call():
            try:
                refund = self._client.v1.refunds.create(params, {"idempotency_key": str(request.refund_id)})
            except (stripe.CardError, stripe.InvalidRequestError) as error:
                raise PaymentRefused(error.code or "invalid_request") from error
            if _is_replayed(refund):
                refund = self._client.v1.refunds.retrieve(refund.id)
            return refund_snapshot(refund)

    def list_refunds(self, payment_id: str) -> list[RefundSnapshot]:
        return [refund_snapshot(refund) for refund in self._list_for_payment(payment_id, self._client.v1.refunds)]

    def list_disputes(self, payment_id: str) -> list[DisputeSnapshot]:
        return [dispute_snapshot(dispute) for dispute in self._list_for_payment(payment_id, self._client.v1.disputes)]

    def delete_customer(self, customer_id: str) -> None:
        with _provider_call():
            try:
                self._client.v1.customers.delete(customer_id)
            except stripe.InvalidRequestError as error:
                if error.code != "resource_missing":
                    raise

    def parse_webhook(self, webhook: IncomingWebhook, *, at: datetime) -> ProviderNotification | None:
        verify_stripe(webhook.body, webhook.headers.get("stripe-signature", ""), self._webhook_secrets, at=at)
        event = parse_event(webhook.body)
        if event.type not in STRIPE_EVENT_TYPES:
            return None
        if event.livemode != self.live_mode:
            raise SignatureInvalid("the live mode of the event differs from the key's")
        return _notification(event)

    def list_events(self, since: datetime) -> Iterator[ProviderNotification]:
        # Not by delivery_success: Stripe counts no delivery as failed while an endpoint is disabled or missing.
        created = {"gte": int((since - EVENT_LIST_DELAY).timestamp())}
        query: Any = {"types": sorted(STRIPE_EVENT_TYPES), "created": created, "limit": 100}
        with _provider_call():
            for listed in self._client.v1.events.list(query).auto_paging_iter():
                try:
                    event = msgspec.convert(listed.to_dict(), type=StripeEvent)
                    notification = _notification(event) if event.livemode == self.live_mode else None
                except (msgspec.ValidationError, WebhookMalformed) as error:
                    log.warning("event cannot be parsed", provider=NAME, object_id=listed.id, reason=str(error))
                    continue
                if notification:
                    yield notification

    def list_transactions(self, since: datetime, until: datetime) -> Iterator[ProviderTransaction]:
        query: Any = {"created": {"gte": int(since.timestamp()), "lt": int(until.timestamp())}, "limit": 100}
        with _provider_call():
            for payment in self._payments.list(query).auto_paging_iter():
                made = payment.to_dict()
                yield ProviderTransaction(
                    kind="capture",
                    object_id=made["id"],
                    payment_id=made["id"],
                    attempt_id=parse_attempt_id(made),
                    amount_minor=from_stripe(made["amount_received"], made["currency"]),
                    currency=made["currency"].upper(),
                )
            for refund in self._client.v1.refunds.list(query).auto_paging_iter():
                made = refund.to_dict()
                yield ProviderTransaction(
                    kind="refund",
                    object_id=made["id"],
                    payment_id=made["payment_intent"] or "",
                    attempt_id=None,
                    amount_minor=from_stripe(made["amount"], made["currency"]) if made["status"] == "succeeded" else 0,
                    currency=made["currency"].upper(),
                )

            for dispute in self._client.v1.disputes.list(query).auto_paging_iter():
                reported = dispute_snapshot(dispute)
                yield ProviderTransaction(
                    kind="dispute",
                    object_id=reported.object_id,
                    payment_id=str(dispute.payment_intent or ""),
                    attempt_id=None,
                    amount_minor=reported.amount_minor if reported.holds_funds else 0,
                    currency=reported.currency,
                )

    def confirms(self, kind: str, snapshot: PaymentSnapshot) -> bool:  # noqa: ARG002 a signed event has happened
        return True

    def _charge(self, request: PaymentRequest) -> PaymentSnapshot:
        """Charge a saved card. A declined charge returns a failed payment with the decline code."""
        params: Any = {
            "amount": to_stripe(request.amount_minor, request.currency),
            "currency": request.currency.lower(),
            "customer": request.customer_id,
            "payment_method": request.method_id,
            "confirm": True,
            "off_session": True,
            "description": request.description,
            "metadata": _metadata(request),
        }
        with _provider_call():
            try:
                payment = self._payments.create(params, {"idempotency_key": str(request.attempt_id)})
                if _is_replayed(payment):
                    payment = self._payments.retrieve(payment.id)
                return self._charge_snapshot(payment.to_dict())
            except stripe.CardError as error:
                body: Any = error.json_body  # contains the id of the declined payment
                return self._charge_snapshot(self._payments.retrieve(body["error"]["payment_intent"]["id"]).to_dict())
            except stripe.InvalidRequestError as error:
                raise PaymentRefused(error.code or "invalid_request") from error

    def _list_for_payment(self, payment_id: str, resource: Any) -> list[Any]:
        """Return the refunds or disputes of a payment; none if Stripe does not know the payment."""
        with _provider_call():
            try:
                return list(resource.list({"payment_intent": payment_id, "limit": 100}).auto_paging_iter())
            except stripe.InvalidRequestError as error:
                if _is_missing(error):
                    return []
                raise

    def _refetch(self, checkout_session_id: str | None) -> PaymentSnapshot:
        snapshot = self.fetch(checkout_session_id) if checkout_session_id else None
        if snapshot is None:
            raise ProviderOutcomeUnknown(NAME)
        return snapshot

    @property
    def _payments(self) -> Any:
        return self._client.v1.payment_intents

    @property
    def _sessions(self) -> Any:
        return self._client.v1.checkout.sessions

    def _charge_snapshot(self, payment: dict[str, Any]) -> PaymentSnapshot:
        """Return the snapshot of a payment without Checkout Session; its id serves as ``checkout_session_id``."""
        no_session = {"status": "complete", "payment_status": "unpaid"}
        checkout_session = {
            **no_session,
            "id": payment["id"],
            "url": None,
            "livemode": payment["livemode"],
            "customer": None,
        }
        return self._build_snapshot(checkout_session, payment, amount=payment["amount"], metadata=payment["metadata"])

    def _snapshot(self, session: Any) -> PaymentSnapshot:
        checkout_session = session.to_dict()  # a StripeObject is not a dict
        return self._build_snapshot(
            checkout_session,
            checkout_session["payment_intent"] or {},
            amount=checkout_session["amount_total"],
            metadata=checkout_session["metadata"] or {},
        )

    def _build_snapshot(
        self, checkout_session: dict[str, Any], payment: dict[str, Any], *, amount: int, metadata: dict[str, str]
    ) -> PaymentSnapshot:
        currency = (payment or checkout_session)["currency"].upper()
        failure = payment.get("last_payment_error") or {}
        return PaymentSnapshot(
            account=self.account,
            live_mode=checkout_session["livemode"],
            checkout_session_id=checkout_session["id"],
            checkout_url=checkout_session["url"],
            checkout_session_open=checkout_session["status"] == "open",
            payment_id=payment.get("id"),
            status=map_status(checkout_session, payment),
            amount_minor=from_stripe(amount, currency),
            currency=currency,
            captured_minor=from_stripe(payment.get("amount_received", 0), currency),
            order_id=metadata.get("order_id"),
            attempt_id=metadata.get("attempt_id"),
            failure_reason=failure.get("decline_code") or failure.get("code"),
            method_id=payment.get("payment_method") if payment.get("setup_future_usage") else None,
            customer_id=checkout_session["customer"],
        )


def _notification(event: StripeEvent) -> ProviderNotification | None:
    """Return the notification of a handled event; None if it refers to no payment intent and cannot be ours."""
    object_id = event.object_id
    return ProviderNotification(dedupe_key=event.id, type=event.type, object_id=object_id) if object_id else None


def _is_missing(error: stripe.InvalidRequestError) -> bool:
    return bool(error.code == "resource_missing")


def _is_replayed(made: Any) -> bool:
    """Return whether the response is replayed for a used key: the object may have changed since."""
    return bool(made.last_response.headers.get("idempotent-replayed") == "true")


def _metadata(request: PaymentRequest) -> dict[str, str]:
    return {"order_id": str(request.order_id), "attempt_id": str(request.attempt_id)}


def _payment_id(snapshot: PaymentSnapshot) -> str:
    assert snapshot.payment_id is not None  # an authorized snapshot has a payment
    return snapshot.payment_id


def _idempotency_key(verb: str, snapshot: PaymentSnapshot) -> Any:
    return {"idempotency_key": f"{snapshot.attempt_id}:{verb}"}


def _within_list(paths: list[str]) -> list[str]:
    return [f"data.{path}" for path in paths]


@contextmanager
def _provider_call() -> Iterator[None]:
    """Count the call, and translate errors that the SDK raises after its retries.

    Raises ProviderUnavailable and ProviderOutcomeUnknown.
    """
    try:
        with provider_calls.limit.call(NAME):
            yield
    except (stripe.RateLimitError, stripe.AuthenticationError, stripe.PermissionError) as error:
        log.warning("stripe rejected the call", reason=error.code or type(error).__name__, status=error.http_status)
        raise ProviderUnavailable(NAME) from error
    except stripe.StripeError as error:
        # Lost connection, timeout, 5xx, 409 (a call with this key is running), or a key used with another body by an
        # earlier release: in each case the object may exist, and has to be looked up.
        raise ProviderOutcomeUnknown(NAME) from error
