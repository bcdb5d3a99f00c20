"""Harness for the payments service: all calls share one transaction, and the real SDKs call the fakes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

import settings
from core.bus.outbox import OutboxEvent
from core.commands import Command
from core.db import new_id, session_factory, utc_now
from models.commands.payments import IncomingWebhook
from models.events import CoursePublished
from models.payments import Bundle, Coupon, Order, Orders, PaymentAttempt, PaymentSnapshot, ProviderEvent
from models.payments.order_responses import order_response
from tests.support.fake_processes import FakeProcess, WebhookReceiver
from tests.support.fake_processes import ReceivedWebhook as Sent
from tests.support.tasks import Killed
from workers.payments.checkouts import start_checkout
from workers.payments.offers import upsert_offer
from workers.payments.payment_flow import apply_payment_snapshot
from workers.payments.payment_sync import sync_attempt, sync_checkout
from workers.payments.provider import Providers
from workers.payments.reconciliation import fetch_undelivered_events
from workers.payments.refunds import refund_order
from workers.payments.stripe import Stripe
from workers.payments.webhooks import apply_provider_event, receive_webhook
from workers.payments.yookassa import YooKassa

CONCURRENCY = 8  # one for each connection


class CommittingTransactions:
    """``Transactions`` without an idempotency claim."""

    def __init__(self, command_id: UUID | None = None) -> None:
        self.command_id = command_id or uuid4()

    @contextmanager
    def begin(self) -> Iterator[Session]:
        with session_factory("payments").begin() as session:
            yield session

    def complete(self, _session: Session, result: Any) -> Any:
        return result


class NestedTransactions:
    """``Transactions`` as savepoints of the test's transaction.

    ``killed_before=n`` raises ``Killed`` before the nth transaction begins.
    """

    def __init__(self, session: Session, *, command_id: UUID | None = None) -> None:
        self.command_id = command_id or uuid4()
        self._session = session
        self._started = 0
        self.killed_before: int | None = None

    @contextmanager
    def begin(self) -> Iterator[Session]:
        self._started += 1
        if self._started == self.killed_before:
            raise Killed
        with self._session.begin_nested():
            yield self._session

    def complete(self, _session: Session, result: Any) -> Any:
        return result


@dataclass
class PaymentsHarness:
    session: Session
    providers: Providers
    fake_stripe: FakeProcess
    receiver: WebhookReceiver
    fake_yookassa: FakeProcess | None = None
    buyer: UUID = field(default_factory=uuid4)
    enqueued: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    since: UUID = field(default_factory=new_id)
    started_at: datetime = field(default_factory=utc_now)

    @property
    def transactions(self) -> NestedTransactions:
        return NestedTransactions(self.session)

    def enqueue_after_commit(self, command: Command) -> None:
        self.enqueued.append((command.task, msgspec.structs.asdict(command)))

    def checkout(
        self, course_id: UUID | None = None, *, transactions: NestedTransactions | None = None, **fields: Any
    ) -> dict[str, Any]:
        defaults = {
            "plan_id": None,
            "user_id": self.buyer,
            "provider": "stripe",
            "success_url": "https://shop.test/done",
            "cancel_url": None,
            "receipt_email": "ann@example.com",
        }
        message = defaults | fields
        return start_checkout(transactions or self.transactions, self.providers, course_id=course_id, **message)

    def buy(self, course_id: UUID | None = None, **fields: Any) -> dict[str, Any]:
        """Check out, pay the checkout session and synchronize the order. Returns the checkout."""
        checkout = self.checkout(course_id, **fields)
        self.pay(checkout)
        self.sync(checkout)
        return checkout

    def refund(
        self,
        checkout: dict[str, Any],
        amount_minor: int | None = None,
        *,
        transactions: NestedTransactions | None = None,
        providers: Providers | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        arguments = {
            "order_id": checkout["order_id"],
            "reason": "requested by the buyer",
            "requested_by": uuid4(),
        } | fields
        return refund_order(
            transactions or self.transactions, providers or self.providers, amount_minor=amount_minor, **arguments
        )

    def refunded_at_provider(self, checkout: dict[str, Any]) -> list[int]:
        """Return the amounts that the provider has refunded, the oldest first."""
        payment_id = self.attempt(checkout).payment_id
        refunds = [each for each in self.fake_stripe.get("/__state")["refunds"] if each["payment_id"] == payment_id]
        return [refund["amount_minor"] for refund in refunds if refund["status"] != "failed"]

    def attempt(self, checkout: dict[str, Any]) -> PaymentAttempt:
        return self.session.get_one(PaymentAttempt, checkout["id"])

    def order(self, checkout: dict[str, Any]) -> Order:
        return Orders(self.session).get_for_update(checkout["order_id"])

    def order_response(self, checkout: dict[str, Any]) -> dict[str, Any]:
        return order_response(self.order(checkout))

    def pay(self, checkout: dict[str, Any], outcome: str = "succeed", **more: str) -> None:
        attempt = self.attempt(checkout)
        at = self.fake_stripe if attempt.provider == "stripe" else self.fake_yookassa
        at.pay(attempt.checkout_session_id, outcome, **more)

    def webhook(self, object_id: str, kind: str) -> dict[str, Any]:
        """Return a webhook that a fake has sent, as the gateway passes it to the worker."""
        return as_gateway_message(self.receiver.wait_for_one(object_id, kind))

    def receive(self, message: dict[str, Any], *, provider: str = "stripe") -> dict[str, Any]:
        webhook = IncomingWebhook(**{"address": "127.0.0.1", **message})
        return receive_webhook(
            self.session, self.providers, self.enqueue_after_commit, provider=provider, webhook=webhook
        )

    def receive_and_apply(self, object_id: str, kind: str, *, provider: str = "stripe") -> None:
        """Receive a webhook and run the tasks that it enqueues."""
        self.enqueued.clear()
        self.receive(self.webhook(object_id, kind), provider=provider)
        self.run_enqueued()

    def run_enqueued(self) -> None:
        for _task, message in self.enqueued:
            apply_provider_event(self.transactions, self.providers, **message)

    def pull(self) -> None:
        """Fetch the events that no webhook has delivered, and apply them."""
        self.enqueued.clear()
        fetch_undelivered_events(self.transactions, self.providers, self.enqueue_after_commit)
        self.run_enqueued()

    def complete_session(self, checkout: dict[str, Any]) -> None:
        self.receive_and_apply(self.attempt(checkout).checkout_session_id, "checkout.session.completed")

    def sync(self, checkout: dict[str, Any]) -> None:
        sync_attempt(self.transactions, self.providers, attempt_id=checkout["id"])

    def return_from_checkout(self, checkout: dict[str, Any], *, user_id: UUID | None = None) -> dict[str, Any]:
        """Synchronize the checkout as the return page does."""
        user_id = user_id or self.buyer
        return sync_checkout(self.transactions, self.providers, checkout_id=checkout["id"], user_id=user_id)

    def apply(self, checkout: dict[str, Any], **overrides: Any) -> None:
        """Apply a snapshot that matches the attempt except for ``overrides``."""
        attempt = self.attempt(checkout)
        apply_payment_snapshot(self.session, attempt, replace(make_snapshot(attempt), **overrides))

    def event_types(self, checkout: dict[str, Any]) -> list[str]:
        return event_types(self.session, checkout["order_id"])

    def provider_events(self) -> list[ProviderEvent]:
        """Return the provider events of this test; other tests may have committed more."""
        statement = select(ProviderEvent).where(ProviderEvent.id > self.since)
        return list(self.session.scalars(statement.order_by(ProviderEvent.id)))

    def checkout_sessions(self) -> list[dict[str, Any]]:
        """Return the newest hundred checkout sessions at Stripe, newest first."""
        client = self.providers["stripe"]._client  # noqa: SLF001 the adapter does not need this list
        return [page.to_dict() for page in client.v1.checkout.sessions.list({"limit": 100}).data]


def as_gateway_message(sent: Sent) -> dict[str, Any]:
    """Convert a webhook into the message that the gateway sends to the worker."""
    return {
        "body": sent.body,
        "headers": {name.lower(): value for name, value in sent.headers.items()},
        "address": sent.address,
    }


def make_yookassa(url: str, **fields: Any) -> YooKassa:
    defaults = {"url": url, "trusted_networks": ("127.0.0.2",), "vat_code": 1}
    return YooKassa(settings.YOOKASSA_SHOP_ID, settings.YOOKASSA_SECRET_KEY, **defaults | fields)


def make_stripe(url: str, **fields: Any) -> Stripe:
    return Stripe(
        settings.STRIPE_SECRET_KEY, **{"url": url, "account": "main", "webhook_secrets": ("whsec_local",)} | fields
    )


def make_offer(session: Session, *, course_id: UUID | None = None, course_version: int = 1, **fields: Any) -> UUID:
    """Put a course on sale; returns its id."""
    course_id = course_id or new_id()
    defaults = {"title": "Sourdough", "price_minor": 4900, "currency": "USD"} | fields
    event = CoursePublished(
        course_id=course_id,
        course_version=course_version,
        slug="sourdough",
        instructor_id=uuid4(),
        sequential=False,
        sections=[],
        published_at=utc_now(),
        **defaults,
    )
    upsert_offer(session, event=event)
    return course_id


def make_snapshot(attempt: PaymentAttempt, **overrides: Any) -> PaymentSnapshot:
    """Return the provider's state of an attempt whose checkout session is open."""
    matching = PaymentSnapshot(
        account=attempt.account,
        live_mode=attempt.live_mode,
        checkout_session_id=attempt.checkout_session_id or f"cs_{attempt.id.hex}",
        checkout_url="https://pay.test",
        checkout_session_open=True,
        payment_id=None,
        status="requires_action",
        amount_minor=attempt.amount_minor,
        currency=attempt.currency,
        captured_minor=0,
        order_id=str(attempt.order_id),
        attempt_id=str(attempt.id),
    )
    return replace(matching, **overrides)


