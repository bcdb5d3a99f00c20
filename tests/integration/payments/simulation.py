"""Simulation of one buyer, both providers, payments and courses with real commits and one clock.

Everything is deterministic: the test reads the providers' webhooks from their stores and delivers them, calls tasks and
jobs, and moves the clock.
"""

import io
import json
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid4, uuid5

import msgspec
import pytest
import requests
import stripe
from sqlalchemy import NullPool, create_engine
from yookassa.domain.exceptions.api_error import ApiError

import celery_app
import settings
from core import clock, commands, db, fault_injection
from core.db import session_factory
from core.log import get_logger
from core.redis import RELAY_HINT, queue_redis
from models.commands.payments import IncomingWebhook
from models.errors import DomainError, ProviderOutcomeUnknown, Unavailable
from models.events import UserDeleted
from models.events.routes import ROUTES
from models.payments import Bundle, Coupon, Plan
from ops.fakes.stripe.events import signature
from tests.integration.courses.factories import make_course
from tests.integration.payments.harness import CommittingTransactions
from tests.integration.users.event_delivery import deliver_pending_events
from tests.support.databases import Database
from tests.support.deliveries import deliver
from tests.support.events import build_event
from tests.support.fake_processes import FakeProcess
from tests.support.tasks import Killed
from workers import payments
from workers.courses.learning import show_access
from workers.payments.orders import expire_orders
from workers.payments.payment_sync import sync_attempt, sync_attempts
from workers.payments.personal_data import forget_customer, forget_customers
from workers.payments.reconciliation import fetch_undelivered_events
from workers.payments.refunds import sync_refund, sync_refunds
from workers.payments.subscriptions import process_due_subscriptions, process_subscription
from workers.payments.webhooks import apply_provider_event, receive_webhook, retry_pending_provider_events

log = get_logger(__name__)

START = datetime(2030, 1, 10, 12, tzinfo=UTC)
TRIAL_DAYS = 7
# The handlers of the other services affect neither money nor access.
OTHER_HANDLERS = tuple(
    handler for handlers in ROUTES.values() for handler in handlers if not handler.startswith(("payments.", "courses."))
)
TASKS: dict[str, Callable[..., Any]] = {
    "payments.sync_attempt": sync_attempt,
    "payments.sync_refund": sync_refund,
    "payments.process_subscription": process_subscription,
    "payments.apply_provider_event": apply_provider_event,
    "payments.forget_customer": forget_customer,
}
JOBS = (
    retry_pending_provider_events,
    sync_attempts,
    process_due_subscriptions,
    sync_refunds,
    forget_customers,
)


class Clock:
    """The clock that all services use."""

    def __init__(self) -> None:
        self.offset = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.offset


class FakeProvider:
    """The fake of a provider, whose store is read and cleared directly and not by its API."""

    def __init__(self, process: FakeProcess, state: Path) -> None:
        self.process = process
        self._path = state / "fakes" / f"{process.name}.sqlite3"

    def reset(self, at: datetime) -> None:
        """Delete everything and set the clock to ``at``. The fake sends no webhooks: the test reads them."""
        with self._store() as store:
            for table in ("documents", "responses", "webhooks", "named"):
                store.execute(f"DELETE FROM {table}")  # noqa: S608 names from here
            named = {"clock_offset_seconds": at.timestamp() - time.time(), "fault.drop_webhooks": 10**9}
            store.executemany("INSERT INTO named VALUES (?, ?)", [(k, json.dumps(v)) for k, v in named.items()])

    def documents(self, kind: str) -> list[dict[str, Any]]:
        """Return all documents of a kind, the oldest first."""
        with self._store() as store:
            rows = store.execute("SELECT body FROM documents WHERE kind = ? ORDER BY seq", (kind,))
            return [json.loads(body) for (body,) in rows]

    def webhooks(self, after: int) -> list[tuple[int, bytes]]:
        """Return the webhooks after the one with this number."""
        with self._store() as store:
            rows = store.execute("SELECT id, body FROM webhooks WHERE id > ? ORDER BY id", (after,))
            return [(number, body.encode()) for number, body in rows]

    @contextmanager
    def _store(self) -> Iterator[sqlite3.Connection]:
        store = sqlite3.connect(self._path, timeout=10)
        try:
            with store:
                yield store
        finally:
            store.close()


@dataclass(frozen=True)
class Pending:
    """A webhook that its provider has not delivered yet."""

    provider: str
    body: bytes


@dataclass(frozen=True)
class Command:
    """A client's command, which is repeated under the same key."""

    task: str
    message: dict[str, Any]
    key: str


