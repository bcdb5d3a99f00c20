"""The declarative base, ids, time, and one engine a service.

A service reaches its own schema and the bus tables only: its connections take the role ``coursebus_<service>`` whose
grants the migrations give, whatever user the URL names.
"""

import time
from datetime import UTC, datetime
from functools import cache
from typing import Any, ClassVar
from uuid import UUID

import uuid_utils.compat
from sqlalchemy import BigInteger, DateTime, Engine, MetaData, create_engine, event
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

import settings

LOCK_TIMEOUT_SECONDS = 5
PING_AFTER_SECONDS = 1.0


class Base(DeclarativeBase):
    # Names that the database would invent differ between versions; migrations need them stable.
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: DateTime(timezone=True),
        int: BigInteger,
        dict[str, Any]: JSONB,
        list[str]: JSONB,
        list[dict[str, Any]]: JSONB,
    }


class Aggregate:
    """A row whose changes are told as events: the unit of locking, of order and of ``version``.

    Lock the row before you change it; ``models.outbox.record`` counts ``version`` up with every event.
    """

    version: Mapped[int] = mapped_column(default=0)

    @property
    def aggregate_id(self) -> str:
        """The key of its events on the topic."""
        return str(self.id)  # type: ignore[attr-defined]  # every aggregate but progress has a single id


def new_id() -> UUID:
    """A UUIDv7: unique without asking, and rising with time, so that indexes grow at one end."""
    return uuid_utils.compat.uuid7()


def now() -> datetime:
    """The present, aware, UTC."""
    return datetime.now(UTC)


@cache
def engine(service: str) -> Engine:
    """The connections of ``service`` in this process, made on first use (after any fork)."""
    return connect(settings.database_url(service), role=service)


def connect(url: str, *, role: str) -> Engine:
    """Connections to the database at ``url`` with the grants of ``coursebus_<role>``."""
    connections = create_engine(
        url,
        # One connection a worker thread, and a few for the bridge's helpers.
        pool_size=4,
        max_overflow=4,
        connect_args={
            "options": f"-c role=coursebus_{role} -c timezone=UTC -c lock_timeout={LOCK_TIMEOUT_SECONDS}s",
            "connect_timeout": 5,
            "application_name": f"coursebus-{role}",
        },
    )
    _ping_after_a_pause(connections)
    return connections


def _ping_after_a_pause(connections: Engine) -> None:
    """A restarted PostgreSQL costs a ping, not a failed task.

    SQLAlchemy's own would ask before every transaction, which under load is a round trip more for nothing.
    """

    @event.listens_for(connections, "checkin")
    def note(_connection: object, record: ConnectionPoolEntry) -> None:
        record.info["used_at"] = time.monotonic()

    @event.listens_for(connections, "checkout")
    def ping(connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
        if time.monotonic() - record.info.get("used_at", 0) < PING_AFTER_SECONDS:
            return
        try:
            connections.dialect.do_ping(connection)
        except connections.dialect.loaded_dbapi.OperationalError as error:
            raise DisconnectionError from error  # the pool connects anew


@cache
def sessions(service: str) -> sessionmaker[Session]:
    """The session factory of ``service``: each ``begin()`` on it is one transaction."""
    # A view is made after the flush and before the commit; expiring would read every row again.
    return sessionmaker(engine(service), expire_on_commit=False)