def paid_snapshot(attempt: PaymentAttempt, **overrides: Any) -> PaymentSnapshot:
    paid = {
        "status": "succeeded",
        "checkout_session_open": False,
        "captured_minor": attempt.amount_minor,
        "payment_id": "pi_1",
    }
    return make_snapshot(attempt, **paid | overrides)


def event_types(session: Session, order_id: UUID) -> list[str]:
    """Return the event types of an order, oldest first."""
    session.flush()
    events = select(OutboxEvent.type).where(OutboxEvent.aggregateid == str(order_id))
    return list(session.scalars(events.order_by(OutboxEvent.aggregate_version)))


def timeline_steps(harness: PaymentsHarness, checkout: dict[str, Any]) -> list[str]:
    """Return the steps of the order's timeline."""
    harness.session.flush()
    return [step.step for step in Orders(harness.session).list_history(harness.order(checkout), limit=50, after=None)]


def make_coupon(session: Session, **terms: Any) -> str:
    """Create a coupon, by default of ten percent; returns its code."""
    defaults = {"code": f"C{uuid4().hex[:12]}".upper(), "kind": "percent", "value": 10} | terms
    return Coupon.create(session, defaults, at=utc_now()).code


def make_bundle(session: Session, *course_ids: UUID) -> UUID:
    """Create a bundle of these courses for 60 dollars; returns its id."""
    fields = {"title": "All of it", "amount_minor": 6000, "currency": "USD"}
    bundle = Bundle.create({**fields, "course_ids": [str(course_id) for course_id in course_ids]}, at=utc_now())
    session.add(bundle)
    session.flush()
    return bundle.id
