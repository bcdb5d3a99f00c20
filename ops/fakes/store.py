"""Store the state of a fake: documents, responses by idempotency key, webhooks and named values.

Each fake has one SQLite file in WAL mode. A change is committed before the response is sent, so a killed process loses
no change that a caller has seen.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Document = dict[str, Any]

SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (
    seq  INTEGER PRIMARY KEY AUTOINCREMENT,
    id   TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS documents_by_kind ON documents (kind, seq);
CREATE INDEX IF NOT EXISTS documents_by_status ON documents (kind, json_extract(body, '$.status'));
CREATE INDEX IF NOT EXISTS documents_by_intent ON documents (kind, json_extract(body, '$.payment_intent'));
CREATE TABLE IF NOT EXISTS responses (
    key         TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    status      INTEGER NOT NULL,
    body        TEXT NOT NULL,
    created_at  REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS webhooks (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id    TEXT,
    event       TEXT NOT NULL,
    body        TEXT NOT NULL,
    state       TEXT NOT NULL DEFAULT 'pending',
    attempts    INTEGER NOT NULL DEFAULT 0,
    last_status INTEGER,
    due_at      REAL NOT NULL,
    created_at  REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS webhooks_by_due ON webhooks (state, due_at);
CREATE INDEX IF NOT EXISTS webhooks_by_event ON webhooks (event_id);
CREATE TABLE IF NOT EXISTS named (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class Store:
    """One SQLite file with one transaction at a time."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The lock allows one thread at a time, so all threads can share a connection.
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        self._lock = threading.Lock()
        self.webhook_added = (
            threading.Event()
        )  # set when a webhook was added; the sender waits for the running transaction
        self._connection.execute("PRAGMA journal_mode = WAL")
        # WAL with NORMAL survives a killed process; only a power failure could lose the last commits.
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(SCHEMA)

    @contextmanager
    def transaction(self) -> Iterator["Documents"]:
        """Run the block in a transaction; roll back if it raises."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield Documents(self._connection, self.webhook_added)
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def close(self) -> None:
        with self._lock:
            self._connection.close()


class Documents:
    """Reads and writes the data of the store in a transaction."""

    def __init__(self, connection: sqlite3.Connection, webhook_added: threading.Event) -> None:
        self._connection = connection
        self.webhook_added = webhook_added

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        return self._connection.execute(sql, values)

    def save(self, kind: str, document: Document) -> Document:
        """Store ``document`` under its "id", replacing an earlier version, and return it."""
        self.execute(
            "INSERT INTO documents (id, kind, body) VALUES (?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET body = excluded.body",
            document["id"],
            kind,
            json.dumps(document, ensure_ascii=False),
        )
        return document

    def get(self, document_id: str, kind: str | None = None) -> Document | None:
        row = self.execute("SELECT kind, body FROM documents WHERE id = ?", document_id).fetchone()
        if row is None or kind not in (None, row["kind"]):
            return None
        return dict(json.loads(row["body"]))

    def delete(self, document_id: str) -> None:
        self.execute("DELETE FROM documents WHERE id = ?", document_id)

    def find(self, kind: str, **fields: Any) -> list[Document]:
        """Return the documents of ``kind`` whose top-level ``fields`` have these values, newest first."""
        where = "".join(f" AND json_extract(body, '$.{name}') = ?" for name in fields)
        rows = self.execute(
            f"SELECT body FROM documents WHERE kind = ?{where} ORDER BY seq DESC", kind, *fields.values()
        )
        return [json.loads(row["body"]) for row in rows]

    def value(self, name: str, default: Any = None) -> Any:
        row = self.execute("SELECT value FROM named WHERE name = ?", name).fetchone()
        return default if row is None else json.loads(row["value"])

    def set_value(self, name: str, value: Any) -> None:
        self.execute("INSERT OR REPLACE INTO named (name, value) VALUES (?, ?)", name, json.dumps(value))

    def increment(self, name: str) -> int:
        """Increment the number ``name`` and return it."""
        number = int(self.value(name, 0)) + 1
        self.set_value(name, number)
        return number

    def now(self) -> float:
        """Return the time of the fake in Unix seconds: the system time plus the offset of ``POST /__clock``."""
        return time.time() + float(self.value("clock_offset_seconds", 0))
