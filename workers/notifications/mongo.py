"""The database of notifications, lent to those who keep or read them."""

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
def mongo_or_unavailable() -> Iterator[Database[Document]]:
    """Lend the database; each write there is idempotent by its ``_id``. Raises Unavailable where it does not answer."""
    try:
        yield client().get_default_database("coursebus")
    except PyMongoError as error:
        raise Unavailable("MongoDB") from error


@cache
def client() -> MongoClient[Document]:
    """The connections of this process, made on first use."""
    # A slow MongoDB must not hold the queue of notifications for the driver's default of 30 s.
    return MongoClient(
        settings.MONGO_URL,
        tz_aware=True,
        uuidRepresentation="standard",
        serverSelectionTimeoutMS=3000,
        timeoutMS=5000,
        maxPoolSize=8,
    )
