"""A MongoDB of one test's own, a mail server that may be down, a clock that can be moved."""

import smtplib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import firebase_admin
import pymongo
import pytest
import requests
from aiosmtpd.controller import Controller
from pymongo.database import Database
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from werkzeug.serving import make_server

import settings
from models.base import new_id, now
from models.outbox import OutboxEvent
from ops.local.mail import Mails, Sink
from ops.local.standins.push.__main__ import create_app
from ops.local.standins.store import Store
from tests.notifications.factories import certificate_issued, make_contact
from tests.support.tasks import forgotten
from workers.notifications import delivery, fcm, feed, messages, push, reminders
from workers.notifications.history import History
from workers.notifications.preferences import Choices
from workers.notifications.sending import Desk
from workers.notifications.smtp import Mail
from workers.resources import RESOURCES


@pytest.fixture(scope="session")
def mongo_client() -> Iterator[pymongo.MongoClient]:
    with pymongo.MongoClient(settings.MONGO_URL) as client:
        yield client


@pytest.fixture
def mongo_database(mongo_client) -> Iterator[Database]:
    name = f"tests_{uuid4().hex}"
    yield mongo_client[name]
    mongo_client.drop_database(name)


@pytest.fixture
def history(mongo_database) -> History:
    return History(mongo_database, forgotten)


@pytest.fixture
def choices(mongo_database) -> Choices:
    return Choices(mongo_database)


class Pokes(list):
    """Stands for the queue: takes ``poke(task, **message)``."""

    def __call__(self, task: str, **message) -> None:
        self.append((task, message))


@pytest.fixture
def desk(history, choices) -> Desk:
    return Desk(history, choices, Pokes(), announce=lambda _user_id: None)


