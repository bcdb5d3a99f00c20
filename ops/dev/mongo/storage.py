"""Keep the collections of all databases in memory and every change in one SQLite file.

A change is written before it is acknowledged, so that a killed server loses nothing.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bson

from .documents import CommandError, Document, get_field, is_operators, matches, update

_DUPLICATE_KEY = 11000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS documents
(namespace TEXT, id BLOB, document BLOB, PRIMARY KEY (namespace, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS indexes
(namespace TEXT, name TEXT, spec BLOB, PRIMARY KEY (namespace, name)) WITHOUT ROWID;
"""


class Collection:
    """The documents of one collection by id, with a hash index on the first field of each declared index."""

    def __init__(self, namespace: str, connection: sqlite3.Connection) -> None:
        """Load the collection ``namespace``, which is the database and the name: "coursebus.notifications"."""
        self.namespace = namespace
        self.indexes: dict[str, Document] = {}
        self._connection = connection
        self._documents: dict[bytes, Document] = {}
        self._ids_by_value: dict[str, dict[bytes, set[bytes]]] = {}  # indexed field → value → ids
        for (spec,) in connection.execute("SELECT spec FROM indexes WHERE namespace = ?", (namespace,)):
            self._add_index(bson.decode(spec))
        for key, document in connection.execute("SELECT id, document FROM documents WHERE namespace = ?", (namespace,)):
            self._put(key, bson.decode(document))

    def find(self, query: Mapping[str, Any]) -> Iterator[Document]:
        """Return the documents that match ``query``. They must not be changed."""
        candidates = [self._documents[key] for key in self._candidates(query) if key in self._documents]
        return (document for document in candidates if matches(document, query))

    def insert(self, document: Document) -> None:
        """Insert ``document``. Raises CommandError if its id exists."""
        if _encode(document["_id"]) in self._documents:
            raise CommandError(f"E11000 duplicate key error: _id of {self.namespace}", _DUPLICATE_KEY)
        self._write(document)

    def update(self, document: Document, changes: Mapping[str, Any], *, inserted: bool = False) -> Document:
        """Apply ``changes`` to ``document`` and return the result: the same object if nothing changes."""
        changed = update(document, changes, inserted=inserted)
        if not inserted and changed == document:
            return document
        self._write(changed)
        return changed

    def delete(self, documents: Iterable[Document]) -> int:
        """Delete ``documents``; return how many."""
        keys = [_encode(document["_id"]) for document in documents]
        self._connection.executemany(
            "DELETE FROM documents WHERE namespace = ? AND id = ?", [(self.namespace, key) for key in keys]
        )
        for key in keys:
            self._unindex(key, self._documents.pop(key))
        return len(keys)

    def create_index(self, spec: Document) -> None:
        """Create an index. A field with ``expireAfterSeconds`` lets documents expire."""
        if spec.get("unique") or "partialFilterExpression" in spec:
            raise CommandError("unique and partial indexes are not supported")
        self._connection.execute(
            "INSERT OR REPLACE INTO indexes VALUES (?, ?, ?)", (self.namespace, spec["name"], bson.encode(spec))
        )
        self._add_index(spec)

    def delete_expired(self, now: datetime) -> int:
        """Delete the documents that have expired by a TTL index; return how many."""
        expired = 0
        for spec in self.indexes.values():
            if (seconds := spec.get("expireAfterSeconds")) is not None:
                [name] = spec["key"]
                before = (now - timedelta(seconds=seconds)).astimezone(UTC).replace(tzinfo=None)  # as bson decodes
                expired += self.delete(list(self.find({name: {"$lte": before}})))
        return expired

    def _candidates(self, query: Mapping[str, Any]) -> Iterable[bytes]:
        """Return the ids of the documents that can match: by id or by an indexed field if ``query`` allows it."""
        if (wanted := _wanted_values(query.get("_id"))) is not None:
            return wanted
        for name, ids_by_value in self._ids_by_value.items():
            if (wanted := _wanted_values(query.get(name))) is not None:
                return [key for value in wanted for key in ids_by_value.get(value, ())]
        return list(self._documents)

    def _write(self, document: Document) -> None:
        key = _encode(document["_id"])
        self._connection.execute(
            "INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", (self.namespace, key, bson.encode(document))
        )
        self._put(key, document)

    def _put(self, key: bytes, document: Document) -> None:
        if key in self._documents:
            self._unindex(key, self._documents[key])
        self._documents[key] = document
        for name, ids_by_value in self._ids_by_value.items():
            for value in _indexed_values(document, name):
                ids_by_value[value].add(key)

    def _unindex(self, key: bytes, document: Document) -> None:
        for name, ids_by_value in self._ids_by_value.items():
            for value in _indexed_values(document, name):
                ids_by_value[value].discard(key)

    def _add_index(self, spec: Document) -> None:
        self.indexes[spec["name"]] = spec
        field = next(iter(spec["key"]))
        if field not in self._ids_by_value:
            self._ids_by_value[field] = defaultdict(set)
            for key, document in self._documents.items():
                for value in _indexed_values(document, field):
                    self._ids_by_value[field][value].add(key)


class Storage:
    """The collections of all databases."""

    def __init__(self, path: Path) -> None:
        """Open or create the file ``path``."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        # A change survives a kill of this process, but not of the machine: no fsync for each change.
        self._connection.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; {_SCHEMA}")
        names = "SELECT namespace FROM documents UNION SELECT namespace FROM indexes"
        self._collections = {name: Collection(name, self._connection) for (name,) in self._connection.execute(names)}

    def collection(self, database: str, name: str) -> Collection:
        """Return a collection; it is created on first use."""
        namespace = f"{database}.{name}"
        if namespace not in self._collections:
            self._collections[namespace] = Collection(namespace, self._connection)
        return self._collections[namespace]

    def collection_names(self, database: str) -> list[str]:
        """Return the names of the collections of ``database``."""
        names = (namespace.partition(".") for namespace in self._collections)
        return sorted(name for owner, _, name in names if owner == database)

    def drop(self, database: str, name: str) -> None:
        """Delete a collection with its indexes."""
        namespace = f"{database}.{name}"
        self._collections.pop(namespace, None)
        for table in ("documents", "indexes"):
            self._connection.execute(f"DELETE FROM {table} WHERE namespace = ?", (namespace,))  # noqa: S608 a constant

    def delete_expired(self, now: datetime) -> None:
        """Delete the expired documents of all collections."""
        for collection in self._collections.values():
            collection.delete_expired(now)


def _encode(value: Any) -> bytes:
    """Return a value as BSON: equal bytes mean equal values of the same type."""
    return bson.encode({"": value})


def _wanted_values(condition: Any) -> list[bytes] | None:
    """Return the encoded values that ``condition`` allows; None if it is no equality with values that are not null."""
    if is_operators(condition):
        wanted = condition.get("$in", [condition["$eq"]] if "$eq" in condition else None)
    else:
        wanted = None if condition is None else [condition]
    if wanted is None or any(value is None or isinstance(value, float) for value in wanted):
        return None
    return list(dict.fromkeys(_encode(value) for value in wanted))


def _indexed_values(document: Document, name: str) -> list[bytes]:
    value = get_field(document, name)
    values = [value, *value] if isinstance(value, list) else [value]
    return [
        _encode(each) for each in values if isinstance(each, (str, int, bytes, datetime, bson.ObjectId, dict, list))
    ]
