"""The payments service as its tests use it: one transaction for all, a fake that speaks to the real SDK."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select
from sqlalchemy.orm import Session

import settings
from core.bus.outbox import OutboxEvent
from core.db import new_id, utc_now
from models.events import CoursePublished
from models.payments import Bundle, Coupon, Order, PaymentAttempt, PaymentSnapshot, ProviderEvent
from tests.fakes.conftest import FakeProcess, WebhookReceiver
from tests.fakes.conftest import ReceivedWebhook as Sent
from tests.support.tasks import Killed
from workers.payments.checkouts import start_checkout
from workers.payments.offers import upsert_offer
from workers.payments.payment_sync import apply_payment_snapshot, sync_attempt, sync_checkout
from workers.payments.provider import IncomingWebhook, Providers
from workers.payments.refunds import refund_order
from workers.payments.stripe import Stripe
from workers.payments.webhooks import apply_provider_event, receive_webhook
from workers.payments.yookassa import YooKassa


class NestedTransactions:
    """``Transactions`` inside the one transaction of a test. ``killed_before`` ends the process before the nth."""

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

    @property
    def transactions(self) -> NestedTransactions:
        return NestedTransactions(self.session)

    def enqueue_after_commit(self, task: str, **message: Any) -> None:
        self.enqueued.append((task, message))

    def checkout(
        self, course_id: UUID | None = None, *, transactions: NestedTransactions | None = None, **fields: Any
    ) -> dict[str, Any]:
        wanted = {
            "plan_id": None,
            "user_id": self.buyer,
            "provider": "stripe",
            "success_url": "https://shop.test/done",
            "cancel_url": None,
            "receipt_email": "ann@example.com",
        }
        return start_checkout(transactions or self.transactions, self.providers, course_id=course_id, **wanted | fields)

    def buy(self, course_id: UUID | None = None, **fields: Any) -> dict[str, Any]:
        """A checkout whose page was paid, and whose order is."""
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
        wanted = {"order_id": checkout["order_id"], "reason": "asked for", "requested_by": uuid4()} | fields
        return refund_order(
            transactions or self.transactions, providers or self.providers, amount_minor=amount_minor, **wanted
        )

    def refunded_at_provider(self, checkout: dict[str, Any]) -> list[int]:
        """The amounts that the provider has really given back, the oldest first."""
        payment_id = self.attempt(checkout).payment_id
        refunds = [each for each in self.fake_stripe.get("/__state")["refunds"] if each["payment_id"] == payment_id]
        return [refund["amount_minor"] for refund in refunds if refund["status"] != "failed"]

    def attempt(self, checkout: dict[str, Any]) -> PaymentAttempt:
        return self.session.get_one(PaymentAttempt, checkout["id"])

    def order(self, checkout: dict[str, Any]) -> Order:
        return Order.get_for_update(self.session, checkout["order_id"])

    def pay(self, checkout: dict[str, Any], outcome: str = "succeed", **more: str) -> None:
        attempt = self.attempt(checkout)
        at = self.fake_stripe if attempt.provider == "stripe" else self.fake_yookassa
        at.pay(attempt.page_id, outcome, **more)

    def webhook(self, object_id: str, kind: str) -> dict[str, Any]:
        """The message of a webhook that a fake has sent: body and headers as the gateway passes them on."""
        return as_gateway_message(self.receiver.wait_for_one(object_id, kind))

    def receive(self, message: dict[str, Any], *, provider: str = "stripe") -> dict[str, Any]:
        webhook = IncomingWebhook(**{"address": "127.0.0.1", **message})
        return receive_webhook(
            self.session, self.providers, self.enqueue_after_commit, provider=provider, webhook=webhook
        )

    def receive_and_apply(self, object_id: str, kind: str, *, provider: str = "stripe") -> None:
        """Receive a webhook, and do what it starts."""
        self.enqueued.clear()
        self.receive(self.webhook(object_id, kind), provider=provider)
        self.run_enqueued()

    def run_enqueued(self) -> None:
        for _task, message in self.enqueued:
            apply_provider_event(self.transactions, self.providers, **message)

    def complete_session(self, checkout: dict[str, Any]) -> None:
        self.receive_and_apply(self.attempt(checkout).page_id, "checkout.session.completed")

    def sync(self, checkout: dict[str, Any]) -> None:
        sync_attempt(self.transactions, self.providers, attempt_id=checkout["id"])

    def return_from_checkout(self, checkout: dict[str, Any], *, user_id: UUID | None = None) -> dict[str, Any]:
        """Do what the return page does."""
        whose = user_id or self.buyer
        return sync_checkout(self.transactions, self.providers, checkout_id=checkout["id"], user_id=whose)

    def apply(self, checkout: dict[str, Any], **said: Any) -> None:
        """Apply a provider's word about the checkout that is as it should be but for ``said``."""
        attempt = self.attempt(checkout)
        apply_payment_snapshot(self.session, attempt, replace(make_snapshot(attempt), **said))

    def event_types(self, checkout: dict[str, Any]) -> list[str]:
        return event_types(self.session, checkout["order_id"])

    def provider_events(self) -> list[ProviderEvent]:
        """Those of this test; others may have committed theirs."""
        mine = select(ProviderEvent).where(ProviderEvent.id > self.since)
        return list(self.session.scalars(mine.order_by(ProviderEvent.id)))

    def checkout_sessions(self) -> list[dict[str, Any]]:
        """The payment pages that Stripe has, newest first; at most a hundred."""
        client = self.providers["stripe"]._client  # noqa: SLF001 the adapter has no need of such a list
        return [page.to_dict() for page in client.v1.checkout.sessions.list({"limit": 100}).data]


