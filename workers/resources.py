"""What a task may ask for by naming it before the ``*``.

A resource is a context manager over the task's Delivery, left when the task has returned. A service adds its own with
``@resource`` (the payment providers stand in workers/payments/).
"""

import smtplib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from email.message import EmailMessage
from functools import cache
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pymongo
from pymongo.database import Database
from sqlalchemy.orm import Session

import celery_app
import settings
from models.cache import Stored, put
from models.errors import DomainError
from models.metrics import calling

from ._delivery import Delivery, Sessions

Resource = Callable[[Delivery], AbstractContextManager[Any]]
RESOURCES: dict[str, Resource] = {}

Poke = Callable[..., None]
Remember = Callable[[str, Stored | Callable[[], Stored]], None]
Mailer = Callable[[EmailMessage], None]
Lending = TypeVar("Lending", bound=Callable[[Delivery], Iterator[Any]])


def resource(fn: Lending) -> Lending:
    """Lend what ``fn`` yields to every task that names ``fn`` before its ``*``."""
    RESOURCES[fn.__name__] = contextmanager(fn)
    return fn


@resource
def session(delivery: Delivery) -> Iterator[Session]:
    """The one transaction around the whole task."""
    with delivery.transaction() as transaction:
        yield transaction


@resource
def sessions(delivery: Delivery) -> Iterator[Sessions]:
    """For tasks that call a provider: no transaction is open during the call."""
    lent = Sessions(delivery)
    try:
        yield lent
    except DomainError as error:
        lent.refuse(error)
        raise


@resource
def poke(delivery: Delivery) -> Iterator[Poke]:
    """``poke(task, **message)`` starts a task after the commit. It may be lost: a sweeper must find the work too."""
    asked = delivery.envelope
    envelope = celery_app.Envelope(request_id=asked.request_id, traceparent=asked.traceparent)

    def after_commit(task: str, **message: Any) -> None:
        delivery.after_reply.append(lambda: celery_app.send(task, message, envelope))

    yield after_commit


@resource
def remember(delivery: Delivery) -> Iterator[Remember]:
    """``remember(key, Stored(version, body))`` puts a view into the cache after the commit, unless a newer is there.

    A function in its place is called after the commit.
    """
    yield lambda key, stored: delivery.before_reply.append(lambda: put(key, stored() if callable(stored) else stored))


@resource
def mongo(_delivery: Delivery) -> Iterator[Database[dict[str, Any]]]:
    """The database of notifications and logs. Each write there is idempotent by its ``_id``."""
    yield _mongo_client().get_default_database("coursebus")


@resource
def mailer(_delivery: Delivery) -> Iterator[Mailer]:
    """``mailer(message)`` hands a message to the SMTP server. Raises OSError or SMTPException where it does not."""
    yield _send_mail


@cache
def _mongo_client() -> pymongo.MongoClient[dict[str, Any]]:
    # A slow MongoDB must not hold the queue of notifications for the driver's default of 30 s.
    return pymongo.MongoClient(
        settings.MONGO_URL,
        tz_aware=True,
        uuidRepresentation="standard",
        serverSelectionTimeoutMS=3000,
        timeoutMS=5000,
        maxPoolSize=8,
    )


def _send_mail(message: EmailMessage) -> None:
    url = urlsplit(settings.SMTP_URL)
    connect = smtplib.SMTP_SSL if url.scheme == "smtps" else smtplib.SMTP
    with calling("smtp", "send"), connect(url.hostname or "127.0.0.1", url.port or 25, timeout=10) as smtp:
        if url.username:
            smtp.login(url.username, url.password or "")
        smtp.send_message(message)