class OneSession:
    """Stands for ``sessions``: each transaction is a savepoint of the test's own."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @contextmanager
    def begin(self) -> Iterator[Session]:
        with self._session.begin_nested():
            yield self._session


class MailServer:
    """The mail sink on a port of its own, and what it is told to refuse."""

    def __init__(self, home: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.answer_to_recipient = "250 OK"
        self._mails = Mails(home / "mails.sqlite")
        self._controller: Controller | None = None

    @property
    def mails(self) -> list[dict]:
        return self._mails.to("")

    def raw(self, number: str = "1") -> bytes:
        """The mail ``number`` as it came, byte by byte."""
        return self._mails.raw(number)

    def start(self) -> None:
        sink = Sink(self._mails)
        sink.handle_RCPT = self._recipient
        self._controller = Controller(sink, hostname="127.0.0.1", port=self.port)
        self._controller.start()

    def stop(self) -> None:
        if self._controller:
            self._controller.stop()
        self._controller = None

    async def _recipient(self, _server, _session, envelope, address, _options) -> str:
        if self.answer_to_recipient.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.answer_to_recipient


@pytest.fixture
def mail_server(tmp_path, monkeypatch) -> Iterator[MailServer]:
    server = MailServer(tmp_path)
    monkeypatch.setattr(settings, "SMTP_URL", f"smtp://127.0.0.1:{server.port}")
    server.start()
    yield server
    server.stop()


class Killed(BaseException):
    """The worker dies here; nothing that it could catch."""


class Clock:
    def __init__(self) -> None:
        self._ahead = timedelta(0)

    def now(self) -> datetime:
        return now() + self._ahead

    def advance(self, by: timedelta) -> None:
        self._ahead += by

    def set(self, to: datetime) -> None:
        self._ahead = to - now()


@pytest.fixture
def clock(monkeypatch) -> Clock:
    moved = Clock()
    for module in (delivery, feed, messages, reminders):
        monkeypatch.setattr(module, "now", moved.now)
    return moved


class PostOffice:
    """One user's notifications, from the handler of an event to the mail server."""

    def __init__(self, session: Session, history: History, choices: Choices, mail_server: MailServer) -> None:
        self.session = session
        self.history = history
        self.choices = choices
        self.server = mail_server
        self.pokes = Pokes()
        self.announced: list[UUID] = []
        with RESOURCES["mailer"](None) as over_smtp:
            self.mailer = over_smtp
        self._began_after = session.scalar(select(func.coalesce(func.max(OutboxEvent.seq), 0)))

    def handle(self, handler, event, *, event_id: UUID | None = None) -> None:
        """What the bridge starts."""
        handler(
            self.session,
            Desk(self.history, self.choices, self.pokes, self.announced.append),
            event=event,
            event_id=event_id or new_id(),
        )

    def queue(self, user_id: UUID | None = None, **pii) -> UUID:
        """Queue a mail with a certificate, to a new user where none is named; returns its delivery's id."""
        user_id = user_id or make_contact(self.session, **pii)
        self.handle(messages.send_certificate, certificate_issued(user_id))
        [(_, message)] = self.pokes
        self.pokes.clear()
        return message["delivery_id"]

    def deliver(self, delivery_id: UUID, **resources) -> None:
        lent = {
            "sessions": OneSession(self.session),
            "history": self.history,
            "choices": self.choices,
            "mailer": self.mailer,
            **resources,
        }
        delivery.deliver_email(**lent, delivery_id=delivery_id)

    def push(self, delivery_id: UUID, hand_over=push.hand_over) -> None:
        lent = {"sessions": OneSession(self.session), "history": self.history, "choices": self.choices}
        delivery.deliver_push(**lent, push=hand_over, delivery_id=delivery_id)

    def deliver_poked(self) -> int:
        """Send what waits in the queue; returns how many."""
        started = list(self.pokes)
        self.pokes.clear()
        for _, message in started:
            self.deliver(**message)
        return len(started)

    def sweep(self) -> int:
        """Run the sweeper and what it starts; returns how many deliveries it found."""
        delivery.sweep_deliveries(self.history, self.pokes)
        return self.deliver_poked()

    def dying_mailer(self, mail: Mail) -> None:
        """The server takes the mail, and the worker dies before it knows."""
        self.mailer(mail)
        raise Killed

    def deaf_mailer(self, mail: Mail) -> None:
        """The server takes the mail, and its answer is lost."""
        self.mailer(mail)
        raise smtplib.SMTPServerDisconnected("Connection unexpectedly closed")

    def standing(self, delivery_id: UUID) -> tuple[str, str | None]:
        document = self.history._told.find_one({"_id": str(delivery_id)})  # noqa: SLF001 nobody else reads it yet
        return document["state"], document["reason"]

    def feed(self, user_id: UUID) -> list[dict]:
        return self.history.feed(user_id, unread=False, limit=100, after=None)["items"]

    def told(self) -> list[tuple[str, int]]:
        """The events told of deliveries, oldest first: type and version."""
        self.session.flush()
        told = (OutboxEvent.aggregatetype == "notifications", OutboxEvent.seq > self._began_after)
        rows = self.session.scalars(select(OutboxEvent).where(*told).order_by(OutboxEvent.seq))
        return [(row.type, row.aggregate_version) for row in rows]


@pytest.fixture
def post(session: Session, history: History, choices: Choices, mail_server: MailServer) -> PostOffice:
    return PostOffice(session, history, choices, mail_server)


class PushService:
    """The stand-in for FCM and browsers, at ``origin``."""

    def __init__(self, origin: str) -> None:
        self.origin = origin

    def make_device(self, kind: str) -> dict:
        return requests.post(f"{self.origin}/__devices", json={"kind": kind}, timeout=5).json()

    def throw_away(self, device: dict) -> None:
        requests.delete(f"{self.origin}/__devices/{device['id']}", timeout=5)

    def shown(self, device: dict) -> list[dict]:
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
        patch.setattr(settings, "WEB_PUSH_STAND_IN", origin)
        yield PushService(origin)
    server.shutdown()
    thread.join()
    server.server_close()
    if fcm._firebase.cache_info().currsize:  # noqa: SLF001 nobody else would close its connections
        firebase_admin.delete_app(fcm._firebase())  # noqa: SLF001 as above