class SavedRows:
    """The rows of a database, kept outside of it and restored before each sequence."""

    def __init__(self, database: Database) -> None:
        self._engine = create_engine(database.url, poolclass=NullPool)
        self._tables: dict[str, str] = {}
        with self._cursor() as cursor:
            cursor.execute(
                "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
                " WHERE schemaname NOT IN ('pg_catalog', 'information_schema') AND tablename <> 'alembic_version'"
            )
            for (table,) in cursor.fetchall():
                rows = io.StringIO()
                cursor.copy_expert(f"COPY {table} TO STDOUT", rows)
                self._tables[table] = rows.getvalue()

    def restore(self) -> None:
        """Replace all rows by the saved ones."""
        with self._cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")  # neither foreign keys nor triggers
            cursor.execute("; ".join(f"DELETE FROM {table}" for table in self._tables))  # noqa: S608 names from there
            for table, rows in self._tables.items():
                if rows:
                    cursor.copy_expert(f"COPY {table} FROM STDIN", io.StringIO(rows))

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        connection = self._engine.raw_connection()
        try:
            yield connection.cursor()
            connection.commit()
        finally:
            connection.close()


class PaymentsSimulation:
    def __init__(self, database: Database, fakes: dict[str, FakeProvider], clock_: Clock) -> None:
        self.database, self.fakes, self.clock = database, fakes, clock_
        self.crash_at: str | None = None
        self.seen: set[str] = set()  # the types of all events that the sequences caused
        self._read = dict.fromkeys(fakes, 0)
        self._set_clock()
        self._seed()
        self._seeded = SavedRows(database)
        self.reset()

    def reset(self) -> None:
        """Start over with a buyer who has bought nothing."""
        self._seeded.restore()
        queue_redis().delete(*settings.SERVICES, RELAY_HINT)
        self._set_clock()
        for name, fake in self.fakes.items():
            fake.reset(START)
            self._read[name] = max([number for number, _body in fake.webhooks(0)], default=0)
        self.buyer = uuid4()
        self.erased_at: datetime | None = None
        self.pending: list[Pending] = []
        self.crash_at = None
        self._keys = 0

    def _set_clock(self) -> None:
        self.clock.offset = START - datetime.now(UTC)

    def _seed(self) -> None:
        with session_factory("courses").begin() as session:
            prices = [{"price": {"amount_minor": amount, "currency": "RUB"}} for amount in (10000, 12000)]
            self.courses = [make_course(session, lessons=1, **price).id for price in prices]
        self.deliver_events()
        both = [str(course_id) for course_id in self.courses]
        with session_factory("payments").begin() as session:
            fields = {"title": "Both", "amount_minor": 18000, "currency": "RUB", "course_ids": both}
            bundle = Bundle.create(fields, at=self.clock())
            session.add(bundle)
            terms = {"amount_minor": 5000, "currency": "RUB", "interval": "month", "course_ids": both}
            plans = [
                Plan.create(name=f"Plan {days}", trial_days=days, at=self.clock(), **terms) for days in (0, TRIAL_DAYS)
            ]
            session.add_all(plans)
            Coupon.create(
                session, {"code": "TENTH", "kind": "percent", "value": 10, "max_per_user": 1}, at=self.clock()
            )
            self.goods = {
                "course": {"course_id": self.courses[0]},
                "other course": {"course_id": self.courses[1]},
                "bundle": {"bundle_id": bundle.id},
                "plan": {"plan_id": plans[0].id},
                "trial": {"plan_id": plans[1].id},
            }

    # Commands.

    def new_key(self) -> str:
        self._keys += 1
        return f"key-{self._keys}"

    def send(self, command: Command, *, crash_at: str | None = None) -> dict[str, Any] | None:
        """Execute a command as the worker does. Returns its result, or None if it was refused or crashed."""
        self.crash_at = crash_at
        claim = {"scope": f"{self.buyer}", "key": command.key, "fingerprint": "the body"}
        try:
            reply = deliver(command.task, command.message, claim=claim, seconds_left=20)
        except Killed:
            # The lease of its idempotency key expires before the client repeats the command.
            self.advance(minutes=1)
            return None
        finally:
            self.crash_at = None
        assert not {"crash", "poison"} & set(reply), (command, reply)
        result = reply.get("result")
        return result if isinstance(result, dict) else None

    def crash_if_armed(self, points: set[str]) -> None:
        """Replace ``core.fault_injection``: kill the process at the armed point."""
        if self.crash_at in points:
            self.crash_at = None
            raise Killed

    def erase(self) -> None:
        """Erase the buyer's account in both services."""
        event = build_event(UserDeleted, user_id=self.buyer)
        for handler in ("payments.erase_data", "courses.erase_data"):
            reply = deliver(handler, {"event": event}, event_id=uuid5(NAMESPACE_OID, f"{self.buyer}"))
            assert "result" in reply, reply
        self.erased_at = self.erased_at or self.clock()

    # Webhooks.

    def webhooks(self) -> list[Pending]:
        """Return the webhooks that the test has neither delivered nor dropped."""
        for name, fake in self.fakes.items():
            for number, body in fake.webhooks(self._read[name]):
                self._read[name] = number
                self.pending.append(Pending(name, body))
        return self.pending

    def receive(self, webhook: Pending, *, forged: bool = False, hint_lost: bool = False) -> None:
        """Deliver a webhook, and run its task unless the hint is lost."""
        enqueued: list[commands.Command] = []
        secret = "whsec_forged" if forged else settings.STRIPE_WEBHOOK_SECRETS[0]
        signed = signature(webhook.body, secret, int(self.clock().timestamp()))
        headers = {"stripe-signature": signed, "content-type": "application/json"}
        passed_on = IncomingWebhook(body=webhook.body, headers=headers, address="127.0.0.1" if forged else "127.0.0.2")
        try:
            with session_factory("payments").begin() as session:
                receive_webhook(
                    session,
                    payments._PROVIDERS,  # noqa: SLF001 as the worker injects them
                    enqueued.append,
                    provider=webhook.provider,
                    webhook=passed_on,
                )
        except DomainError:
            assert forged
            return
        assert not forged
        if not hint_lost:
            self._run(enqueued)

    # Time.

    def advance(self, **time_: float) -> None:
        """Advance all clocks while no service works."""
        step = timedelta(**time_)
        self.clock.offset += step
        for fake in self.fakes.values():
            fake.process.post("/__clock", advance_seconds=step.total_seconds())

    def run_jobs(self) -> None:
        """Run the due jobs and all tasks that they enqueue."""
        with session_factory("payments").begin() as session:
            expire_orders(session)
        for job in JOBS:
            enqueued: list[commands.Command] = []
            with session_factory("payments").begin() as session:
                job(session, enqueued.append)
            self._run(enqueued)

    def fetch_missed_events(self) -> None:
        """Run the hourly job that asks the providers for missed events."""
        enqueued: list[commands.Command] = []
        try:
            providers = payments._PROVIDERS  # noqa: SLF001 as the worker injects them
            fetch_undelivered_events(CommittingTransactions(), providers, enqueued.append)
        except Unavailable:
            log.info("fetching missed events did not finish")  # the next run asks again
        self._run(enqueued)

    def _run(self, enqueued: list[commands.Command]) -> None:
        for command in enqueued:
            try:
                message = msgspec.structs.asdict(command)
                TASKS[command.task](CommittingTransactions(), payments._PROVIDERS, **message)  # noqa: SLF001 as the worker injects them
            except DomainError as error:
                log.info(
                    "task refused", task=command.task, reason=str(error)
                )  # as in the worker: a sweep enqueues it again

    def deliver_events(self) -> None:
        """Deliver all published events to courses and payments."""
        deliver_pending_events(self.database, excluded_handlers=OTHER_HANDLERS)

    def has_access(self, course_id: UUID) -> bool:
        with session_factory("courses")() as session:
            return bool(show_access(session, user_id=self.buyer, course_id=course_id)["access"])

    # The buyer and the providers' dashboards.

    def pay(self, provider: str, checkout_session_id: str, outcome: str) -> requests.Response:
        return self.fakes[provider].process.pay(checkout_session_id, outcome)

    def checkout_sessions(self) -> list[tuple[str, str]]:
        """Return all checkout sessions ever opened as (provider, id), Stripe's first."""
        at_stripe = [("stripe", page["id"]) for page in self.fakes["stripe"].documents("checkout.session")]
        return at_stripe + [("yookassa", page["id"]) for page in self.fakes["yookassa"].documents("payment")]

    def refund_at_provider(self, provider: str, payment_id: str, amount_minor: int) -> None:
        """Refund in the provider's dashboard; does nothing if the provider refuses."""
        adapter: Any = payments._PROVIDERS[provider]  # noqa: SLF001 as the worker injects them
        try:
            if provider == "stripe":
                adapter._client.v1.refunds.create({"payment_intent": payment_id, "amount": amount_minor})  # noqa: SLF001
            else:
                amount = {"value": f"{amount_minor / 100:.2f}", "currency": "RUB"}
                adapter._refunds.create({"payment_id": payment_id, "amount": amount}, uuid4().hex)  # noqa: SLF001
        except (stripe.StripeError, ApiError, requests.RequestException, ProviderOutcomeUnknown) as error:
            # disputed, above the refundable amount, or an injected fault
            log.info("refund at the provider refused", reason=str(error))


def move_time(monkeypatch: pytest.MonkeyPatch, moved: Clock) -> None:
    """Replace ``utc_now`` by ``moved`` in every loaded module."""
    celery_app.celery_app.loader.import_default_modules()
    real = db.utc_now
    for module in list(sys.modules.values()):
        names = [name for name, value in vars(module).items() if value is real] if hasattr(module, "__dict__") else []
        for name in names:
            monkeypatch.setattr(module, name, moved)
    monkeypatch.setattr(clock, "business_now", moved)


def arm_crashes(monkeypatch: pytest.MonkeyPatch, simulation: PaymentsSimulation) -> None:
    monkeypatch.setattr(settings, "FAULT_INJECTION", "in the tests")
    monkeypatch.setattr(fault_injection, "_crash_if_armed", simulation.crash_if_armed)
