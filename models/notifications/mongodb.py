"""MongoDB connection of the notifications service."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError

import settings
from models.errors import Unavailable

Document = dict[str, Any]


@contextmanager
def mongo_database() -> Iterator[Database[Document]]:
    """Yield the database. Raises Unavailable for each MongoDB error; writes must be idempotent by ``_id``."""
    try:
        yield client().get_default_database("coursebus")
    except PyMongoError as error:
        raise Unavailable("MongoDB") from error


@cache
def client() -> MongoClient[Document]:
    """Return the client of this process; it is created on first use."""
    # A slow MongoDB must not block the queue of notifications for the driver's default of 30 s.
    return MongoClient(
        settings.MONGO_URL,
        tz_aware=True,
        uuidRepresentation="standard",
        serverSelectionTimeoutMS=3000,
        timeoutMS=5000,
        maxPoolSize=8,
    )
