"""Stripe: hosted Checkout Sessions and off-session charges, through Stripe's SDK."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec
import stripe

import settings
from models.errors import HookUnreadable, PaymentRefused, ProviderOutcomeUnknown, ProviderUnavailable, SignatureInvalid
from models.log import get_logger
from models.payments import DisputeSnapshot, Movement, RefundSnapshot, Snapshot
from models.webhooks import FURTHEST_AHEAD, verify_stripe

from .provider import Notice, PageRequest, RefundRequest, Webhook
from .stripe_amounts import StripeAmounts, from_stripe, to_stripe
from .stripe_objects import FOLLOWED, StripeEvent, attempt_id, dispute_snapshot, read_event, refund_snapshot, status

log = get_logger(__name__)

NAME = "Stripe"
API_HOST = "api.stripe.com"

# An event may appear in the list some time after its "created" timestamp.
LISTED_WITHIN = timedelta(minutes=5)

_WITH_PAYMENT = ["payment_intent"]


class Stripe:
    """A Stripe account. ``url`` may point to the fake of Stripe, but not with a live key."""

    name = NAME
    page_open_for = timedelta(hours=23)  # Stripe allows at most 24 h, by its own clock
    wants_receipt_email = False
    amounts = StripeAmounts()

    def __init__(self, key: str, *, url: str, account: str, webhook_secrets: tuple[str, ...]) -> None:
        self.account = account
        self.live_mode = key.startswith(("sk_live_", "rk_live_"))
        if self.live_mode and urlsplit(url).hostname != API_HOST:
            raise SystemExit("a live key of Stripe is sent to Stripe's own host alone")
        if not webhook_secrets or not all(webhook_secrets):
            raise SystemExit("an empty webhook secret is one that anybody could sign with")
        self._webhook_secrets = [secret.encode() for secret in webhook_secrets]
        self._client = stripe.StripeClient(
            key,
            base_addresses={"api": url},
            max_network_retries=2,  # set explicitly, the SDK would not retry otherwise
            http_client=stripe.RequestsClient(timeout=settings.PROVIDER_TIMEOUT_SECONDS),  # SDK default: 80 s
        )

    @classmethod
    def configured(cls) -> Self:
        return cls(
            settings.STRIPE_SECRET_KEY,
            url=settings.STRIPE_API_URL,
            account=settings.STRIPE_ACCOUNT,
            webhook_secrets=settings.STRIPE_WEBHOOK_SECRETS,
        )

    def open_page(self, request: PageRequest) -> Snapshot:
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
        with _errors_as_ours():
            try:
                session = self._sessions.create(params, {"idempotency_key": str(request.attempt_id)})
            except (stripe.CardError, stripe.InvalidRequestError) as error:
                raise PaymentRefused(error.code or "invalid_request") from error
            if _is_replayed(session):
                session = self._sessions.retrieve(session.id, {"expand": _WITH_PAYMENT})
            return self._snapshot(session)

    def fetch(self, object_id: str) -> Snapshot | None:
        with _errors_as_ours():
            try:
                if object_id.startswith("cs_"):
                    page = self._sessions.retrieve(object_id, {"expand": _WITH_PAYMENT})
                    return self._snapshot(page) if page.mode == "payment" else None
                made_by = self._sessions.list({"payment_intent": object_id, "expand": _within_list(_WITH_PAYMENT)})
                if made_by.data:
                    return self._snapshot(made_by.data[0])
                return self._charge_snapshot(self._payments.retrieve(object_id).to_dict())
            except stripe.InvalidRequestError as error:
                if _is_missing(error):
                    return None
                raise

    def find(self, request: PageRequest) -> Snapshot | None:
        since = int((request.created_at - FURTHEST_AHEAD).timestamp())  # allows for clock skew
        until = int(request.expires_at.timestamp())
        query: Any = {"created": {"gte": since, "lte": until}, "limit": 100}
        with _errors_as_ours():
            if request.method_id:
                made = (self._charge_snapshot(each.to_dict()) for each in self._payments.list(query).auto_paging_iter())
            else:
                opened = self._sessions.list({**query, "expand": _within_list(_WITH_PAYMENT)})
                made = (self._snapshot(page) for page in opened.auto_paging_iter() if page.mode == "payment")
            return next((each for each in made if each.attempt_id == str(request.attempt_id)), None)

    def expire_page(self, page_id: str) -> Snapshot:
        with _errors_as_ours():
            try:
                return self._snapshot(self._sessions.expire(page_id, {"expand": _WITH_PAYMENT}))
            except stripe.InvalidRequestError:
                # The session is no longer open, or is a charge. Fetch it to see whether it is paid or expired.
                return self._looked_at(page_id)

    def take(self, snapshot: Snapshot) -> Snapshot:
        # InvalidRequestError: the payment is no longer authorized; the fetch returns its state.
        with _errors_as_ours(), suppress(stripe.InvalidRequestError):
            self._payments.capture(_payment_id(snapshot), {}, _once("take", snapshot))
        return self._looked_at(snapshot.page_id)

    def release(self, snapshot: Snapshot) -> Snapshot:
        with _errors_as_ours(), suppress(stripe.InvalidRequestError):
            self._payments.cancel(_payment_id(snapshot), {}, _once("release", snapshot))
        return self._looked_at(snapshot.page_id)

    def refund(self, request: RefundRequest) -> RefundSnapshot:
        params: Any = {
            "payment_intent": request.payment_id,
            "amount": to_stripe(request.amount_minor, request.currency),
            "metadata": {"order_id": str(request.order_id), "refund_id": str(request.refund_id)},
        }
        with _errors_as_ours():
            try:
                refund = self._client.v1.refunds.create(params, {"idempotency_key": str(request.refund_id)})
            except (stripe.CardError, stripe.InvalidRequestError) as error:
                raise PaymentRefused(error.code or "invalid_request") from error
            if _is_replayed(refund):
                refund = self._client.v1.refunds.retrieve(refund.id)
            return refund_snapshot(refund)

    def refunds_of(self, payment_id: str) -> list[RefundSnapshot]:
        return [refund_snapshot(refund) for refund in self._made_on(payment_id, self._client.v1.refunds)]

    def disputes_of(self, payment_id: str) -> list[DisputeSnapshot]:
        return [dispute_snapshot(dispute) for dispute in self._made_on(payment_id, self._client.v1.disputes)]

    def forget_customer(self, customer_id: str) -> None:
        with _errors_as_ours():
            try:
                self._client.v1.customers.delete(customer_id)
            except stripe.InvalidRequestError as error:
                if error.code != "resource_missing":
                    raise

    def read_notice(self, webhook: Webhook, *, at: datetime) -> Notice | None:
        verify_stripe(webhook.body, webhook.headers.get("stripe-signature", ""), self._webhook_secrets, at=at)
        event = read_event(webhook.body)
        if event.type not in FOLLOWED:
            return None
        if event.livemode != self.live_mode:
            raise SignatureInvalid("it is of the other mode than our key")
        return _notice(event)

    def missed(self, since: datetime) -> Iterator[Notice]:
        # Not by delivery_success: Stripe counts no delivery as failed while an endpoint is disabled or missing.
        created = {"gte": int((since - LISTED_WITHIN).timestamp())}
        query: Any = {"types": sorted(FOLLOWED), "created": created, "limit": 100}
        with _errors_as_ours():
            for listed in self._client.v1.events.list(query).auto_paging_iter():
                try:
                    event = msgspec.convert(listed.to_dict(), type=StripeEvent)
                    notice = _notice(event) if event.livemode == self.live_mode else None
                except (msgspec.ValidationError, HookUnreadable) as error:
                    log.warning("event cannot be read", provider=NAME, object_id=listed.id, reason=str(error))
                    continue
                if notice:
                    yield notice

    def movements(self, since: datetime, until: datetime) -> Iterator[Movement]:
        query: Any = {"created": {"gte": int(since.timestamp()), "lt": int(until.timestamp())}, "limit": 100}
        with _errors_as_ours():
            for payment in self._payments.list(query).auto_paging_iter():
                made = payment.to_dict()
                yield Movement(
                    kind="capture",
                    object_id=made["id"],
                    payment_id=made["id"],
                    attempt_id=attempt_id(made),
                    amount_minor=from_stripe(made["amount_received"], made["currency"]),
                    currency=made["currency"].upper(),
                )
            for refund in self._client.v1.refunds.list(query).auto_paging_iter():
                made = refund.to_dict()
                yield Movement(
                    kind="refund",
                    object_id=made["id"],
                    payment_id=made["payment_intent"] or "",
                    attempt_id=None,
                    amount_minor=from_stripe(made["amount"], made["currency"]) if made["status"] == "succeeded" else 0,
                    currency=made["currency"].upper(),
                )

            for dispute in self._client.v1.disputes.list(query).auto_paging_iter():
                told = dispute_snapshot(dispute)
                yield Movement(
                    kind="dispute",
                    object_id=told.object_id,
                    payment_id=str(dispute.payment_intent or ""),
                    attempt_id=None,
                    amount_minor=told.amount_minor if told.has_taken else 0,
                    currency=told.currency,
                )

    def bears_out(self, kind: str, snapshot: Snapshot) -> bool:  # noqa: ARG002 a signed event has happened
        return True

    def _charge(self, request: PageRequest) -> Snapshot:
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
        with _errors_as_ours():
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

    def _made_on(self, payment_id: str, resource: Any) -> list[Any]:
        """Return the refunds or disputes of a payment; none if Stripe does not know the payment."""
        with _errors_as_ours():
            try:
                return list(resource.list({"payment_intent": payment_id, "limit": 100}).auto_paging_iter())
            except stripe.InvalidRequestError as error:
                if _is_missing(error):
                    return []
                raise

    def _looked_at(self, page_id: str | None) -> Snapshot:
        snapshot = self.fetch(page_id) if page_id else None
        if snapshot is None:
            raise ProviderOutcomeUnknown(NAME)
        return snapshot

    @property
    def _payments(self) -> Any:
        return self._client.v1.payment_intents

    @property
    def _sessions(self) -> Any:
        return self._client.v1.checkout.sessions

    def _charge_snapshot(self, payment: dict[str, Any]) -> Snapshot:
        """Return the snapshot of a payment without Checkout Session; the payment's id serves as ``page_id``."""
        no_page = {"status": "complete", "payment_status": "unpaid"}
        page = {**no_page, "id": payment["id"], "url": None, "livemode": payment["livemode"], "customer": None}
        return self._told(page, payment, amount=payment["amount"], metadata=payment["metadata"])

    def _snapshot(self, session: Any) -> Snapshot:
        page = session.to_dict()  # a StripeObject is not a dict
        return self._told(
            page, page["payment_intent"] or {}, amount=page["amount_total"], metadata=page["metadata"] or {}
        )

    def _told(
        self, page: dict[str, Any], payment: dict[str, Any], *, amount: int, metadata: dict[str, str]
    ) -> Snapshot:
        currency = (payment or page)["currency"].upper()
        failure = payment.get("last_payment_error") or {}
        return Snapshot(
            account=self.account,
            live_mode=page["livemode"],
            page_id=page["id"],
            page_url=page["url"],
            page_open=page["status"] == "open",
            payment_id=payment.get("id"),
            status=status(page, payment),
            amount_minor=from_stripe(amount, currency),
            currency=currency,
            captured_minor=from_stripe(payment.get("amount_received", 0), currency),
            order_id=metadata.get("order_id"),
            attempt_id=metadata.get("attempt_id"),
            failure_reason=failure.get("decline_code") or failure.get("code"),
            method_id=payment.get("payment_method") if payment.get("setup_future_usage") else None,
            customer_id=page["customer"],
        )