def as_gateway_message(sent: Sent) -> dict[str, Any]:
    """A webhook as the gateway passes it on."""
    return {
        "body": sent.body,
        "headers": {name.lower(): value for name, value in sent.headers.items()},
        "address": sent.address,
    }


def make_yookassa(url: str, **fields: Any) -> YooKassa:
    given = {"url": url, "trusted_networks": ("127.0.0.2",), "vat_code": 1}
    return YooKassa(settings.YOOKASSA_SHOP_ID, settings.YOOKASSA_SECRET_KEY, **given | fields)


def make_stripe(url: str, **fields: Any) -> Stripe:
    return Stripe(
        settings.STRIPE_SECRET_KEY, **{"url": url, "account": "main", "webhook_secrets": ("whsec_local",)} | fields
    )


def make_offer(session: Session, *, course_id: UUID | None = None, course_version: int = 1, **fields: Any) -> UUID:
    """A course on sale; returns its id."""
    course_id = course_id or new_id()
    wanted = {"title": "Sourdough", "price_minor": 4900, "currency": "USD"} | fields
    event = CoursePublished(
        course_id=course_id,
        course_version=course_version,
        slug="sourdough",
        instructor_id=uuid4(),
        sequential=False,
        sections=[],
        published_at=utc_now(),
        **wanted,
    )
    upsert_offer(session, event=event)
    return course_id


def make_snapshot(attempt: PaymentAttempt, **said: Any) -> PaymentSnapshot:
    """What a provider says of an attempt whose page is open."""
    matching = PaymentSnapshot(
        account=attempt.account,
        live_mode=attempt.live_mode,
        page_id=attempt.page_id or f"cs_{attempt.id.hex}",
        page_url="https://pay.test",
        page_open=True,
        payment_id=None,
        status="requires_action",
        amount_minor=attempt.amount_minor,
        currency=attempt.currency,
        captured_minor=0,
        order_id=str(attempt.order_id),
        attempt_id=str(attempt.id),
    )
    return replace(matching, **said)


def paid_snapshot(attempt: PaymentAttempt, **said: Any) -> PaymentSnapshot:
    taken = {"status": "succeeded", "page_open": False, "captured_minor": attempt.amount_minor, "payment_id": "pi_1"}
    return make_snapshot(attempt, **taken | said)


def event_types(session: Session, order_id: UUID) -> list[str]:
    """The types of an order's events, oldest first."""
    session.flush()
    events = select(OutboxEvent.type).where(OutboxEvent.aggregateid == str(order_id))
    return list(session.scalars(events.order_by(OutboxEvent.aggregate_version)))


def timeline_steps(harness: PaymentsHarness, checkout: dict[str, Any]) -> list[str]:
    """What the order's timeline tells."""
    harness.session.flush()
    return [step.step for step in harness.order(checkout).list_history(harness.session, limit=50, after=None)]


def make_coupon(session: Session, **terms: Any) -> str:
    """A coupon of ten percent, or on other terms; returns its code."""
    wanted = {"code": f"C{uuid4().hex[:12]}".upper(), "kind": "percent", "value": 10} | terms
    return Coupon.create(session, wanted, at=utc_now()).code


def make_bundle(session: Session, *course_ids: UUID) -> UUID:
    """These courses for 60 dollars; returns the bundle's id."""
    fields = {"title": "All of it", "amount_minor": 6000, "currency": "USD"}
    bundle = Bundle.create({**fields, "course_ids": [str(course_id) for course_id in course_ids]}, at=utc_now())
    session.add(bundle)
    session.flush()
    return bundle.id
