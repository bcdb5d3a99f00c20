"""Fixtures: a MongoDB database, a mail server that can be stopped, a clock that can be moved."""

import smtplib
import socket
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pymongo
import pytest
import requests
from aiosmtpd.controller import Controller
from pymongo.database import Database
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from werkzeug.serving import make_server

import settings
from core.bus.outbox import OutboxEvent
from core.db import new_id, utc_now
from models.notifications.notification_store import NotificationStore
from models.notifications.preference_store import PreferenceStore
from ops.dev.mail import MailStore, SmtpHandler
from ops.fakes.push.__main__ import create_app
from ops.fakes.store import Store
from tests.integration.notifications.factories import certificate_issued, close_idle_smtp_connections, make_contact
from tests.support.deliveries import call_handler
from tests.support.dependencies import RecordedEnqueues, SavepointTransactions
from tests.support.tasks import Killed, noop_cache
from workers.notifications import delivery, event_handlers, inbox, reminders
from workers.notifications.channels import email, fcm, push, smtp
from workers.notifications.channels.smtp import Mail
from workers.notifications.dispatcher import NotificationDispatcher


@pytest.fixture(scope="session")
def mongo_client() -> Iterator[pymongo.MongoClient]:
    with pymongo.MongoClient(settings.MONGO_URL, tz_aware=True, uuidRepresentation="standard") as client:
        yield client


@pytest.fixture
def mongo_database(mongo_client) -> Iterator[Database]:
    name = f"tests_{uuid4().hex}"
    yield mongo_client[name]
    mongo_client.drop_database(name)


@pytest.fixture
def notification_store(mongo_database) -> NotificationStore:
    return NotificationStore(mongo_database, noop_cache)


@pytest.fixture
def preference_store(mongo_database) -> PreferenceStore:
    return PreferenceStore(mongo_database)


@pytest.fixture
def dispatcher(notification_store, preference_store) -> NotificationDispatcher:
    return NotificationDispatcher(
        notification_store, preference_store, RecordedEnqueues(), publish_new_notification=lambda _user_id: None
    )