def _notice(event: StripeEvent) -> Notice | None:
    """Return the notice of a handled event; None if it refers to no payment intent and cannot be ours."""
    object_id = event.object_id
    return Notice(dedupe_key=event.id, type=event.type, object_id=object_id) if object_id else None


def _is_missing(error: stripe.InvalidRequestError) -> bool:
    return bool(error.code == "resource_missing")


def _is_replayed(made: Any) -> bool:
    """Return whether the response is replayed for a used key: the object may have changed since."""
    return bool(made.last_response.headers.get("idempotent-replayed") == "true")


def _metadata(request: PageRequest) -> dict[str, str]:
    return {"order_id": str(request.order_id), "attempt_id": str(request.attempt_id)}


def _payment_id(snapshot: Snapshot) -> str:
    assert snapshot.payment_id is not None  # an authorized snapshot has a payment
    return snapshot.payment_id


def _once(verb: str, snapshot: Snapshot) -> Any:
    return {"idempotency_key": f"{snapshot.attempt_id}:{verb}"}


def _within_list(paths: list[str]) -> list[str]:
    return [f"data.{path}" for path in paths]


@contextmanager
def _errors_as_ours() -> Iterator[None]:
    """Translate errors that the SDK raises after its retries to ProviderUnavailable or ProviderOutcomeUnknown."""
    try:
        yield
    except (stripe.RateLimitError, stripe.AuthenticationError, stripe.PermissionError) as error:
        log.warning("stripe turned us away", reason=error.code or type(error).__name__, status=error.http_status)
        raise ProviderUnavailable(NAME) from error
    except stripe.StripeError as error:
        # Lost connection, timeout, 5xx, 409 (a call with this key is running), or a key used with another body by an
        # earlier release: in each case the object may exist, and has to be looked up.
        raise ProviderOutcomeUnknown(NAME) from error