class MailServer:
    """The fake mail server on its own port, with a configurable response to RCPT."""

    def __init__(self, home: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.recipient_response = "250 OK"
        self._mails = MailStore(home / "mails.sqlite")
        self._controller: Controller | None = None

    @property
    def mails(self) -> list[dict]:
        return self._mails.list_for("")

    def raw(self, number: str = "1") -> bytes:
        """Return the received bytes of mail ``number``."""
        return self._mails.raw(number)

    def start(self) -> None:
        sink = SmtpHandler(self._mails)
        sink.handle_RCPT = self._recipient
        self._controller = Controller(sink, hostname="127.0.0.1", port=self.port)
        self._controller.start()

    def stop(self) -> None:
        if self._controller:
            close_idle_smtp_connections()
            self._controller.stop()
        self._controller = None

    async def _recipient(self, _server, _session, envelope, address, _options) -> str:
        if self.recipient_response.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.recipient_response


@pytest.fixture
def mail_server(tmp_path, monkeypatch) -> Iterator[MailServer]:
    server = MailServer(tmp_path)
    monkeypatch.setattr(settings, "SMTP_URL", f"smtp://127.0.0.1:{server.port}")
    server.start()
    yield server
    server.stop()


class Clock:
    def __init__(self) -> None:
        self._ahead = timedelta(0)

    def now(self) -> datetime:
        return utc_now() + self._ahead

    def advance(self, by: timedelta) -> None:
        self._ahead += by

    def set(self, to: datetime) -> None:
        self._ahead = to - utc_now()


@pytest.fixture
def clock(monkeypatch) -> Clock:
    patched = Clock()
    for module in (delivery, email, inbox, event_handlers, push, reminders):
        monkeypatch.setattr(module, "business_now" if module is reminders else "utc_now", patched.now)
    return patched


class NotificationHarness:
    """The notifications of one user, from the handler of an event to the mail server."""

    def __init__(
        self,
        session: Session,
        notification_store: NotificationStore,
        preference_store: PreferenceStore,
        mail_server: MailServer,
    ) -> None:
        self.session = session
        self.notification_store = notification_store
        self.preference_store = preference_store
        self.server = mail_server
        self.enqueued = RecordedEnqueues()
        self.pushed_user_ids: list[UUID] = []
        with smtp.mailer(None) as over_smtp:
            self.mailer = over_smtp
        self._began_after = session.scalar(select(func.coalesce(func.max(OutboxEvent.seq), 0)))

    def handle(self, handler, event, *, event_id: UUID | None = None) -> None:
        """Run a handler as the bridge does."""
        call_handler(handler, self.session, self.dispatcher(), event=event, event_id=event_id or new_id())

    def dispatcher(self) -> NotificationDispatcher:
        return NotificationDispatcher(
            self.notification_store, self.preference_store, self.enqueued, self.pushed_user_ids.append
        )

    def queue(self, user_id: UUID | None = None, **pii) -> UUID:
        """Queue a mail with a certificate, by default to a new user; returns the delivery's id."""
        user_id = user_id or make_contact(self.session, **pii)
        self.handle(event_handlers.send_certificate, certificate_issued(user_id))
        [(_, message)] = self.enqueued
        self.enqueued.clear()
        return message["delivery_id"]

    def deliver(self, delivery_id: UUID, **resources) -> None:
        dependencies = {
            "transactions": SavepointTransactions(self.session),
            "notification_store": self.notification_store,
            "preference_store": self.preference_store,
            "mailer": self.mailer,
            **resources,
        }
        email.deliver_email(**dependencies, delivery_id=delivery_id)

    def push(self, delivery_id: UUID, send=push.send) -> None:
        dependencies = {
            "transactions": SavepointTransactions(self.session),
            "notification_store": self.notification_store,
            "preference_store": self.preference_store,
        }
        push.deliver_push(**dependencies, push=send, delivery_id=delivery_id)

    def deliver_enqueued(self) -> int:
        """Deliver the enqueued notifications; returns how many."""
        started = list(self.enqueued)
        self.enqueued.clear()
        for _, message in started:
            self.deliver(**message)
        return len(started)

    def sweep(self) -> int:
        """Run the sweep and its tasks; returns how many deliveries it found."""
        delivery.sweep_deliveries(self.notification_store, self.enqueued)
        return self.deliver_enqueued()

    def crashing_mailer(self, mail: Mail) -> None:
        """Send the mail, then kill the worker before it records the response."""
        self.mailer(mail)
        raise Killed

    def disconnecting_mailer(self, mail: Mail) -> None:
        """Send the mail, then lose the server's response."""
        self.mailer(mail)
        raise smtplib.SMTPServerDisconnected("Connection unexpectedly closed")

    def state_of(self, delivery_id: UUID) -> tuple[str, str | None]:
        document = self.notification_store._collection.find_one({"_id": delivery_id})  # noqa: SLF001 the store has no reader of one delivery's state
        return document["state"], document["reason"]

    def inbox(self, user_id: UUID) -> list[dict]:
        return self.notification_store.list_inbox(user_id, unread=False, limit=100, after=None)["items"]

    def published_events(self) -> list[tuple[str, int]]:
        """Return type and version of the published delivery events, oldest first."""
        self.session.flush()
        own_events = (OutboxEvent.aggregatetype == "notifications", OutboxEvent.seq > self._began_after)
        rows = self.session.scalars(select(OutboxEvent).where(*own_events).order_by(OutboxEvent.seq))
        return [(row.type, row.aggregate_version) for row in rows]


@pytest.fixture
def harness(
    session: Session, notification_store: NotificationStore, preference_store: PreferenceStore, mail_server: MailServer
) -> NotificationHarness:
    return NotificationHarness(session, notification_store, preference_store, mail_server)


class PushService:
    """The fake of FCM and Web Push, at ``origin``."""

    def __init__(self, origin: str) -> None:
        self.origin = origin

    def make_device(self, kind: str) -> dict:
        return requests.post(f"{self.origin}/__devices", json={"kind": kind}, timeout=5).json()

    def unregister(self, device: dict) -> None:
        requests.delete(f"{self.origin}/__devices/{device['id']}", timeout=5)

    def delivered_messages(self, device: dict) -> list[dict]:
        return requests.get(f"{self.origin}/__devices/{device['id']}/messages", timeout=5).json()

    def faults(self, **faults: int) -> None:
        requests.post(f"{self.origin}/__faults", json=faults, timeout=5).raise_for_status()


@pytest.fixture(scope="session")
def push_service(tmp_path_factory) -> Iterator[PushService]:
    home = tmp_path_factory.mktemp("push")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    origin, account = f"http://127.0.0.1:{port}", home / "service-account.json"
    server = make_server(
        "127.0.0.1", port, create_app(Store(home / "push"), account=account, origin=origin), threaded=True
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "FIREBASE_CREDENTIALS", account)
        patch.setattr(settings, "FCM_URL", origin)
        patch.setattr(settings, "WEB_PUSH_FAKE_URL", origin)
        yield PushService(origin)
    server.shutdown()
    thread.join()
    server.server_close()
    if fcm._session.cache_info().currsize:  # noqa: SLF001 the adapter never closes its connections
        fcm._session().close()  # noqa: SLF001 as above
